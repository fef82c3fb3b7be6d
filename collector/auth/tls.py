"""The collector's own certificate, and the authority of the agents': read again at every new connection.

So certificates are rotated by replacing the files. Files that do not fit each other (one of them is new, the other not
yet) leave what was used before in place, and a line in the log.
"""

import logging
import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from gputally.proto.certificate import Validity, validity

_LOG = logging.getLogger(__name__)


class TlsError(OSError):
    """Files that cannot be used; the message says which."""


@dataclass(frozen=True, slots=True)
class _Material:
    """What the files hold, as PEM. `clients` is empty where no client needs a certificate."""

    certificate: bytes
    key: bytes
    clients: bytes

    def __repr__(self) -> str:
        return "_Material(...)"  # never a key


class ServerTls:
    """TLS of one server, gRPC or HTTP. `clients_file`: the authority whose certificates clients must show."""

    def __init__(self, certificate_file: Path, key_file: Path, clients_file: Path | None = None) -> None:
        """Reads the files; raises TlsError."""
        self._certificate_file = certificate_file
        self._key_file = key_file
        self._clients_file = clients_file
        self._material = self._load()
        self._problem = ""

    @property
    def validity(self) -> Validity | None:
        """From when until when the certificate is good that the next client is shown; None where that cannot be read.

        It may be asked from any thread, and changes nothing.
        """
        try:
            shown = self._load()
        except TlsError:
            shown = self._material
        return validity(shown.certificate)

    def grpc_credentials(self) -> grpc.ServerCredentials:
        """For a gRPC server; the files are looked at before each handshake."""
        return grpc.dynamic_ssl_server_credentials(
            _configuration(self._material),
            self._fetch,  # type: ignore[arg-type]  # None is allowed; the stubs forget it
            require_client_authentication=self._clients_file is not None,
        )

    def http_context(self) -> ssl.SSLContext:
        """For an HTTP server; the files are looked at before each handshake."""
        context = self._context()

        def renew(connection: ssl.SSLSocket | ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
            nonlocal context
            if self._changed():
                context = self._context()
            connection.context = context

        context.sni_callback = renew
        return context

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """None: go on with what is served. On a thread of gRPC's."""
        return _configuration(self._material) if self._changed() else None

    def _changed(self) -> bool:
        """Take what is new in the files; whether there was anything."""
        try:
            found = self._load()
        except TlsError as error:
            if str(error) != self._problem:
                _LOG.warning("keeping the certificate of before: %s", error)
            self._problem = str(error)
            return False
        self._problem = ""
        changed, self._material = found != self._material, found
        if changed:
            _LOG.info("took a new certificate from %s", self._certificate_file)
        return changed

    def _load(self) -> _Material:
        """What the files hold, once it is known to fit; raises TlsError."""
        found = self._read()
        self._context()
        if found != self._read():
            raise TlsError(f"{self._certificate_file} and what belongs to it are being replaced")
        return found

    def _read(self) -> _Material:
        clients = self._clients_file
        return _Material(_bytes(self._certificate_file), _bytes(self._key_file), _bytes(clients) if clients else b"")

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(self._certificate_file, self._key_file, _no_passphrase)
        except (OSError, ValueError) as error:
            raise TlsError(f"{self._certificate_file} and {self._key_file} cannot be used: {_reason(error)}") from error
        try:
            if self._clients_file:
                context.load_verify_locations(self._clients_file)
        except OSError as error:
            raise TlsError(f"{self._clients_file} holds no certificates: {_reason(error)}") from error
        return context


def _configuration(material: _Material) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(material.key, material.certificate)], material.clients or None)


def _no_passphrase() -> str:
    """Nobody is there to type one."""
    raise ValueError("the key is encrypted")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TlsError(f"cannot read {path}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    return (error.strerror if isinstance(error, OSError) else "") or str(error)
