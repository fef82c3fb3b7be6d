"""Write the Grafana dashboards: `python dashboards/build.py [--check]`. The code is in grafana_build/."""

import json
import sys
from pathlib import Path

from grafana_build.chargeback import chargeback
from grafana_build.fleet import fleet
from grafana_build.namespace import namespace
from grafana_build.node import node
from grafana_build.pipeline import pipeline
from grafana_foundation_sdk.cog.encoder import JSONEncoder

FOLDER = Path(__file__).parent / "grafana"
BOARDS = (fleet, namespace, node, chargeback, pipeline)


def written() -> dict[Path, str]:
    """What each file has to hold: the same text from the same code."""
    found = {}
    for make in BOARDS:
        text = json.dumps(make(), cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False)
        found[FOLDER / f"{make.__name__}.json"] = text + "\n"
    return found


def main(arguments: list[str]) -> int:
    """Write the files; with --check only say which are not what the code makes of them."""
    files = written()
    drifted = sorted(path for path, text in files.items() if not path.exists() or path.read_text() != text)
    gone = sorted(set(FOLDER.glob("*.json")) - files.keys())
    if arguments == ["--check"]:
        for path in [*drifted, *gone]:
            sys.stderr.write(f"{path.name} is not what dashboards/build.py makes: run `make dashboards`\n")
        return int(bool(drifted or gone))
    for path in gone:
        path.unlink()
    for path in drifted:
        path.write_text(files[path])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
