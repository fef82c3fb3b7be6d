"""Settings of the collector and its commands: flags, then the environment (`GPUTALLY_…`), then the defaults here.

A flag is the field's name with dashes, its variable is `GPUTALLY_` and the name in capitals. All mistakes are found
before any is reported. The prefix is shared with the agent, and Kubernetes adds variables of its own to it for a
service named `gputally…`, so a variable is refused only where it is nearly one of ours; a flag has no such excuse.
"""

import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from gputally.collector.database import parse_url

ENV_PREFIX = "GPUTALLY_"
_NEARLY = 0.8  # difflib's ratio from which an unknown variable is taken for a misspelt one of ours
_LOOPBACK = ("localhost", "::1")
_SECRET = ("database_url",)  # may hold a password, so a mistake in it is not repeated

Model = TypeVar("Model", bound=BaseSettings)


class SettingsError(ValueError):
    """Settings that cannot be used; `mistakes` names all of them, one sentence each."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__("; ".join(mistakes))
        self.mistakes = tuple(mistakes)


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen. Port 0 asks the system for a free one."""

    host: str
    port: int

    @property
    def text(self) -> str:
        """HOST:PORT, with the brackets that an IPv6 host needs."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """True where only this machine can reach it."""
        return self.host in _LOOPBACK or self.host.startswith("127.")


def parse_address(text: object) -> Address:
    """HOST:PORT, [IPV6]:PORT or :PORT (every interface); raises ValueError that says what is expected."""
    if isinstance(text, Address):
        return text
    host, colon, port = str(text).rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535 or (":" in host and bare == host):
        raise ValueError("expected HOST:PORT, such as 127.0.0.1:9856 or [::1]:9856")
    return Address(bare or "::", int(port))


def default_database_url(environ: Mapping[str, str]) -> str:
    """The SQLite file that every command uses unless told otherwise: below XDG_STATE_HOME, or ~/.local/state."""
    state = environ.get("XDG_STATE_HOME", "")
    # The XDG specification: a relative path there is invalid and counts as not set.
    base = Path(state) if state.startswith("/") else Path.home() / ".local" / "state"
    return f"sqlite:///{base / 'gputally' / 'gputally.sqlite'}"


def sqlite_file(database_url: str) -> Path | None:
    """The file of an SQLite URL; None for a server's."""
    url = parse_url(database_url)
    return Path(str(url.database)) if url.get_backend_name() == "sqlite" else None


def shown(database_url: str) -> str:
    """The URL as it may be printed: without its password."""
    return parse_url(database_url).render_as_string(hide_password=True)


def _database_url(text: str) -> str:
    parse_url(text)
    return text


def _zone_name(text: str) -> str:
    try:
        ZoneInfo(text)
    # OSError: the name is a folder of the zone files, such as "Europe".
    except (ValueError, LookupError, OSError) as error:
        raise ValueError("expected an IANA time zone, such as UTC or Europe/Berlin") from error
    return text


# NoDecode: a variable holds HOST:PORT, not JSON.
ListenAddress = Annotated[Address, NoDecode, BeforeValidator(parse_address)]


class DatabaseSettings(BaseSettings):
    """What every command that opens the database needs."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="forbid", frozen=True, env_ignore_empty=True)

    database_url: Annotated[str, AfterValidator(_database_url)] = Field(
        default_factory=lambda: default_database_url(os.environ),
        description=(
            "Database: sqlite:////path/to/file, or postgresql://user@host/name for more than one collector. "
            "Default: the file gputally/gputally.sqlite in $XDG_STATE_HOME, else in ~/.local/state."
        ),
    )


class ReadSettings(DatabaseSettings):
    """What reading the ledger needs besides."""

    timezone: Annotated[str, AfterValidator(_zone_name)] = Field(
        default="UTC",
        description=(
            "Billing time zone (IANA name), one for a deployment: days and months begin at its midnight. Default: UTC."
        ),
    )

    @property
    def zone(self) -> ZoneInfo:
        """The billing time zone."""
        return ZoneInfo(self.timezone)


class CollectorSettings(ReadSettings):
    """Everything that `gputally-collector` can be told."""

    grpc_listen: ListenAddress = Field(
        default=Address("127.0.0.1", 9856),
        description=(
            "HOST:PORT for the agents' streams. Default: 127.0.0.1:9856, this machine only, because the stream is "
            "plain text; another host needs --insecure-plaintext."
        ),
    )
    http_listen: ListenAddress = Field(
        default=Address("127.0.0.1", 9857),
        description="HOST:PORT for /metrics, /healthz and /readyz. Default: 127.0.0.1:9857.",
    )
    insecure_plaintext: bool = Field(
        default=False,
        description=(
            "true: take unencrypted, unauthenticated streams from other hosts, on a network where only agents can "
            "reach the port. Default: false."
        ),
    )
    line_retention_days: int = Field(
        default=14,
        ge=0,
        description=(
            "Days within which a window may still arrive; its hour is recomputed only that long, and what is older is "
            "refused and quarantined. 0: any age. Default: 14, twice the seven days that an agent's spool holds."
        ),
    )
    writer_queue: int = Field(
        default=512,
        ge=1,
        description=(
            "Windows that may wait for the database before streams are no longer read. Default: 512, a few seconds "
            "of a large fleet, so that memory stays small and agents hold what is not written."
        ),
    )

    @model_validator(mode="after")
    def _plaintext_stays_here(self) -> "CollectorSettings":
        if not self.grpc_listen.loopback and not self.insecure_plaintext:
            raise ValueError(
                f"--grpc-listen {self.grpc_listen.text} can be reached from other hosts and the stream is not "
                "encrypted: listen on 127.0.0.1, or add --insecure-plaintext if only agents can reach it"
            )
        return self


def load(model: type[Model], given: Mapping[str, Any]) -> Model:
    """Settings from flags (`given`, by field name), the environment and the defaults; raises SettingsError."""
    mistakes = _unknown_variables(model)
    try:
        settings = model(**given)
    except ValidationError as error:
        mistakes += [_mistake(problem) for problem in error.errors()]
    if mistakes:
        raise SettingsError(mistakes)
    return settings


def flag(field: str) -> str:
    """The flag of a field."""
    return "--" + field.replace("_", "-")


def nearest(name: str, known: Sequence[str]) -> str:
    """A hint at the known name that is nearest to an unknown one; empty where nothing is near."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f": did you mean {near[0]}?" if near else ""


def _unknown_variables(model: type[BaseSettings]) -> list[str]:
    known = [field.upper() for field in model.model_fields]
    ours = sorted(name.removeprefix(ENV_PREFIX) for name in os.environ if name.startswith(ENV_PREFIX))
    mistakes = []
    for name in ours:
        near = difflib.get_close_matches(name, known, n=1, cutoff=_NEARLY)
        if near and name not in known:
            mistakes.append(f"unknown variable {ENV_PREFIX}{name}: did you mean {ENV_PREFIX}{near[0]}?")
    return mistakes


def _mistake(problem: Mapping[str, object]) -> str:
    """One of pydantic's problems in the words of whoever typed the flag."""
    message = str(problem["msg"]).removeprefix("Value error, ")
    location = problem["loc"]
    if not isinstance(location, tuple) or not location:
        return message
    field = str(location[0])
    got = "" if field in _SECRET else f" (got {problem['input']!r})"
    return f"{flag(field)}: {message}{got}"
