"""Each spell is told once at each level and once when it is over, and what it cost stays with it."""

from fractions import Fraction
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from tests.collector.notify.pods import AFTER_US, KEY, MINUTE_US, START_US, part, pod, shared

from gputally.collector.notify.idle import Doing, Seen
from gputally.collector.notify.idle_pod import IdlePod, PodKey, Spent, of_json, to_json
from gputally.collector.notify.message import Level
from gputally.collector.notify.spell_news import OLD_US, UNSEEN_US, SpellNews, ToldSpell, spell_news
from gputally.collector.rates.cost import SCALE


class Play:
    """Looks that follow each other, with what each told."""

    def __init__(self) -> None:
        self.told: dict[PodKey, ToldSpell] = {}
        self.now_us = START_US

    def sees(self, *pods: IdlePod, **doing: Doing) -> list[SpellNews]:
        """What is new where these are idle, and KEY (if named) does something else."""
        others = {KEY: doing["does"]} if doing else {}
        now = spell_news(self.told, Seen({one.key: one for one in pods}, others), AFTER_US, self.now_us)
        self.told = dict(now.told)
        self.now_us += MINUTE_US
        return list(now.news)


def test_a_spell_is_told_at_each_level_once_and_once_when_it_is_over() -> None:
    play = Play()
    found = [play.sees(pod(part(length=minutes))) for minutes in (30, 31, 119, 120, 121, 500)]
    assert [[news.level for news in each] for each in found] == [
        [Level.WARNING],
        [],
        [],
        [Level.CRITICAL],
        [],
        [],
    ]
    (over,) = play.sees()
    assert (over.level, over.doing, over.told.spent.idle_us) == (Level.RESOLVED, None, 500 * MINUTE_US)
    assert play.sees() == []


def test_a_spell_that_is_long_already_is_told_as_critical_at_once() -> None:
    """The collector was away, or was told of the webhook only now."""
    (news,) = Play().sees(pod(part(length=130)))
    assert news.level is Level.CRITICAL


def test_a_spell_that_was_last_seen_by_a_clock_that_went_ahead_is_over_all_the_same() -> None:
    play = Play()
    play.now_us += 2 * OLD_US
    play.sees(pod(part(length=30)))
    play.sees(does=Doing.UNSEEN)
    play.now_us -= 2 * OLD_US
    assert [news.level for news in play.sees(does=Doing.UNSEEN)] == [Level.RESOLVED]


def test_a_pod_is_one_message_however_many_gpus_it_holds_idle() -> None:
    play = Play()
    (news,) = play.sees(pod(*(part(number) for number in range(8))))
    assert news.told.pod.gpus == 8
    assert play.sees(pod(*(part(number, length=31) for number in range(7)))) == []


def test_the_sum_has_what_ended_before_the_rest() -> None:
    """One of two GPUs is used for a while, and idle again later: all of it was waste."""
    play = Play()
    play.sees(pod(part(0, length=60), part(1, length=60)))
    play.sees(pod(part(0, length=90)))
    play.sees(pod(part(0, length=300), part(1, length=60, since=240)))
    (over,) = play.sees()
    assert over.told.spent == Spent(420 * MINUTE_US, 14 * SCALE, 0)


def test_a_level_does_not_fall_while_the_spell_goes_on() -> None:
    """The GPU that was idle longest is used: what else is idle was told already."""
    play = Play()
    play.sees(pod(part(0, length=130), part(1, length=40)))
    assert play.sees(pod(part(1, length=41))) == []
    assert play.told[KEY].level is Level.CRITICAL


def test_a_spell_that_began_after_the_last_look_is_another_one() -> None:
    """The collector was away while the pod computed; a pod may also be made again under its name."""
    play = Play()
    play.sees(pod(part(length=40)))
    over, again = play.sees(pod(part(length=45, since=400)))
    assert (over.level, over.told.spent.idle_us) == (Level.RESOLVED, 40 * MINUTE_US)
    assert (again.level, again.told.spent.idle_us) == (Level.WARNING, 45 * MINUTE_US)


def test_why_it_is_over_is_told() -> None:
    for doing in set(Doing) - {Doing.UNSEEN}:
        play = Play()
        play.sees(pod(part()))
        (over,) = play.sees(does=doing)
        assert over.doing is doing


def test_a_spell_that_is_not_seen_for_a_while_goes_on() -> None:
    """The collector was away: each node is silent until its agent has sent what waited."""
    play = Play()
    play.sees(pod(part(length=40)))
    for _ in range(UNSEEN_US // MINUTE_US):
        assert play.sees(does=Doing.UNSEEN) == []
    assert play.sees(pod(part(length=60))) == []
    assert [play.sees(does=Doing.UNSEEN) for _ in range(UNSEEN_US // MINUTE_US)] == [[]] * 15
    (over,) = play.sees(does=Doing.UNSEEN)
    assert (over.doing, over.told.pod.parts[0].length_us) == (Doing.UNSEEN, 60 * MINUTE_US)


def test_the_end_of_a_spell_of_days_ago_is_no_news() -> None:
    """The webhook was switched off in between."""
    play = Play()
    play.sees(pod(part()))
    play.now_us += 2 * OLD_US
    assert play.sees() == []
    assert play.told == {}


def test_who_asks_not_to_be_told_of_is_left_out() -> None:
    """Also where that is asked only after the first message."""
    seen = Seen({KEY: pod(part())}, {})
    assert spell_news({}, seen.without([KEY]), AFTER_US, START_US).news == ()
    told = spell_news({}, seen, AFTER_US, START_US).told
    (over,) = spell_news(told, seen.without([KEY]), AFTER_US, START_US).news
    assert (over.level, over.doing) == (Level.RESOLVED, Doing.EXEMPT)


def test_time_without_a_price_is_none_of_the_sum() -> None:
    play = Play()
    play.sees(pod(part(0), part(1, price=None)))
    (over,) = play.sees()
    assert over.told.spent == Spent(60 * MINUTE_US, SCALE, 30 * MINUTE_US)


def test_what_was_told_is_written_down_and_read_as_it_was() -> None:
    """Money past 64 bits, parts of a GPU and what is not known, all exactly."""
    one = pod(part(0, price=10**12), shared(part(1, price=None), Fraction(3, 7)))
    assert of_json(to_json(one)) == one
    told = ToldSpell(Level.CRITICAL, one, Spent(1, None, 1))
    assert ToldSpell.of_json(told.to_json()) == told


@given(st.lists(st.one_of(st.none(), st.integers(1, 200)), max_size=12))
def test_levels_only_rise_within_a_spell_and_every_spell_that_was_told_is_resolved(looks: list[int | None]) -> None:
    """Whatever a pod does between two looks: None is that it is not idle for long, a number how much longer it is."""
    play, news, length = Play(), [], 30
    for more in [*looks, None]:
        length = 30 if more is None else length + more
        news += play.sees() if more is None else play.sees(pod(part(length=length)))
    ranks = [each.level.rank for each in news]
    assert all(after == 0 or before < after or before == 0 for before, after in pairwise(ranks))
    assert not play.told
    assert not ranks or ranks[-1] == 0
