"""`gputally rates`: check, apply and explain rate cards."""

import sys
from collections.abc import Collection
from importlib.resources import files
from typing import Annotated
from zoneinfo import ZoneInfo

import typer
from sqlalchemy import Engine

from gputally.accounting.ledger_hour import hour_start
from gputally.collector.allocation.period import instant
from gputally.collector.cli.database import DatabaseUrl, Timezone, fail, instant_of, is_there, ledger, settings_of
from gputally.collector.cli.files import AsOf, File, keep, now_us, print_history, print_version, read_file, tell
from gputally.collector.database.engine import reading
from gputally.collector.files.applied import Kind
from gputally.collector.rates.card import Quantity, Rule, exact
from gputally.collector.rates.check import Findings
from gputally.collector.rates.check import check as check_card
from gputally.collector.rates.explain import Verdict
from gputally.collector.rates.explain import explain as explain_rule
from gputally.collector.rates.lookup import NotFound, Question, find_key, fleet_models
from gputally.collector.rates.pricing import Key, Pricer, read_pricer
from gputally.collector.settings import ReadSettings

UNITS = {
    Quantity.GPU_HOUR: "{currency} per GPU-hour",
    Quantity.KWH: "{currency} per kWh",
    Quantity.PUE: "PUE",
    Quantity.CARBON: "g CO2e per kWh",
}

app = typer.Typer(
    help="Rate cards: what a GPU-hour costs, for whom, where, and from when.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def check(file: File, database_url: DatabaseUrl = None, timezone: Timezone = None) -> None:
    """Say everything that is wrong with a rate card, by line; status 2 where there is anything.

    That is mistakes, ties, overlaps, gaps, and (where the database is there) models of the fleet without a price.
    """
    settings = settings_of(ReadSettings, database_url=database_url, timezone=timezone)
    content = read_file(file)
    fleet = None
    if is_there(settings):
        with ledger(settings) as engine:
            fleet = _fleet(engine)
    else:
        sys.stderr.write("gputally: there is no database yet, so the models of the fleet are not known\n")
    findings = _checked(file, content, settings.zone, fleet)
    if findings.errors or findings.warnings or findings.card is None:
        raise typer.Exit(2)
    sys.stdout.write(f"{file}: {len(findings.card.rules)} rules, nothing wrong\n")


@app.command()
def apply(file: File, database_url: DatabaseUrl = None, timezone: Timezone = None) -> None:
    """Keep a rate card as the newest version, which prices every month that is open; refused where it has errors."""
    settings = settings_of(ReadSettings, database_url=database_url, timezone=timezone)
    content = read_file(file)
    with ledger(settings) as engine:
        if _checked(file, content, settings.zone, _fleet(engine)).errors:
            raise typer.Exit(2)
        keep(engine, Kind.RATES, content, settings.zone)


@app.command()
def history(database_url: DatabaseUrl = None, timezone: Timezone = None) -> None:
    """Every rate card that was applied: when, by whom, and its hash."""
    settings = settings_of(ReadSettings, database_url=database_url, timezone=timezone)
    with ledger(settings) as engine:
        print_history(engine, Kind.RATES, settings.zone)


@app.command()
def show(
    version: Annotated[int | None, typer.Option(help="Which one. Default: the newest.", metavar="N")] = None,
    as_of: AsOf = None,
    database_url: DatabaseUrl = None,
    timezone: Timezone = None,
) -> None:
    """Print a rate card as it was applied."""
    settings = settings_of(ReadSettings, database_url=database_url, timezone=timezone)
    with ledger(settings) as engine:
        print_version(engine, Kind.RATES, version, as_of)


@app.command()
def example() -> None:
    """Print a rate card to begin with; its prices are invented."""
    sys.stdout.write(example_card().decode())


@app.command()
def explain(
    node: Annotated[str, typer.Option(help="The node, by its name.", metavar="NAME")],
    gpu: Annotated[str, typer.Option(help="The device, by its UUID.", metavar="UUID")],
    at: Annotated[str | None, typer.Option(help="When. Default: now.", metavar="INSTANT")] = None,
    namespace: Annotated[str | None, typer.Option(help="Who holds it. Default: nobody.", metavar="NAME")] = None,
    profile: Annotated[str, typer.Option(help="A MIG profile. Default: the whole GPU.", metavar="PROFILE")] = "",
    cluster: Annotated[str | None, typer.Option(help="Where the name alone is not enough.", metavar="NAME")] = None,
    as_of: AsOf = None,
    database_url: DatabaseUrl = None,
    timezone: Timezone = None,
) -> None:
    """Which rule prices a device in an hour, and why the others do not."""
    mistakes: list[str] = []
    settings = settings_of(ReadSettings, database_url=database_url, timezone=timezone)
    at_us, as_of_us = instant_of("--at", at, mistakes), instant_of("--as-of", as_of, mistakes)
    if mistakes:
        fail(2, mistakes)
    hour_us = hour_start(now_us() if at_us is None else at_us, settings.zone)
    with ledger(settings) as engine, reading(engine) as connection:
        try:
            key = find_key(connection, Question(node, gpu, cluster, namespace, profile))
        except NotFound as error:
            fail(2, error.mistakes)
        pricer = read_pricer(connection, settings.zone, as_of_us)
    _print_explanation(pricer, key, hour_us, settings.zone)


def example_card() -> bytes:
    """The rate card that is shipped as an example."""
    return files("gputally.collector.rates").joinpath("example.yaml").read_bytes()


def _fleet(engine: Engine) -> Collection[str]:
    with reading(engine) as connection:
        return fleet_models(connection)


def _checked(file: str, content: bytes, zone: ZoneInfo, fleet: Collection[str] | None) -> Findings:
    findings = check_card(content, zone, fleet, now_us())
    tell(file, findings.errors, "error")
    tell(file, findings.warnings, "warning")
    tell(file, findings.notes, "note")
    return findings


def _print_explanation(pricer: Pricer, key: Key, hour_us: int, zone: ZoneInfo) -> None:
    team = pricer.at(key, hour_us).team
    held = "nobody" if key.namespace is None else f"namespace {key.namespace}, team {team.team or 'unknown'}"
    part = f", profile {key.profile}" if key.profile else ""
    sys.stdout.write(
        f"{key.model}{part} on node {key.node} of cluster {key.cluster}, held by {held}, "
        f"in the hour from {instant(hour_us, zone)}\n"
    )
    if pricer.labels(key, hour_us) is None:
        sys.stdout.write(f"the labels of {key.node} in that hour are not known, so no rule that asks for one matches\n")
    if pricer.book is None or pricer.card is None:
        sys.stdout.write("unpriced: no rate card was applied (gputally rates apply)\n")
        return
    card = pricer.card
    sys.stdout.write(
        f"rate card version {card.version}, applied {instant(card.applied_us, zone)} by {card.applied_by}\n"
    )
    use = pricer.use(key, hour_us)
    for quantity in Quantity:
        verdicts = explain_rule(pricer.book, quantity, use, hour_us, zone)
        if verdicts or quantity is Quantity.GPU_HOUR:
            _print_verdicts(quantity, pricer.book.card.currency, verdicts, zone)


def _print_verdicts(quantity: Quantity, currency: str, verdicts: list[Verdict], zone: ZoneInfo) -> None:
    unit = UNITS[quantity].format(currency=currency)
    holding = [verdict.rule for verdict in verdicts if verdict.holds]
    if holding:
        rule = holding[0]
        since = instant(rule.valid_from_us, zone)
        sys.stdout.write(f"\n{exact(rule.value)} {unit}: {_named(rule)}, valid from {since}{_note(rule)}\n")
    else:
        told = "unpriced: no rule matches" if quantity is Quantity.GPU_HOUR else "unknown: no rule matches"
        sys.stdout.write(f"\n{unit}: {told}\n")
    for verdict in verdicts:
        if not verdict.holds:
            sys.stdout.write(f"  not {exact(verdict.rule.value)}: {_named(verdict.rule)}: {verdict.why}\n")


def _named(rule: Rule) -> str:
    return f"line {rule.line} ({rule.match})"


def _note(rule: Rule) -> str:
    return f" - {rule.note}" if rule.note else ""
