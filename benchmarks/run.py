"""Everything that is measured, in one table: `make bench`, or `PYTHONPATH=. python benchmarks/run.py --save NAME`.

Each group of figures is a module beside this one. `--quick` measures those whose ratio is one of CPU times, small, and
ends with 1 where one is more than twice what kept.json says, and is so when its group is measured once more; `--keep`
writes that file. README.md says more.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from pathlib import Path

import kept
import machine
import pytest
from table import Figure, page

HERE = Path(__file__).resolve().parent
RESULTS, KEPT = HERE / "results", HERE / "kept.json"
_FIRST = ("agent", "churn", "start", "wire", "paths", "ingest", "streams", "rollup", "settling")
GROUPS = (*_FIRST, "month", "export", "pages", "disk")
MODULES = {"agent": "agent_cost"}  # where it is not the group's name
QUICK = ("agent", "start", "paths", "ingest", "streams", "rollup", "settling")


def measure(names: Sequence[str], *, quick: bool, plans: Path | None = None) -> Iterator[tuple[str, Figure]]:
    """Group after group, each figure with its group's name; one that lacks something here says what on stderr."""
    for name in names:
        began = time.monotonic()
        group = import_module(MODULES.get(name, name)).figures
        group = partial(group, plans=plans) if name == "month" else group
        try:
            yield from ((name, figure) for figure in group(quick=quick))
        except pytest.skip.Exception as missing:
            sys.stderr.write(f"{name} is left out: {missing}\n")
        else:
            sys.stderr.write(f"{name}: {time.monotonic() - began:.0f} s\n")


def kept_of(figures: Sequence[Figure]) -> dict[str, float]:
    """The ratios that can be compared between runs and machines."""
    return {figure.name: round(figure.ratio, 3) for figure in figures if figure.kept and figure.ratio}


def main() -> int:
    """Measure, print, and keep or compare where asked to."""
    given = _arguments()
    machine.on_few_cores()
    head = machine.heading()
    name = f"{datetime.now(UTC):%Y-%m-%d}-{given.save}" if given.save else ""
    plans = RESULTS / "plans" / f"{name}.txt" if name else None
    found: list[tuple[str, Figure]] = []
    try:
        for figure in measure(given.only or (QUICK if given.quick else GROUPS), quick=given.quick, plans=plans):
            found.append(figure)  # noqa: PERF402 - what was measured is shown, whatever breaks after it
    finally:
        figures = [figure for _, figure in found]
        text = f"{head}\n{page(figures)}"
        sys.stdout.write(text)
    if name:
        (RESULTS / f"{name}.txt").write_text(text)
    if given.keep:
        KEPT.write_text(json.dumps(kept_of(figures), indent=2) + "\n")
    return _compared(found) if given.quick else 0


def _compared(found: Sequence[tuple[str, Figure]]) -> int:
    """Say what was compared; 1 where something is worse. What looks worse is measured again, with its group."""
    group_of = {figure.name: group for group, figure in found}

    def again(names: Sequence[str]) -> dict[str, float]:
        groups = sorted({group_of[name] for name in names})
        sys.stderr.write(f"measured again, as it looks worse: {'; '.join(names)}\n")
        return kept_of([figure for _, figure in measure(groups, quick=True)])

    before = json.loads(KEPT.read_text())
    verdicts = kept.judge(kept_of([figure for _, figure in found]), before, again)
    sys.stdout.write(f"\n{kept.page(verdicts, before)}")
    return int(any(verdict.is_worse for verdict in verdicts))


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
