"""A statement's items and its idle workloads: who pays, at which price, and which namespace of a name it was."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, update
from tests.histories import Labelled
from tests.statements import AUGUST, CARD, JULY, UTC, apply, book, close, lines_of, renderings
from tests.watched_pods import learn
from tests.windows import MINUTE_US, START_US, device, pod, reserved, unallocated, window

from gputally.accounting.ledger_hour import HOUR_US
from gputally.accounting.line import Window
from gputally.collector.cluster.watch import ObjectKind
from gputally.collector.database.engine import writing
from gputally.collector.database.schema_statement import statement as frozen
from gputally.collector.days.seal import next_to_seal, seal
from gputally.collector.exports.printed import facts
from gputally.collector.exports.statement_html import as_html
from gputally.collector.exports.statement_table import as_table
from gputally.collector.statement.content import Statement, read_open
from gputally.collector.statement.currency import decimals
from gputally.collector.statement.document import as_json, digest, from_json
from gputally.collector.statement.unmetered import Unmetered
from gputally.collector.statement.view import View, Who
from gputally.collector.waste import cells as waste_cells

BEFORE_WASTE = Path(__file__).parents[2] / "data" / "statements" / "before-waste.json"
KWH = 3_600_000_000  # millijoules


def hour(at: int, *names: str) -> list[Window]:
    """An hour in which each of some namespaces holds a device and uses half of it."""
    half = MINUTE_US // 2
    parts = [device(reserved(pod(name, f"pod-of-{name}"), half, half), uuid=f"GPU-{name}") for name in names]
    start_us = START_US + at * HOUR_US
    return [window(*parts, start_us=start_us + minute * MINUTE_US) for minute in range(60)]


def statement(engine: Engine) -> Statement:
    return read_open(engine, UTC, JULY)


def test_a_namespace_made_again_under_its_name_is_another(engine: Engine) -> None:
    """Deleted and made again with the same team: two items, two workloads, two sub-accounts."""
    cluster = Labelled(engine)
    first = cluster.namespace(START_US, "search", uid="uid-1")
    cluster.delete(START_US + HOUR_US, ObjectKind.NAMESPACE, first)
    cluster.namespace(START_US + HOUR_US, "search", uid="uid-2")
    book(engine, hour(0, "search") + hour(1, "search"))
    apply(engine)
    found = statement(engine)
    used = {item.key.namespace_uid: item.quantity for item in found.items if item.key.state == "used"}
    assert used == {"uid-1": HOUR_US // 2, "uid-2": HOUR_US // 2}
    assert {one.namespace_uid: one.idle_us for one in found.workloads} == used
    assert [line.terms.namespace_uid for line in lines_of(engine, JULY)] == ["uid-1", "uid-2"]
    close(engine)
    assert {line.terms.namespace_uid for line in lines_of(engine, JULY)} == {"uid-1", "uid-2"}


def test_a_price_and_a_team_that_change_in_the_month_make_items_of_their_own(engine: Engine) -> None:
    book(engine, hour(19 * 24 - 2, "search") + hour(19 * 24, "search"))
    apply(engine, change="2026-07-20")
    used = [(one.key.team, one.key.price, one.quantity) for one in statement(engine).items if one.key.state == "used"]
    assert used == [("engines", 3_337_000_000, HOUR_US // 2), ("finders", 2_700_000_000, HOUR_US // 2)]


def test_a_pod_whose_first_hour_is_after_a_change_has_the_price_of_its_time(engine: Engine) -> None:
    """What is summed by the database is priced where its piece begins, which is not where the month does."""
    book(engine, hour(19 * 24, "search"))
    apply(engine, change="2026-07-20")
    assert {one.key.price for one in statement(engine).items} == {2_700_000_000}


def test_the_platform_pays_for_what_nobody_held(engine: Engine) -> None:
    book(engine, [window(device(unallocated(MINUTE_US)))])
    apply(engine)
    (item,) = statement(engine).items
    assert (item.key.payer, item.key.state, item.key.namespace) == ("platform", "unallocated", "")


def test_the_dearest_idle_workloads_come_first_and_a_team_has_its_own_ten(engine: Engine) -> None:
    many = [f"other-{at:02}" for at in range(12)]
    book(engine, hour(0, "search", *many) + hour(1, "other-03"))
    apply(engine)
    found = statement(engine)
    shown = View(found).workloads
    assert len(shown) == 10
    assert (shown[0].pod, shown[0].idle_us, shown[0].team) == ("pod-of-other-03", HOUR_US, "")
    (own,) = View(found, Who(team="engines")).workloads
    assert (own.pod, own.cost) == ("pod-of-search", HOUR_US // 2 * 3_337_000_000)


def test_without_a_card_everything_is_unpriced_and_nothing_is_free(engine: Engine) -> None:
    book(engine, hour(0, "search"))
    found = statement(engine)
    assert [(item.cost, item.amount) for item in found.items] == [(None, None)] * 2
    assert View(found).amount is None
    assert View(found).unpriced_us == HOUR_US


def test_an_empty_month_has_nothing_and_costs_nothing(engine: Engine) -> None:
    apply(engine)
    found = read_open(engine, UTC, AUGUST)
    assert (found.items, View(found).amount, View(found).capacity_us) == ((), 0, 0)


CARBON = """\
carbon:
  - {match: {namespace: search}, valid_from: 2026-01-01, valid_to: 2026-07-10, g_co2e_per_kwh: 400}
  - {match: {namespace: search}, valid_from: 2026-07-10, g_co2e_per_kwh: 100}
"""


def drawn(*days: int) -> list[Window]:
    """A minute of each of some days of July in which two namespaces draw a kilowatt-hour each."""
    parts = [device(reserved(pod(name), MINUTE_US, 0, energy_mj=KWH), uuid=name) for name in ("search", "vision")]
    return [window(*parts, start_us=START_US + (day - 1) * 24 * HOUR_US) for day in days]


def test_carbon_stands_beside_the_money_by_namespace_and_team(engine: Engine) -> None:
    """A factor that changes in the month; energy without one is told, and is not 0. The items are the same."""
    book(engine, drawn(9, 10))
    apply(engine)
    before = statement(engine)
    assert (before.emissions, "carbon" in as_json(View(before))) == ((), False)
    apply(engine, card=CARD + CARBON)
    found = statement(engine)
    assert View(found).amount == View(before).amount
    assert from_json(as_json(View(found))) == found
    carbon = json.loads(as_json(View(found)))["carbon"]
    assert (carbon["carbon_g"], carbon["no_factor_mj"]) == ("650.000000", 2 * KWH)  # of 1.3 kWh each, by the PUE
    lines = [(line["namespace"], line["team"], line["carbon_g"], line["no_factor_mj"]) for line in carbon["lines"]]
    assert lines == [("vision", "", None, 2 * KWH), ("search", "engines", "650.000000", 0)]
    own = json.loads(as_json(View(found, Who(team="engines"))))["carbon"]
    assert (own["carbon_g"], own["no_factor_mj"]) == ("650.000000", 0)
    assert ("carbon", "0.65 kg CO2e, without the 2.00 kWh that have no factor") in facts(View(found), None)


def test_a_month_closed_without_carbon_stays_as_it_was_and_one_with_keeps_it(engine: Engine) -> None:
    book(engine, drawn(31, 32))
    apply(engine)
    close(engine)
    frozen = renderings(engine)
    apply(engine, card=CARD + CARBON)
    assert renderings(engine) == frozen
    close(engine, AUGUST)
    with_carbon = renderings(engine, AUGUST)
    assert all("130.000000" in text or "0.13 kg" in text for text in (with_carbon[0], *with_carbon[2:4]))
    apply(engine)
    assert renderings(engine, AUGUST) == with_carbon


def test_the_document_is_read_back_as_it_was(engine: Engine) -> None:
    book(engine, hour(0, "search", "vision"))
    apply(engine)
    found = statement(engine)
    assert from_json(as_json(View(found))) == found


def test_a_month_closed_before_waste_was_told_stays_as_it_was_in_every_form(engine: Engine) -> None:
    """A document without a version, as this program wrote it then: the same bytes, and pods in the place of losses."""
    old = BEFORE_WASTE.read_text(encoding="utf-8")
    book(engine, hour(0, "search", "vision") + hour(1, "vision"))
    apply(engine)
    close(engine)
    with writing(engine) as connection:
        connection.execute(update(frozen).values(document=old, content_hash=digest(old)))
    found = from_json(old)
    assert (found.waste, as_json(View(found))) == (None, old)
    document, _, html, table, _ = renderings(engine)
    assert document == old
    for text in (html, table):
        assert "pod-of-search" in text
        assert "The dearest waste" not in text


def test_a_statement_tells_waste_by_kind_and_workload_and_it_sums_to_the_idle_time(engine: Engine) -> None:
    book(engine, hour(0, "search", "vision") + hour(1, "vision"))
    apply(engine)
    learn(engine, "pod-of-search", "PyTorchJob.kubeflow/bert")
    found = statement(engine)
    assert found.waste is not None
    assert [(one.namespace, one.workload, one.kind, one.us, one.cost) for one in found.waste.workloads] == [
        ("search", "pytorchjob.kubeflow/bert", "between-kernels", HOUR_US // 2, HOUR_US // 2 * 3_337_000_000),
        ("vision", "pod/pod-of-vision", "between-kernels", HOUR_US, HOUR_US * 1_123_456_789),
    ]
    told = json.loads(as_json(View(found)))
    assert told["version"] == 3
    idle = {(one["namespace"], one["team"]): one["us"] for one in told["items"] if one["state"] == "idle"}
    assert {(one["namespace"], one["team"]): one["us"] for one in told["waste_kinds"]} == idle
    own = json.loads(as_json(View(found, Who(team="engines"))))
    assert [one["workload"] for one in own["waste"]] == ["pytorchjob.kubeflow/bert"]
    assert [one["kind"] for one in own["waste_kinds"]] == ["between-kernels"]
    close(engine)
    frozen_as = renderings(engine)
    assert all("bert" in text and "between kernels" in text for text in frozen_as[2:4])
    learn(engine, "pod-of-vision", "Deployment/later", namespace="vision")
    assert renderings(engine) == frozen_as


def test_idle_time_that_is_priced_in_part_says_what_its_amount_is_without(engine: Engine) -> None:
    """In the terminal and on the page beside the amount, in JSON by its microseconds."""
    half = MINUTE_US // 2
    cheap = device(reserved(pod("search", "pod-of-search"), half, half), uuid="GPU-L4", model="NVIDIA L4")
    book(engine, [*hour(0, "search"), window(cheap, start_us=START_US + HOUR_US)])
    apply(engine)
    found = statement(engine)
    told = json.loads(as_json(View(found)))
    assert [(one["us"], one["unpriced_us"]) for one in told["waste"]] == [(HOUR_US // 2 + half, half)]
    assert [(one["us"], one["unpriced_us"]) for one in told["waste_kinds"]] == [(HOUR_US // 2 + half, half)]
    texts = renderings(engine)[2:4]
    assert all(text.count("and 0.01 h unpriced") == 2 for text in texts)
    without_waste = View(replace(found, waste=None))
    for text in (as_html(without_waste, None), as_table(without_waste, None, 120)):
        assert text.count("and 0.01 h unpriced") == 1


def test_time_whose_energy_nobody_measured_is_told_beside_its_sums(engine: Engine) -> None:
    """It is not 0 kWh; and months that were closed before it was told keep their documents."""
    half = MINUTE_US // 2
    metered = device(reserved(pod("vision"), half, half, energy_mj=90_000), uuid="GPU-0")
    veiled = device(reserved(pod("search"), half, half), uuid="GPU-1")
    book(engine, [window(metered, veiled)])
    apply(engine)
    found = statement(engine)
    assert found.unmetered == (Unmetered("pod", "engines", "east", "search", MINUTE_US),)
    told = json.loads(as_json(View(found)))
    assert (told["energy_mj"], told["no_energy"]["us"]) == (90_000, MINUTE_US)
    assert all("not measured of 0.02 GPU-hours" in text for text in renderings(engine)[2:4])
    others = View(found, Who(namespace="vision"))
    assert json.loads(as_json(others))["no_energy"] == {"us": 0, "lines": []}
    assert "not measured" not in as_table(others, None, 120)
    before = as_json(View(replace(found, unmetered=None)))
    assert json.loads(before)["version"] == 2
    assert as_json(View(from_json(before))) == before


def test_time_without_energy_is_told_alike_however_far_its_days_are_summed(engine: Engine) -> None:
    """A sealed day is read from another table than the next one: still the model is measured in the month."""
    half = MINUTE_US // 2
    metered = device(reserved(pod("search"), half, half, energy_mj=90_000))
    veiled = device(reserved(pod("search"), half, half))
    book(engine, [window(metered), window(veiled, start_us=START_US + 25 * HOUR_US)])
    apply(engine)
    before = statement(engine)
    with writing(engine) as connection:
        first = next_to_seal(connection, START_US + 24 * HOUR_US)
        assert first is not None
        seal(connection, first)
    assert statement(engine).unmetered == before.unmetered
    assert [one.payer for one in before.unmetered or ()] == ["platform"]  # the gap between the windows


def test_a_month_of_too_many_workloads_is_told_without_their_waste(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    book(engine, [window(*(device(reserved(pod(name), 0, MINUTE_US), uuid=name) for name in ("search", "vision")))])
    apply(engine)
    monkeypatch.setattr(waste_cells, "MAX_CELLS", 1)
    found = statement(engine)
    assert found.waste is None
    assert "version" not in json.loads(as_json(View(found)))
    close(engine)


@pytest.mark.parametrize(("currency", "digits"), [("EUR", 2), ("JPY", 0), ("KWD", 3)])
def test_an_amount_has_the_decimals_of_its_currency(currency: str, digits: int) -> None:
    assert decimals(currency) == digits
