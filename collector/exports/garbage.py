"""How often Python looks for garbage while a file is written."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

# Allocations, and rounds of them: a block is some 10,000 objects, which are gone with it and in no cycle. To look at
# them while they are there takes up to a sixth of an export.
_SELDOM = (50_000, 20, 10)


@contextmanager
def seldom_looked_for() -> Iterator[None]:
    """Look for it less often for as long as the block lasts."""
    before = gc.get_threshold()
    gc.set_threshold(*_SELDOM)
    try:
        yield
    finally:
        gc.set_threshold(*before)
