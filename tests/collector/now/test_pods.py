"""What a pod's idle spells cost together; where a price is missing, that is said and never 0."""

from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from tests.collector.top.facts import NOON_US, spell, standing

from gputally.collector.cluster.labels import LabelHistory
from gputally.collector.now.pods import by_pod, known, rate
from gputally.collector.rates.cost import SCALE
from gputally.collector.rates.match import Book
from gputally.collector.rates.parse import parse_card
from gputally.collector.rates.pricing import Pricer
from gputally.collector.teams import TeamBook, TeamMapping

CARD = b"""\
version: 1
currency: EUR
prices:
  - {match: {model: NVIDIA H100, namespace: vision}, valid_from: 2026-01-01, per_gpu_hour: 3.60}
"""
NOBODY = LabelHistory({})


def pricer() -> Pricer:
    return Pricer(None, Book(parse_card(CARD, ZoneInfo("UTC"))), NOBODY, TeamBook(TeamMapping(), NOBODY))


def test_an_hour_of_a_part_costs_its_share() -> None:
    assert rate(standing(idle=60), pricer(), NOON_US) == SCALE * 36 // 10
    assert rate(standing(idle=30), pricer(), NOON_US) == SCALE * 18 // 10
    assert rate(standing(idle=60, namespace="elsewhere"), pricer(), NOON_US) is None


def test_a_pods_spells_are_one_with_all_of_its_gpus_since_the_first() -> None:
    parts = [standing(idle=60, uuid="GPU-1"), standing(idle=30, uuid="GPU-2")]
    (found,) = by_pod([spell(parts[0], 5, 7), spell(parts[1], 9, 2)], pricer(), NOON_US)
    assert (found.gpus, found.since_us) == (Fraction(3, 2), NOON_US - 9 * 3_600_000_000)
    assert (found.cost, found.rate) == (9 * SCALE, SCALE * 54 // 10)


def test_pods_of_one_name_in_two_clusters_are_two() -> None:
    spells = [spell(standing(idle=60, cluster=cluster), 1) for cluster in ("east", "west")]
    assert [one.cluster for one in by_pod(spells, pricer(), NOON_US)] == ["east", "west"]


def test_without_a_price_neither_the_hour_nor_the_spell_costs_anything_that_could_be_told() -> None:
    (found,) = by_pod([spell(standing(idle=60, namespace="elsewhere"), 1, None)], pricer(), NOON_US)
    assert (found.cost, found.rate) == (None, None)


@pytest.mark.parametrize(("costs", "sum_"), [([], None), ([None], None), ([None, 3, 4], 7), ([0], 0)])
def test_a_sum_is_of_what_is_known(costs: list[int | None], sum_: int | None) -> None:
    assert known(costs) == sum_
