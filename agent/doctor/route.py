"""The way to the collector, step by step: its name, the connection, TLS. gRPC alone would say less of each."""

import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from gputally.agent.credentials import CredentialFiles
from gputally.agent.doctor.finding import Finding, fail, ok, warn
from gputally.agent.quantity import Address

DNS, TCP, TLS = "collector-dns", "collector-tcp", "collector-tls"
_TIMEOUT_S = 5.0
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])  # RFC 9113: empty SETTINGS
_WARNED_S = 30 * 86_400  # before a certificate's end; of a short-lived one, its last tenth
_HUNG_UP = "it hangs up after the handshake, as one does that wants another certificate of ours, or any"
_PEM = "give --collector-ca-file (and --tls-cert-file, --tls-key-file) the PEM files as they were issued"


@dataclass(frozen=True, slots=True)
class Route:
    """How far we came: `addresses` of the name, then a connection, then TLS; the first that failed has its error."""

    addresses: tuple[str, ...] = ()
    dns_error: str = ""
    tcp_error: str = ""
    tls: str = ""  # the version that was agreed on; empty: plain text
    tls_error: str = ""
    left_s: int = 0  # how long the collector's certificate is still good, of
    life_s: int = 0  # the whole time that it was made for
    distrust: str = ""  # why the certificate is not trusted
    files_error: str = ""

    @property
    def is_open(self) -> bool:
        """Whether nothing is in the way."""
        return not (self.dns_error or self.tcp_error or self.tls_error or self.distrust or self.files_error)

    @property
    def is_ending(self) -> bool:
        """Whether the collector's certificate should have been renewed by now."""
        return self.left_s < min(_WARNED_S, self.life_s // 10)


def take(collector: Address, files: CredentialFiles, wall_us: Callable[[], int]) -> Route:
    """Go the way once; `wall_us` tells how long the certificate is still good."""
    try:
        found = socket.getaddrinfo(collector.host, collector.port, type=socket.SOCK_STREAM)
    except OSError as error:
        return Route(dns_error=error.strerror or str(error))
    addresses = tuple(dict.fromkeys(str(each[4][0]) for each in found))
    try:
        connection = socket.create_connection((collector.host, collector.port), _TIMEOUT_S)
    except OSError as error:
        return Route(addresses, tcp_error=error.strerror or str(error))
    with connection:
        return _secured(connection, collector.host, Route(addresses), files, wall_us() // 1_000_000)


def _secured(connection: socket.socket, host: str, route: Route, files: CredentialFiles, now_s: int) -> Route:
    if files.ca_file is None:
        return route
    try:
        context = _context(files.ca_file, files.certificate_file, files.key_file)
    except OSError as error:  # ssl's errors are some of these
        return replace(route, files_error=_reason(error))
    try:
        with context.wrap_socket(connection, server_hostname=host) as secured:
            if not _greet(secured):
                return replace(route, tls_error=_HUNG_UP)
            first_s, last_s = _period_s(secured)
            return replace(route, tls=secured.version() or "TLS", left_s=last_s - now_s, life_s=last_s - first_s)
    except ssl.SSLCertVerificationError as error:
        return replace(route, distrust=error.verify_message)
    except OSError as error:
        return replace(route, tls_error=_reason(error))


def _period_s(secured: ssl.SSLSocket) -> tuple[int, int]:
    """From when until when the collector's certificate is good, seconds since the epoch."""
    told = secured.getpeercert() or {}
    return ssl.cert_time_to_seconds(str(told["notBefore"])), ssl.cert_time_to_seconds(str(told["notAfter"]))


def _greet(secured: ssl.SSLSocket) -> bool:
    """Say what HTTP/2 begins with; whether we are heard. A server looks at our certificate after TLS 1.3's handshake,
    and gRPC's hangs up without a word where it does not take it."""
    secured.sendall(_PREFACE)
    try:
        return bool(secured.recv(1))
    except TimeoutError:
        return True  # it waits for more, and that is as good


def _context(ca_file: Path, certificate_file: Path | None, key_file: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(ca_file))
    context.set_alpn_protocols(["h2"])
    if certificate_file:
        context.load_cert_chain(certificate_file, key_file)
    return context


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).replace("_", " ").lower()
    return error.strerror or str(error)


def _time(seconds: int) -> str:
    return f"{seconds // 86_400} days" if seconds >= 2 * 86_400 else f"{seconds // 3600} h"


def judge(route: Route, collector: Address) -> Iterator[Finding]:
    """A line for each step that was gone."""
    if route.dns_error:
        yield fail(
            DNS,
            f"{collector.host} has no address: {route.dns_error}",
            "see --collector, and the cluster's DNS (on the host's network: dnsPolicy ClusterFirstWithHostNet)",
        )
        return
    yield ok(DNS, f"{collector.host} is {', '.join(route.addresses)}")
    if route.tcp_error:
        yield fail(
            TCP,
            f"no connection to {collector}: {route.tcp_error}",
            "see whether the collector runs, its Service's endpoints, and network policies for its gRPC port",
        )
        return
    yield ok(TCP, f"{collector} takes connections")
    yield _tls(route, collector)


def _tls(route: Route, collector: Address) -> Finding:
    if route.files_error:
        return fail(TLS, f"our files cannot be used: {route.files_error}", _PEM)
    if route.distrust:
        return fail(
            TLS,
            f"the collector's certificate is not trusted: {route.distrust}",
            f"--collector-ca-file must be what signed it, and it must name {collector.host}",
        )
    if route.tls_error:
        return fail(
            TLS,
            f"no TLS with {collector}: {route.tls_error}",
            "see whether this is its gRPC port, its --tls-cert-file and --agent-ca-file, and our --tls-cert-file",
        )
    if route.tls and route.is_ending:
        return warn(
            TLS,
            f"{route.tls}, and the collector's certificate is good for {_time(route.left_s)} more",
            "renew it (docs/kubernetes.md): once it has ended, no window arrives",
        )
    if route.tls:
        return ok(TLS, f"{route.tls}, and the certificate is trusted")
    return ok(TLS, "plain text, as the settings allow")
