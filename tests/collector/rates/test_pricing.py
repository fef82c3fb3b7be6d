"""Rates and teams of postings: as of the hour, the same whether asked hour by hour or over a stretch."""

from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine
from tests.databases import empty
from tests.histories import Labelled
from tests.rate_cards import CARD, H100, JULY_US, UTC
from tests.windows import all_received, minutes

from gputally.accounting.ledger_hour import HOUR_US
from gputally.collector.database.engine import reading
from gputally.collector.files.applied import Kind, apply_file
from gputally.collector.ingest.commit import Committer
from gputally.collector.ledger.postings import settle
from gputally.collector.rates.card import NANO, Quantity
from gputally.collector.rates.cost import in_currency, time_cost
from gputally.collector.rates.lookup import NotFound, Question, find_key, fleet_models
from gputally.collector.rates.pricing import PRICES, Key, Pricer, Rate, read_pricer

DAY_US = 24 * HOUR_US
KEY = Key("east", "node-a", H100, "", "search")


def pricer(engine: Engine, as_of_us: int | None = None) -> Pricer:
    with reading(engine) as connection:
        return read_pricer(connection, UTC, as_of_us)


def price(found: Pricer, us: int, key: Key = KEY) -> int | None:
    return found.at(key, us).rate.price


def applied(engine: Engine, text: str = CARD, at_us: int = JULY_US) -> None:
    apply_file(engine, Kind.RATES, text.encode(), "ann@host", at_us)


def test_without_a_card_everything_is_unpriced(engine: Engine) -> None:
    found = pricer(engine)
    assert found.at(KEY, JULY_US).rate == Rate()
    assert price(found, JULY_US) is None
    assert found.currency is None


def test_labels_and_teams_are_those_of_the_hour(engine: Engine) -> None:
    applied(engine)
    cluster = Labelled(engine)
    cluster.node(JULY_US, "node-a", capacity="spot")
    cluster.node(JULY_US + 2 * HOUR_US, "node-a", capacity="reserved")
    cluster.namespace(JULY_US, "search", team="ops")
    cluster.namespace(JULY_US + 4 * HOUR_US, "search", team="research")
    found = pricer(engine)
    assert [price(found, JULY_US + hour * HOUR_US) for hour in range(6)] == [
        *(2 * [1_500_000_000]),
        *(2 * [4 * NANO]),
        *(2 * [3 * NANO]),
    ]
    assert found.at(KEY, JULY_US + 5 * HOUR_US).team.team == "research"


def test_the_platform_has_no_team_and_the_general_price(engine: Engine) -> None:
    applied(engine)
    Labelled(engine).namespace(JULY_US, "search", team="research")
    found = pricer(engine).at(Key("east", "node-a", H100, "", None), JULY_US)
    assert (found.rate.price, found.team.team) == (4 * NANO, None)


def test_the_rates_of_an_earlier_day_can_be_asked(engine: Engine) -> None:
    applied(engine)
    applied(engine, CARD.replace("4.00", "5.00"), JULY_US + DAY_US)
    assert price(pricer(engine), JULY_US) == 5 * NANO
    assert price(pricer(engine, as_of_us=JULY_US), JULY_US) == 4 * NANO
    found = pricer(engine)
    assert found.card is not None
    assert found.card.version == 2


def test_a_rate_that_changes_in_the_month_is_two_stretches_that_sum_exactly(engine: Engine) -> None:
    """31 days of one GPU: 14 at 4.00, 17 at 3.50."""
    applied(engine)
    stretches = list(pricer(engine).over(KEY, JULY_US, JULY_US + 31 * DAY_US))
    assert [(one.to_us - one.from_us, one.rate.price) for one in stretches] == [
        (14 * DAY_US, 4 * NANO),
        (17 * DAY_US, 3_500_000_000),
    ]
    cost = sum(time_cost(one.to_us - one.from_us, one.rate.price) or 0 for one in stretches)
    assert in_currency(cost) == Fraction(14 * 24 * 4 + 17 * 24 * Fraction("3.5"))


def test_changes_are_where_something_changes_for_somebody(engine: Engine) -> None:
    """A label that no rule asks for, and a team that stays, are none."""
    applied(engine)
    cluster = Labelled(engine)
    cluster.node(JULY_US, "node-a", capacity="spot", other="1")
    cluster.node(JULY_US + HOUR_US, "node-a", capacity="spot", other="2")
    cluster.node(JULY_US + 2 * HOUR_US, "node-a", capacity="x", other="2")
    found = pricer(engine)
    changes = found.changes(JULY_US, JULY_US + 31 * DAY_US)
    assert changes.all == (JULY_US + 2 * HOUR_US, JULY_US + 14 * DAY_US)
    assert changes.nodes == {"node-a": (JULY_US + 2 * HOUR_US,)}


def test_carbon_may_be_left_out(engine: Engine) -> None:
    """It may change every hour, and would cut a month into as many pieces."""
    carbon = "carbon:\n  - valid_from: 2026-07-02\n    g_co2e_per_kwh: 300\n"
    applied(engine, CARD + carbon)
    with reading(engine) as connection:
        money = read_pricer(connection, UTC, quantities=PRICES)
    assert len(list(money.over(KEY, JULY_US, JULY_US + 3 * DAY_US))) == 1
    assert money.at(KEY, JULY_US + DAY_US).rate.carbon is None
    rule = pricer(engine).at(KEY, JULY_US + DAY_US).rate.carbon
    assert rule is not None
    assert rule.quantity is Quantity.CARBON


_CHANGES = st.lists(st.tuples(st.integers(0, 40), st.sampled_from(["spot", "x"]), st.sampled_from(["research", "ops"])))


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=10, deadline=None
)
@given(changes=_CHANGES, start=st.integers(0, 5), end=st.integers(30, 45), data=st.data())
def test_asking_by_hour_and_over_a_stretch_is_the_same(
    engine: Engine, changes: list[tuple[int, str, str]], start: int, end: int, data: st.DataObject
) -> None:
    """Whatever changes when, and in whatever order hours are asked for."""
    empty(engine)
    applied(engine)
    cluster = Labelled(engine)
    for hour, capacity, team in sorted(changes):
        cluster.node(JULY_US + hour * HOUR_US // 2, "node-a", capacity=capacity)
        cluster.namespace(JULY_US + hour * HOUR_US // 2, "search", team=team)
    found = pricer(engine)
    hours = [JULY_US + hour * HOUR_US for hour in range(start, end)]
    by_hour = {us: found.at(KEY, us) for us in data.draw(st.permutations(hours))}
    stretches = list(found.over(KEY, hours[0], hours[-1] + HOUR_US))
    assert stretches[0].from_us == hours[0]
    assert stretches[-1].to_us == hours[-1] + HOUR_US
    assert {one.from_us for one in stretches[1:]} <= {*found.changes(hours[0], hours[-1] + HOUR_US).all}
    for us in hours:
        (stretch,) = [one for one in stretches if one.from_us <= us < one.to_us]
        assert (stretch.rate, stretch.team) == (by_hour[us].rate, by_hour[us].team)


def book(engine: Engine) -> None:
    zone = ZoneInfo("UTC")
    Committer(engine, zone, max_age_us=None).commit(all_received(minutes(61)), now_us=JULY_US + DAY_US)
    settle(engine, zone)


def test_a_question_is_put_in_the_ledgers_names(engine: Engine) -> None:
    book(engine)
    with reading(engine) as connection:
        assert find_key(connection, Question("node-a", "GPU-0", namespace="search")) == KEY
        assert fleet_models(connection) == [H100]


def test_what_the_ledger_does_not_know_is_told_at_once(engine: Engine) -> None:
    book(engine)
    with reading(engine) as connection, pytest.raises(NotFound) as caught:
        find_key(connection, Question("nobody", "GPU-9", cluster="west"))
    assert caught.value.mistakes == (
        "--node nobody: the ledger knows no such node in cluster west",
        "--gpu GPU-9: the ledger knows no such device",
    )
