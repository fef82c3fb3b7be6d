"""Settings of the collector and its commands: flags, then the environment (`GPUTALLY_…`), then the defaults here.

A flag is the field's name with dashes, its variable is `GPUTALLY_` and the name in capitals. All mistakes are found
before any is reported. The prefix is shared with the agent, and Kubernetes adds variables of its own to it for a
service named `gputally…`, so a variable is refused only where it is nearly one of ours; a flag has no such excuse.
"""

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from gputally.collector import doors
from gputally.collector.address import Address, parse_address
from gputally.collector.database.engine import parse_url
from gputally.collector.doors import AgentAuth, ReaderAuth
from gputally.collector.notify.options import Format, IdleAfter, PublicUrl, WebhookFile, WebhookFormat

ENV_PREFIX = "GPUTALLY_"
_SERVICE_ACCOUNT = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?/[a-z0-9]([-.a-z0-9]*[a-z0-9])?")
_NEARLY = 0.8  # difflib's ratio from which an unknown variable is taken for a misspelt one of ours
# What may hold a password, or be one by mistake: a mistake in it is not repeated.
_SECRET = ("database_url", "webhook_url_file")

Model = TypeVar("Model", bound=BaseSettings)


class SettingsError(ValueError):
    """Settings that cannot be used; `mistakes` names all of them, one sentence each."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__("; ".join(mistakes))
        self.mistakes = tuple(mistakes)


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
    text = text.strip()  # a Secret made from a file ends with the file's last newline, and no name of a database does
    parse_url(text)
    return text


def _zone_name(text: str) -> str:
    try:
        ZoneInfo(text)
    # OSError: the name is a folder of the zone files, such as "Europe".
    except (ValueError, LookupError, OSError) as error:
        raise ValueError("expected an IANA time zone, such as UTC or Europe/Berlin") from error
    return text


def _service_accounts(given: object) -> object:
    if not isinstance(given, str):
        return given
    accounts = tuple(account.strip() for account in given.split(","))
    if not all(_SERVICE_ACCOUNT.fullmatch(account) for account in accounts):
        raise ValueError("expected NAMESPACE/NAME, or several with commas between")
    return accounts


def _address_or_none(given: object) -> Address | None:
    return None if given is None else parse_address(given)


# NoDecode: a variable holds HOST:PORT, not JSON.
ListenAddress = Annotated[Address, NoDecode, BeforeValidator(parse_address)]
ServiceAccounts = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_service_accounts)]


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
            "HOST:PORT for the agents' streams. Default: 127.0.0.1:9856, this machine only; for other hosts say who "
            "may send (--agent-auth)."
        ),
    )
    http_listen: ListenAddress = Field(
        default=Address("127.0.0.1", 9857),
        description=(
            "HOST:PORT for the pages and the HTTP API. Default: 127.0.0.1:9857, this machine only; for other hosts say "
            "who may read (--reader-auth)."
        ),
    )
    metrics_listen: Annotated[Address | None, NoDecode, BeforeValidator(_address_or_none)] = Field(
        default=None,
        description=(
            "HOST:PORT for /metrics, /healthz and /readyz, open to whoever reaches it: Prometheus and the kubelet. "
            "Default: on --http-listen, where /metrics is for readers who may see all."
        ),
    )
    insecure_plaintext: bool = Field(
        default=False,
        description=(
            "true: take unencrypted streams from other hosts, on a network where only agents can reach the port; "
            "without --agent-auth any node is believed. Default: false."
        ),
    )
    insecure_http: bool = Field(
        default=False,
        description=(
            "true: answer other hosts on --http-listen without encryption, for example behind a proxy that ends TLS; "
            "without --reader-auth anybody reads and changes all. Default: false."
        ),
    )
    tls_cert_file: Path | None = Field(
        default=None,
        description=(
            "FILE (PEM) with the collector's certificate and its intermediates, for agents and readers; read again at "
            "each connection. Default: none, plain text."
        ),
    )
    tls_key_file: Path | None = Field(
        default=None, description="FILE (PEM) with the key of --tls-cert-file, without a passphrase. Default: none."
    )
    cluster: str | None = Field(
        default=None,
        min_length=1,
        max_length=253,
        description=(
            "NAME of the one cluster whose agents may write here, and whose Kubernetes API is --kube-api. Needed for "
            "tokens; with certificates that name their cluster it may be left away. Default: none."
        ),
    )
    agent_auth: AgentAuth = Field(
        default=AgentAuth.NONE,
        description=(
            "How agents prove who they are: mtls (a certificate that names the node), token (a service account's "
            "token, projected into the agent's pod), or none. Default: none, for agents on this machine."
        ),
    )
    agent_ca_file: Path | None = Field(
        default=None,
        description=(
            "FILE (PEM) with the authority of the agents' certificates: whatever it signs may write for the node that "
            "it names, so let it sign nothing else. Read again at each connection. Default: none."
        ),
    )
    agent_service_accounts: ServiceAccounts = Field(
        default=(),
        description="NAMESPACE/NAME of the agents' service account, or several with commas between. Default: none.",
    )
    agent_audience: str = Field(
        default="gputally-collector",
        min_length=1,
        description="Audience that agents' tokens must be made for. Default: gputally-collector.",
    )
    reader_auth: ReaderAuth = Field(
        default=ReaderAuth.NONE,
        description=(
            "How readers prove who they are: tokens (--reader-tokens-file), kubernetes (a token of --kube-api; who may "
            "list a namespace's pods sees its time), or none. Default: none, for readers on this machine."
        ),
    )
    reader_tokens_file: Path | None = Field(
        default=None,
        description=(
            "FILE (TOML) with the hashes of the readers' tokens, their roles and namespaces; read again when it "
            "changes. Default: none."
        ),
    )
    reader_audience: str = Field(
        default="gputally",
        min_length=1,
        description="Audience that readers' Kubernetes tokens must be made for. Default: gputally.",
    )
    kube_api: str | None = Field(
        default=None,
        description=(
            "URL of the Kubernetes API of --cluster: labels of its namespaces (teams) and nodes (prices), when nodes "
            "come and go, whose work pods are (where the collector may read pods), reviews of tokens; or in-cluster, "
            "or off. Default: in-cluster in a pod of a --cluster, else off."
        ),
    )
    kube_token_file: Path | None = Field(
        default=None,
        description=(
            "FILE with the collector's own token for --kube-api; read again for each request. Default: in-cluster the "
            "pod's own, else none."
        ),
    )
    kube_ca_file: Path | None = Field(
        default=None,
        description=(
            "FILE (PEM) that proves who answers for --kube-api; read again for each request. Default: in-cluster the "
            "pod's own, else the system's."
        ),
    )
    workloads: bool = Field(
        default=True,
        description=(
            "false: follow no pods and no queues in --kube-api, so that nobody knows whose work they are. Default: "
            "true, where the collector may list and watch pods."
        ),
    )
    workload_rules_file: Path | None = Field(
        default=None,
        description=(
            "FILE (YAML) with rules of your own by which pods are told to be somebody's workload, beside those that "
            "ship with the collector. Default: none."
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
    absent_after_hours: int = Field(
        default=24,
        ge=1,
        description=(
            "Hours of silence after which a device is absent, where no Kubernetes API tells whether its node is there; "
            "until then its time is booked as unobserved. Default: 24."
        ),
    )
    posting_retention_months: int = Field(
        default=25,
        ge=1,
        description=(
            "Months, before the one that runs, whose postings are kept; statements are kept for ever. Default: 25, so "
            "that a month can be compared with the same month two years ago."
        ),
    )
    quarantine_days: int = Field(
        default=90, ge=1, description="Days that refused windows are kept to be looked at. Default: 90."
    )
    quarantine_mib: int = Field(
        default=256,
        ge=1,
        description="MiB of refused windows that are kept; the oldest go first. Default: 256, some 100 000 windows.",
    )
    webhook_url_file: WebhookFile = None
    webhook_format: WebhookFormat = Format.JSON
    webhook_idle_after_minutes: IdleAfter = 30
    public_url: PublicUrl = None
    writer_queue: int = Field(
        default=512,
        ge=1,
        description=(
            "Windows that may wait for the database before streams are no longer read. Default: 512, a few seconds "
            "of a large fleet, so that memory stays small and agents hold what is not written."
        ),
    )

    @model_validator(mode="after")
    def _fits_together(self) -> "CollectorSettings":
        mistakes = list(doors.contradictions(self))
        if mistakes:
            raise ValueError("\n".join(mistakes))
        return self


def load(model: type[Model], given: Mapping[str, Any]) -> Model:
    """Settings from flags (`given`, by field name), the environment and the defaults; raises SettingsError."""
    mistakes = _unknown_variables(model)
    try:
        settings = model(**given)
    except ValidationError as error:
        mistakes += [line for problem in error.errors() for line in _mistake(problem).splitlines()]
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
