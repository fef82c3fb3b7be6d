"""A notebook idle for three days: on all that it holds, up to now."""

from dataclasses import replace

from gputally.accounting.ledger_hour import HOUR_US
from gputally.accounting.states import OwnerKind
from gputally.collector.advice.notebook import IDLE_US, idle_notebook
from gputally.collector.allocation.amounts import Amounts
from gputally.collector.now.latest import Part, Standing
from gputally.collector.now.spells import Spell

MINUTE_US = 60_000_000
NOW_US = 100 * 24 * HOUR_US
NAMES = ("east", "node-a", "GPU-0", "NVIDIA A30", "", OwnerKind.POD, "search", "anns-0", "main", "")
STANDING = Standing(
    Part(1, 1, "gpu", 1), *NAMES, NOW_US - MINUTE_US, NOW_US, Amounts(idle_us=MINUTE_US), 60 * (1 << 30)
)
SPELL = Spell(STANDING, NOW_US - IDLE_US, before=False, idle_us=IDLE_US, cost=None, unpriced_us=IDLE_US)


def test_three_days_count_and_a_minute_less_does_not() -> None:
    found = idle_notebook([SPELL], 1)
    assert found is not None
    assert (found.parts, found.since_us, found.until_us, found.memory_bytes) == (1, NOW_US - IDLE_US, NOW_US, 1 << 30)
    assert idle_notebook([replace(SPELL, since_us=SPELL.since_us + MINUTE_US)], 1) is None


def test_all_that_it_holds_must_be_idle_and_since_the_last_became_so() -> None:
    longer = replace(SPELL, since_us=SPELL.since_us - HOUR_US, before=True)
    assert idle_notebook([longer], 2) is None
    found = idle_notebook([SPELL, longer], 2)
    assert found is not None
    assert (found.since_us, found.before) == (SPELL.since_us, False)
    assert idle_notebook([], 0) is None


def test_memory_that_is_not_known_is_not_said() -> None:
    unknown = replace(SPELL, standing=STANDING._replace(memory_byte_s=None))
    found = idle_notebook([SPELL, unknown], 2)
    assert found is not None
    assert found.memory_bytes is None
