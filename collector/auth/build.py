"""The parts of the two doors, as the settings ask for them. Called by main, within the event loop they will live in."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import partial

from sqlalchemy import Engine, select

from gputally.collector.auth.access_review import AccessReviews
from gputally.collector.auth.agent import Agents, AnyAgent
from gputally.collector.auth.certificate import CertifiedAgents
from gputally.collector.auth.kube_api import KubeApi
from gputally.collector.auth.kube_readers import KubeReaders
from gputally.collector.auth.reader import Anybody, Readers
from gputally.collector.auth.service_account import TokenAgents
from gputally.collector.auth.static_tokens import StaticTokens
from gputally.collector.auth.tls import ServerTls
from gputally.collector.auth.token_review import TokenReviews
from gputally.collector.auth.vouched import VouchedTokens
from gputally.collector.cluster.place import kube_place
from gputally.collector.database import schema
from gputally.collector.doors import AgentAuth, ReaderAuth
from gputally.collector.settings import CollectorSettings


def agents_of(settings: CollectorSettings) -> Agents:
    """Who may send windows."""
    if settings.agent_auth is AgentAuth.MTLS:
        return CertifiedAgents(settings.cluster)
    if settings.agent_auth is AgentAuth.TOKEN:
        reviews = TokenReviews(kube_api(settings, os.environ), settings.agent_audience, time.monotonic)
        vouched = VouchedTokens(time.monotonic, time.time)
        return TokenAgents(reviews, vouched, settings.agent_service_accounts, settings.cluster or "")
    return AnyAgent()


def readers_of(settings: CollectorSettings, engine: Engine) -> Readers:
    """Who may read the ledger. Raises OSError or TokenFileError where a file cannot be used."""
    if settings.reader_auth is ReaderAuth.TOKENS and settings.reader_tokens_file:
        return StaticTokens(settings.reader_tokens_file)
    if settings.reader_auth is ReaderAuth.KUBERNETES:
        api = kube_api(settings, os.environ)
        reviews = TokenReviews(api, settings.reader_audience, time.monotonic)
        return KubeReaders(reviews, AccessReviews(api), settings.cluster or "", namespaces_of(engine), time.monotonic)
    return Anybody()


def grpc_tls(settings: CollectorSettings) -> ServerTls | None:
    """TLS of the agents' door; None: plain text. Raises OSError where a file cannot be used."""
    if not settings.tls_cert_file or not settings.tls_key_file:
        return None
    return ServerTls(settings.tls_cert_file, settings.tls_key_file, settings.agent_ca_file)


def http_tls(settings: CollectorSettings) -> ServerTls | None:
    """TLS of the readers' door; None: plain text. Raises OSError where a file cannot be used."""
    if not settings.tls_cert_file or not settings.tls_key_file:
        return None
    return ServerTls(settings.tls_cert_file, settings.tls_key_file)


def namespaces_of(engine: Engine) -> Callable[[], Awaitable[Collection[str]]]:
    """Asks the ledger, in a thread, for the namespaces that ever held a GPU."""
    return partial(asyncio.to_thread, _namespaces, engine)


def _namespaces(engine: Engine) -> Collection[str]:
    owner = schema.owner.c
    with engine.connect() as connection:
        return connection.execute(select(owner.namespace).where(owner.kind == "pod").distinct()).scalars().all()


def kube_api(settings: CollectorSettings, environ: Mapping[str, str]) -> KubeApi:
    """The API that reviews tokens. Raises OSError where there is none."""
    place = kube_place(settings, environ)
    if place is None:
        raise OSError("tokens are to be reviewed and this is no pod: give --kube-api URL")
    return KubeApi(place.url, place.token_file, place.ca_file)
