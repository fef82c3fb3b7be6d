"""`make fuzz N=20000`: inputs that nobody meant at every door; prints what was tried, accepted and refused."""

import sys
import time

from tests.fuzz.target import fuzz
from tests.fuzz.targets import TARGETS


def main(arguments: list[str]) -> int:
    """Fuzz every target, or those that are named; the first crash ends it with the input that caused it."""
    examples = int(arguments[0]) if arguments else 2000
    names = arguments[1:]
    total = 0
    print(f"{'door':<24}{'tried':>9}{'accepted':>10}{'refused':>9}{'crashes':>9}{'seconds':>9}", flush=True)
    for target in TARGETS:
        if names and target.name not in names:
            continue
        start = time.monotonic()
        figures = fuzz(target, examples)
        seconds = time.monotonic() - start
        total += figures.tried
        row = f"{target.name:<24}{figures.tried:>9}{figures.accepted:>10}{figures.refused:>9}{0:>9}{seconds:>9.1f}"
        print(row, flush=True)
    print(f"{total} inputs, no crash, nothing written that was refused")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
