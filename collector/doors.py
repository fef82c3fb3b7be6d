"""Who is let in where: what the settings of the two doors, for agents and for readers, may be together."""

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from gputally.collector.address import Address
from gputally.collector.cluster.place import IN_CLUSTER, OFF


class AgentAuth(StrEnum):
    """How agents prove who they are."""

    NONE = "none"
    MTLS = "mtls"
    TOKEN = "token"  # noqa: S105 - a word, not a secret


class ReaderAuth(StrEnum):
    """How readers prove who they are."""

    NONE = "none"
    TOKENS = "tokens"
    KUBERNETES = "kubernetes"


class Doors(Protocol):
    """The settings that have to fit together; `settings.CollectorSettings` has them, and says what they mean."""

    @property
    def grpc_listen(self) -> Address: ...
    @property
    def http_listen(self) -> Address: ...
    @property
    def insecure_plaintext(self) -> bool: ...
    @property
    def insecure_http(self) -> bool: ...
    @property
    def tls_cert_file(self) -> Path | None: ...
    @property
    def tls_key_file(self) -> Path | None: ...
    @property
    def cluster(self) -> str | None: ...
    @property
    def agent_auth(self) -> AgentAuth: ...
    @property
    def agent_ca_file(self) -> Path | None: ...
    @property
    def agent_service_accounts(self) -> tuple[str, ...]: ...
    @property
    def reader_auth(self) -> ReaderAuth: ...
    @property
    def reader_tokens_file(self) -> Path | None: ...
    @property
    def kube_api(self) -> str | None: ...
    @property
    def kube_token_file(self) -> Path | None: ...
    @property
    def kube_ca_file(self) -> Path | None: ...


def reviews_tokens(settings: Doors) -> bool:
    """Whether the Kubernetes API is asked about anybody."""
    return settings.agent_auth is AgentAuth.TOKEN or settings.reader_auth is ReaderAuth.KUBERNETES


def contradictions(settings: Doors) -> Iterator[str]:
    """What each setting allows, and all together do not."""
    yield from _missing_files(settings)
    yield from _tls_mistakes(settings)
    yield from _agent_mistakes(settings)
    yield from _reader_mistakes(settings)
    yield from _kube_mistakes(settings)


def _missing_files(settings: Doors) -> Iterator[str]:
    names = ("tls_cert_file", "tls_key_file", "agent_ca_file", "reader_tokens_file", "kube_token_file", "kube_ca_file")
    for name in names:
        path: Path | None = getattr(settings, name)
        problem = _file_problem(path) if path is not None else ""
        if problem:
            yield f"--{name.replace('_', '-')}: {problem}"


def _file_problem(path: Path) -> str:
    try:
        return "" if path.is_file() else f"there is no file {path}"
    except OSError as error:  # such as a folder that this user may not enter
        return f"{path} cannot be looked at: {error.strerror}"


def _tls_mistakes(settings: Doors) -> Iterator[str]:
    if (settings.tls_cert_file is None) != (settings.tls_key_file is None):
        yield "--tls-cert-file and --tls-key-file go together"


def _agent_mistakes(settings: Doors) -> Iterator[str]:
    how, listen = settings.agent_auth, settings.grpc_listen
    encrypted = settings.tls_cert_file is not None
    if not listen.loopback and not settings.insecure_plaintext:
        if how is AgentAuth.NONE:
            yield (
                f"--grpc-listen {listen.text} can be reached from other hosts and nobody says who they are: listen on "
                "127.0.0.1, set --agent-auth, or add --insecure-plaintext if only agents can reach it"
            )
        elif not encrypted:
            yield (
                f"--grpc-listen {listen.text} can be reached from other hosts and is not encrypted: give "
                "--tls-cert-file and --tls-key-file, or add --insecure-plaintext if something else encrypts"
            )
    if how is AgentAuth.MTLS and not (encrypted and settings.agent_ca_file):
        yield "--agent-auth mtls needs --tls-cert-file, --tls-key-file and --agent-ca-file"
    if how is not AgentAuth.MTLS and settings.agent_ca_file:
        yield "--agent-ca-file is for --agent-auth mtls"
    if how is AgentAuth.TOKEN and not settings.agent_service_accounts:
        yield "--agent-auth token needs --agent-service-accounts NAMESPACE/NAME: whose tokens are agents' tokens"
    if how is not AgentAuth.TOKEN and settings.agent_service_accounts:
        yield "--agent-service-accounts is for --agent-auth token"


def _reader_mistakes(settings: Doors) -> Iterator[str]:
    how, listen = settings.reader_auth, settings.http_listen
    if not listen.loopback and not settings.insecure_http:
        if how is ReaderAuth.NONE:
            yield (
                f"--http-listen {listen.text} can be reached from other hosts and nobody says who they are: listen on "
                "127.0.0.1, set --reader-auth, or add --insecure-http if whoever reaches it may read and change all"
            )
        elif settings.tls_cert_file is None:
            yield (
                f"--http-listen {listen.text} can be reached from other hosts and is not encrypted: give "
                "--tls-cert-file and --tls-key-file, or add --insecure-http if something else encrypts"
            )
    if (how is ReaderAuth.TOKENS) != (settings.reader_tokens_file is not None):
        yield "--reader-auth tokens and --reader-tokens-file go together"


def _kube_mistakes(settings: Doors) -> Iterator[str]:
    if reviews_tokens(settings):
        if settings.cluster is None:
            yield "--cluster NAME is missing: tokens do not say which cluster they are of"
        if settings.kube_api == OFF:
            yield "--kube-api off: the Kubernetes API is to review tokens"
    if settings.kube_api in (None, OFF, IN_CLUSTER):
        return
    if settings.cluster is None:
        yield "--cluster NAME is missing: the cluster of --kube-api, as its agents name it"
    url = urlsplit(settings.kube_api)
    if url.scheme not in ("http", "https") or not url.hostname:
        yield f"--kube-api: {settings.kube_api!r} is neither a URL (https://HOST:PORT) nor in-cluster nor off"
    elif url.scheme == "http" and not Address(url.hostname, 0).loopback:
        yield f"--kube-api {settings.kube_api}: tokens must not travel in plain text; use https"
