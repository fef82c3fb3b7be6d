"""Generate the Python code of the protocol definitions: `python proto/generate.py [--check]`.

The generated code is committed, so that neither users nor images need a compiler; `--check` fails when it is not what
the definitions give.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

PROTO = Path(__file__).resolve().parent
DEFINITIONS = ("telemetry.proto", "podresources.proto")


def generate(into: Path) -> list[Path]:
    """Write the modules of every definition below `into` and return them."""
    files = [f"gputally/proto/{name}" for name in DEFINITIONS if (PROTO / name).exists()]
    arguments = [
        "protoc",
        f"-Igputally/proto={PROTO}",
        f"--python_out={into}",
        f"--pyi_out={into}",
        f"--grpc_python_out={into}",
    ]
    if protoc.main([*arguments, *files]) != 0:
        sys.exit("protoc failed")
    return sorted((into / "gputally" / "proto").iterdir())


def main() -> None:
    """Write the generated code, or compare it with what is committed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail where the code differs")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as folder:
        drifted = []
        for made in generate(Path(folder)):
            kept = PROTO / made.name
            if kept.exists() and kept.read_bytes() == made.read_bytes():
                continue
            drifted.append(made.name)
            if not check:
                kept.write_bytes(made.read_bytes())
    if check and drifted:
        sys.exit(f"generated code differs from its definition: {', '.join(drifted)}; run `make proto`")


if __name__ == "__main__":
    main()
