"""The command line of `gputally-collector`: one flag for each setting, all mistakes at once."""

import argparse
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from gputally.collector.settings import CollectorSettings, SettingsError, flag, load, nearest

_EPILOG = """\
Every setting is also read from the environment: --database-url is GPUTALLY_DATABASE_URL.

examples:
  gputally-collector
      one machine: agents and database here
  gputally-collector --database-url postgresql://gputally@db/gputally --cluster prod --grpc-listen :9856 \\
                     --tls-cert-file tls.crt --tls-key-file tls.key \\
                     --agent-auth token --agent-service-accounts gputally/gputally-agent
      a fleet: each agent proves with its pod's token which node it runs on; pages on this machine only
"""


class _Parser(argparse.ArgumentParser):
    """Raises what argparse would print and exit on, so that all mistakes can be told at once."""

    def error(self, message: str) -> NoReturn:
        raise SettingsError([message])


def read_settings(argv: Sequence[str]) -> CollectorSettings:
    """The settings that flags and environment give; raises SettingsError with every mistake in both."""
    parser = _Parser(
        prog="gputally-collector",
        description="Takes the windows of agents into the database, and keeps the ledger.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for name, field in CollectorSettings.model_fields.items():
        switch: dict[str, Any] = {"nargs": "?", "const": "true"} if field.annotation is bool else {}
        text = (field.description or "").replace("%", "%%")
        parser.add_argument(flag(name), metavar="VALUE", default=argparse.SUPPRESS, help=text, **switch)
    given, unknown = parser.parse_known_args(argv)
    mistakes = list(_unknown(unknown))
    try:
        settings = load(CollectorSettings, vars(given))
    except SettingsError as error:
        mistakes += error.mistakes
    if mistakes:
        raise SettingsError(mistakes)
    return settings


def _unknown(arguments: Sequence[str]) -> Iterator[str]:
    """What to say about arguments that no setting took; the value of an unknown flag needs no word of its own."""
    known = [flag(name) for name in CollectorSettings.model_fields]
    for before, text in zip(["", *arguments], arguments, strict=False):
        if text.startswith("-") or not before.startswith("-"):
            name = text.partition("=")[0]
            yield f"unknown argument {name}{nearest(name, known)}"
