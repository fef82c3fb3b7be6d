"""Whether the collector lets this agent in, and as whom. A stream is opened and ended; no window is sent.

At the end of such a stream the collector tells its clock, and the node that it knows the sender as. Collectors before
0.1.0 tell neither.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import grpc.aio

from gputally.agent.credentials import CredentialFiles, CredentialsUnusable
from gputally.agent.doctor.finding import Finding, fail, ok
from gputally.proto import telemetry_pb2 as pb

NAME = "collector-identity"
_TIMEOUT_S = 10.0
_METHOD = f"/{pb.DESCRIPTOR.services_by_name['Telemetry'].full_name}/Stream"
_OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0), ("grpc.enable_http_proxy", 0))
_PROOF = (
    "see --collector-token-file (a projected token with the collector's audience) or --tls-cert-file, "
    "and --agent-auth and --agent-service-accounts of the collector"
)


@dataclass(frozen=True, slots=True)
class Reply:
    """How the stream ended: gRPC's `code` and words. `skew_us`: how far our clock is behind; None: not told.

    `known_as`: (cluster, node) that the collector takes us for; None: it does not ask, or does not tell.
    """

    code: str
    words: str = ""
    skew_us: int | None = None
    known_as: tuple[str, str] | None = None


def knock(target: str, files: CredentialFiles, wall_us: Callable[[], int]) -> Reply:
    """Open a stream with our credentials, and end it."""
    return asyncio.run(_knock(target, files, wall_us))


async def _knock(target: str, files: CredentialFiles, wall_us: Callable[[], int]) -> Reply:
    try:
        credentials = files.read()
    except CredentialsUnusable as error:
        return Reply("", str(error))
    async with credentials.channel(target, _OPTIONS) as channel:
        method = channel.stream_stream(_METHOD, None, pb.Ack.FromString)
        began_us = wall_us()
        call = method(None, timeout=_TIMEOUT_S, metadata=credentials.metadata())
        try:
            await call.done_writing()
            async for _ in call:
                pass  # nothing was sent, so nothing is acknowledged
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass  # the call is over: its code says why
        code, words = await call.code(), await call.details()
        told = dict(await call.trailing_metadata() or ())
    return _reply(code.name, words or "", told, began_us, wall_us())


def skew(collector_us: int, began_us: int, ended_us: int) -> int:
    """How far our clock is behind at least: somewhere between our two instants the collector read its own.

    An answer that takes seconds, as one does that is reviewed by a slow API server, is no fault of a clock.
    """
    return max(0, collector_us - ended_us) + min(0, collector_us - began_us)


def _reply(code: str, words: str, told: Mapping[str, str | bytes], began_us: int, ended_us: int) -> Reply:
    clock = told.get("gputally-now-us")
    skew_us = skew(int(clock), began_us, ended_us) if isinstance(clock, str) and clock.isdecimal() else None
    names = [told.get(f"gputally-{name}-bin") for name in ("cluster", "node")]
    cluster, node = (name.decode("utf-8", "replace") if isinstance(name, bytes) else "" for name in names)
    return Reply(code, words, skew_us, (cluster, node) if node else None)


def judge(reply: Reply, cluster: str, node: str) -> Iterator[Finding]:
    """Whether what this agent sends will be booked for its node."""
    if not reply.code:
        yield fail(NAME, f"our credentials cannot be used: {reply.words}", _PROOF)
    elif reply.code in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
        yield fail(NAME, f"refused: {reply.words}", _PROOF)
    elif reply.code == "UNIMPLEMENTED":
        yield fail(NAME, "something answers there that is no collector", "--collector is its gRPC port (9856)")
    elif reply.code != "OK":
        yield fail(NAME, f"{reply.code}: {reply.words}", "see the collector's log and its /readyz")
    elif reply.known_as and reply.known_as != (cluster, node):
        name = "/".join(reply.known_as)
        yield fail(
            NAME,
            f"the collector knows us as {name}, and we count for {cluster}/{node}: every window will be refused",
            "make --cluster and --node what the token or the certificate says, and --cluster of the collector too",
        )
    elif reply.known_as:
        yield ok(NAME, f"let in as {cluster}/{node}")
    elif reply.skew_us is not None:
        yield ok(NAME, "let in; the collector asks nobody who they are (--agent-auth none)")
    else:
        yield ok(NAME, "let in; the collector is too old to say as whom")
