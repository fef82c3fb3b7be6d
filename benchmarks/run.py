"""Everything that is measured, in one table: `make bench`, or `PYTHONPATH=. python benchmarks/run.py --save NAME`.

Each group of figures is a module beside this one. `--quick` measures those whose ratio is one of CPU times, small, and
ends with 1 where a ratio is worse than twice the one in kept.json; `--keep` writes that file. README.md says more.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from pathlib import Path

import machine
import pytest
from table import Figure, page

HERE = Path(__file__).resolve().parent
RESULTS, KEPT = HERE / "results", HERE / "kept.json"
GROUPS = ("agent", "churn", "start", "wire", "paths", "ingest", "streams", "rollup", "month", "export", "pages", "disk")
MODULES = {"agent": "agent_cost"}  # where it is not the group's name
QUICK = ("agent", "start", "paths", "ingest", "streams", "rollup")
WORSE = 2.0  # times its kept value: what a ratio of CPU times may become on a machine that does other things, too


def measure(names: Sequence[str], *, quick: bool, plans: Path | None) -> Iterator[Figure]:
    """Group after group; one that lacks something here says what on stderr."""
    for name in names:
        began = time.monotonic()
        group = import_module(MODULES.get(name, name)).figures
        group = partial(group, plans=plans) if name == "month" else group
        try:
            yield from group(quick=quick)
        except pytest.skip.Exception as missing:
            sys.stderr.write(f"{name} is left out: {missing}\n")
        else:
            sys.stderr.write(f"{name}: {time.monotonic() - began:.0f} s\n")


def kept_of(figures: Sequence[Figure]) -> dict[str, float]:
    """The ratios that can be compared between runs and machines."""
    return {figure.name: round(figure.ratio, 3) for figure in figures if figure.kept and figure.ratio}


def worse(found: Mapping[str, float], kept: Mapping[str, float]) -> list[str]:
    """A sentence for each ratio that is worse than it may be, and for each that nothing is kept of."""
    unknown = [f"{name}: nothing is kept to compare it with; see --keep" for name in found if name not in kept]
    return unknown + [
        f"{name}: {ratio:g} times its ceiling, more than {WORSE:g} x the kept {kept[name]:g}"
        for name, ratio in found.items()
        if name in kept and ratio > WORSE * kept[name]
    ]


def main() -> int:
    """Measure, print, and keep or compare where asked to."""
    given = _arguments()
    machine.on_few_cores()
    head = machine.heading()
    name = f"{datetime.now(UTC):%Y-%m-%d}-{given.save}" if given.save else ""
    plans = RESULTS / "plans" / f"{name}.txt" if name else None
    figures: list[Figure] = []
    try:
        for figure in measure(given.only or (QUICK if given.quick else GROUPS), quick=given.quick, plans=plans):
            figures.append(figure)  # noqa: PERF402 - what was measured is shown, whatever breaks after it
    finally:
        text = f"{head}\n{page(figures)}"
        sys.stdout.write(text)
    if name:
        (RESULTS / f"{name}.txt").write_text(text)
    if given.keep:
        KEPT.write_text(json.dumps(kept_of(figures), indent=2) + "\n")
    return _compared(figures) if given.quick else 0


def _compared(figures: Sequence[Figure]) -> int:
    found = worse(kept_of(figures), json.loads(KEPT.read_text()))
    sys.stderr.writelines(f"{sentence}\n" for sentence in found)
    return 1 if found else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", type=_groups, metavar="GROUP,...", help=f"of {', '.join(GROUPS)}")
    parser.add_argument("--save", metavar="NAME", help="keep the page as results/DATE-NAME.txt, and its query plans")
    parser.add_argument("--quick", action="store_true", help="small, and compared with what is kept")
    parser.add_argument("--keep", action="store_true", help="keep the ratios of this quick run in kept.json")
    return parser.parse_args()


def _groups(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    unknown = set(names) - set(GROUPS)
    if unknown:
        raise argparse.ArgumentTypeError(f"no group {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
