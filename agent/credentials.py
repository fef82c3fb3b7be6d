"""What proves to the collector who we are, and to us who the collector is: files, read again at each connection.

The kubelet and whoever issues certificates replace them while the agent runs. A stream that began with files which
have changed since is begun anew, so that it never outlives what it was let in with.
"""

from dataclasses import dataclass
from pathlib import Path

import grpc.aio

Options = tuple[tuple[str, int], ...]
Metadata = tuple[tuple[str, str], ...]


class CredentialsUnusable(Exception):
    """A file that cannot be read or holds nothing of use; the message is one line without what it holds."""


@dataclass(frozen=True, slots=True)
class CredentialFiles:
    """Where they are; None: not used. Without `ca_file` the connection is plain text."""

    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    token_file: Path | None = None

    def read(self) -> "Credentials":
        """What they hold now; raises CredentialsUnusable."""
        return Credentials(
            _content(self.ca_file),
            _content(self.certificate_file),
            _content(self.key_file),
            _token(self.token_file),
        )


PLAIN_TEXT = CredentialFiles()


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """What the files held at one moment; equal where nothing changed. Its text shows nothing of it."""

    authority: bytes | None
    certificate: bytes | None
    key: bytes | None
    token: str

    def channel(self, target: str, options: Options) -> grpc.aio.Channel:
        """A channel to the collector at `target` (HOST:PORT)."""
        if self.authority is None:
            return grpc.aio.insecure_channel(target, options=options)
        tls = grpc.ssl_channel_credentials(self.authority, self.key, self.certificate)
        return grpc.aio.secure_channel(target, tls, options=options)

    def metadata(self) -> Metadata:
        """What goes along with the call."""
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()


def _content(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CredentialsUnusable(f"cannot read {path}: {error.strerror or error}") from error
    if b"-----BEGIN " not in content:
        raise CredentialsUnusable(f"{path} holds no PEM")
    return content


def _token(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        token = path.read_text("latin-1").strip()  # takes every byte: what is wrong is said below, without showing it
    except OSError as error:
        raise CredentialsUnusable(f"cannot read {path}: {error.strerror or error}") from error
    if not token or not token.isascii() or not token.isprintable():
        raise CredentialsUnusable(f"{path} holds no token")
    return token
