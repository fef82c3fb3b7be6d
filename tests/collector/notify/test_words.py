"""What a message says: who, where, since when, how many, how much, and what to do."""

from dataclasses import replace
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from tests.collector.notify.pods import MINUTE_US, START_US, part, pod, shared

from gputally.collector.budgets import Budget, Scope, Unit
from gputally.collector.burn import Burn, Forecast
from gputally.collector.notify.budget_news import BudgetNews, budget_key
from gputally.collector.notify.budget_words import budget_message
from gputally.collector.notify.figures import Frame
from gputally.collector.notify.idle import Doing
from gputally.collector.notify.idle_pod import IdlePod, PodKey, Spent
from gputally.collector.notify.message import Level, Message
from gputally.collector.notify.spell_news import SpellNews, ToldSpell
from gputally.collector.notify.spell_words import spell_message
from gputally.collector.rates.cost import SCALE

FRAME = Frame(ZoneInfo("Europe/Berlin"), "https://gpu.example.com")
NOW_US = START_US + 300 * MINUTE_US
EIGHT = pod(*(part(number, length=200) for number in range(8)))


def told(one: IdlePod, level: Level = Level.WARNING, doing: Doing | None = None, past: Spent | None = None) -> Message:
    return spell_message(SpellNews(ToldSpell(level, one, past or Spent()), level, doing), FRAME, NOW_US)


def test_a_spell_says_all_that_its_reader_needs() -> None:
    message = told(EIGHT)
    assert message.title == "research/pretrain-0 has not used 8 of its 8 GPUs for 3 h 20 min"
    assert message.lines[:3] == (
        "Namespace research (team language), node gpu-2 of cluster prod: NVIDIA H100 80GB HBM3.",
        "Idle since 18 Nov 2026, 10:37 (Europe/Berlin). So far: 53.33 EUR. Each further hour: 16.00 EUR.",
        "It holds 62.0 GiB of GPU memory meanwhile.",
    )
    assert message.lines[3].startswith("Ask its owner")
    assert message.lines[3].endswith("label the pod gputally.io/idle-alert=off.")
    assert message.link == "https://gpu.example.com/idle?namespace=research"


def test_its_figures_are_for_programs() -> None:
    details = told(EIGHT).details
    assert details["cost"] == {"amount": "53.33", "currency": "EUR"}
    assert (details["idle_partitions"], details["idle_gpus"], details["idle_gpu_seconds"]) == (8, "8", 96_000)
    assert (details["since"], details["until"]) == ("2026-11-18T09:37:00Z", "2026-11-18T12:57:00Z")
    assert details["ended_by"] is None


def test_the_end_of_a_spell_says_what_it_came_to_and_why() -> None:
    message = told(EIGHT, Level.RESOLVED, Doing.USES, Spent(60 * MINUTE_US, 2 * SCALE, 0))
    assert message.title == "research/pretrain-0 uses its GPUs again; it was idle for 3 h 20 min"
    assert message.lines[1:] == (
        "Idle from 18 Nov 2026, 10:37 (Europe/Berlin) to 18 Nov 2026, 13:57. In sum: 55.33 EUR.",
        "Something runs on what it holds.",
    )
    assert message.details["ended_by"] == "in-use"
    assert told(EIGHT, Level.RESOLVED).details["ended_by"] == "released"


@pytest.mark.parametrize("doing", [None, *Doing])
def test_every_end_has_words(doing: Doing | None) -> None:
    message = told(EIGHT, Level.RESOLVED, doing)
    assert len(message.lines) == 3
    assert "None" not in message.title + " ".join(message.lines)


def test_what_has_no_price_is_said_and_never_0() -> None:
    free = replace(pod(part(price=None)), rate=None)
    message = told(free)
    assert "So far: not priced. Each further hour: not priced." in message.lines[1]
    assert (message.details["cost"], message.details["cost_per_hour"]) == (None, None)
    half = told(pod(part(0), part(1, price=None)))
    assert "So far: 1.00 EUR, and a part of the time has no price." in half.lines[1]


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (pod(part(), held=1), "its GPU"),
        (pod(part(), held=4), "1 of its 4 GPUs"),
        (pod(shared(part(), Fraction(3, 7)), held=1), "its 0.43 GPU"),
        (
            pod(shared(part(0), Fraction(3, 7)), shared(part(1), Fraction(1, 7)), held=3),
            "2 of its 3 parts of GPUs (0.57 GPU)",
        ),
    ],
)
def test_parts_of_gpus_are_parts(one: IdlePod, words: str) -> None:
    assert told(one).title == f"research/pretrain-0 has not used {words} for 30 min"


def test_what_is_not_known_is_left_out() -> None:
    """No team, no memory, one that began before the ledger was looked at; a Frame without pages has no links."""
    bare = replace(EIGHT, team="", memory_bytes=None, parts=(replace(part(), before=True),))
    message = spell_message(SpellNews(ToldSpell(Level.WARNING, bare), Level.WARNING), Frame(ZoneInfo("UTC")), NOW_US)
    text = " ".join(message.lines)
    assert "team" not in text
    assert "GiB" not in text
    assert "Idle since before 18 Nov 2026, 09:37 (UTC)" in text
    assert message.link is None
    assert message.details["team"] is None


def test_names_are_one_line_and_have_an_end() -> None:
    """Who may make pods writes into no other line, and into no other message."""
    wild = replace(EIGHT, key=PodKey("a\nb", "n" * 253, "p\u202eq"), nodes=tuple("abcde"), models=("m" * 500,))
    message = told(wild)
    assert "\n" not in message.title
    assert "\u202e" not in message.title
    assert all(len(line) < 700 for line in (message.title, *message.lines))
    assert "nodes a, b, c and 2 more of cluster a�b" in message.lines[0]
    assert message.details["namespace"] == "n" * 253


BUDGET = Budget(Scope.TEAM, "language", None, Unit.MONEY, 100 * 10**9, (2026, 7), None, 3, "see finance")


def of_budget(found: Burn, level: Level) -> Message:
    return budget_message(BudgetNews(budget_key(found, "2026-11"), found, level), FRAME, "EUR", NOW_US)


def test_a_budget_says_what_is_spent_and_where_it_ends() -> None:
    found = Burn(BUDGET, 100 * SCALE, 73 * SCALE + 1, Forecast(130 * SCALE, 0, 0), 17, MINUTE_US)
    message = of_budget(found, Level.WARNING)
    assert message.title == "The November 2026 budget of team language will not last at this rate"
    assert message.lines == (
        "Spent: 73.00 of 100.00 EUR (73 %).",
        "By the end of the month, if its days go on as they did: 130.00.",
        "A part of the time has no price, and is not in these amounts.",
        "Note: see finance",
    )
    assert message.link == "https://gpu.example.com/"
    assert message.details["spent"] == "73.00"


def test_a_budget_of_gpu_hours_has_no_currency() -> None:
    budget = replace(BUDGET, scope=Scope.NAMESPACE, unit=Unit.GPU_HOURS, cluster="prod", note="")
    message = of_budget(Burn(budget, 1500 * SCALE, 1501 * SCALE, None, 0, 0), Level.CRITICAL)
    assert message.title == "The November 2026 budget of namespace language in cluster prod is exceeded"
    assert message.lines == ("Spent: 1,501.00 of 1,500.00 GPU-hours (100 %).",)
    assert message.link == "https://gpu.example.com/namespaces/language?month=2026-11&cluster=prod"
    assert (message.details["unit"], message.details["forecast"]) == ("GPU-hours", None)
