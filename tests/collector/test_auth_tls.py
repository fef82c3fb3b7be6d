"""TLS of the collector: rotated by replacing files, and never broken by files that do not fit each other."""

import asyncio
import ssl
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from tests.certificates import Authority, replace_file

from gputally.collector.auth.tls import ServerTls, TlsError


def files(folder: Path, authority: Authority, name: str = "localhost") -> ServerTls:
    return ServerTls(*authority.issue(dns=[name]).write(folder, "tls"))


def shown_by(tls: ServerTls, authority: Authority, between: Callable[[], object]) -> list[bytes]:
    """The certificates that an HTTP server of ours shows to two clients, one before and one after something."""
    trusting = ssl.create_default_context(cadata=authority.pem.decode())

    async def show(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def play() -> list[bytes]:
        shown = []
        server = await asyncio.start_server(show, "127.0.0.1", 0, ssl=tls.http_context())
        port = server.sockets[0].getsockname()[1]
        for _ in range(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting, server_hostname="localhost")
            shown.append(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
            await reader.read()
            writer.close()
            between()
        server.close()
        return shown

    return asyncio.run(play())


def test_a_new_certificate_is_shown_to_the_next_client(tmp_path: Path) -> None:
    authority = Authority()
    tls = files(tmp_path, authority)
    renewed = authority.issue(dns=["localhost"])
    before, after = shown_by(tls, authority, lambda: renewed.write(tmp_path, "tls"))
    assert before != after
    assert ssl.PEM_cert_to_DER_cert(renewed.certificate.decode()) == after


@pytest.mark.parametrize("break_it", ["other key", "no key", "gone"])
def test_files_that_do_not_fit_change_nothing_and_are_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, break_it: str
) -> None:
    """The certificate is replaced a moment before its key: clients of that moment are served as before."""
    authority = Authority()
    tls = files(tmp_path, authority)

    def replace_one() -> None:
        if break_it == "gone":
            (tmp_path / "tls.key").unlink(missing_ok=True)
        else:
            content = authority.issue(dns=["localhost"]).key if break_it == "other key" else b"no key"
            replace_file(tmp_path / "tls.key", content)

    before, after = shown_by(tls, authority, replace_one)
    assert before == after
    assert caplog.text.count("keeping the certificate of before") == 1
    assert "PRIVATE" not in caplog.text


def test_files_that_cannot_be_used_end_the_start_with_one_line(tmp_path: Path) -> None:
    authority = Authority()
    certificate, key = authority.issue(dns=["localhost"]).write(tmp_path, "tls")
    _, other_key = authority.issue(dns=["localhost"]).write(tmp_path, "other")
    (tmp_path / "empty").write_bytes(b"")
    for arguments, words in (
        ((certificate, tmp_path / "gone", None), "cannot read .*gone"),
        ((certificate, other_key, None), "mismatch"),
        ((certificate, key, tmp_path / "gone"), "cannot read .*gone"),
        ((certificate, key, tmp_path / "empty"), "holds no certificates"),
        ((key, certificate, None), "cannot be used"),
    ):
        with pytest.raises(TlsError, match=words) as caught:
            ServerTls(*arguments)
        assert "\n" not in str(caught.value)


def test_a_key_with_a_passphrase_is_refused_instead_of_asked_for(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    pair = Authority().issue(dns=["localhost"])
    certificate, key = pair.write(tmp_path, "tls")
    loaded = serialization.load_pem_private_key(pair.key, None)
    secret = serialization.BestAvailableEncryption(b"x")
    key.write_bytes(loaded.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, secret))
    with pytest.raises(TlsError, match="encrypted"):
        ServerTls(certificate, key)


def test_the_validity_is_that_of_the_certificate_that_the_next_client_is_shown(tmp_path: Path) -> None:
    """A renewed one is shown from the next handshake on, and one that does not fit its key never: told as renewed, it
    would end without a warning."""
    authority = Authority()
    pair, renewed, lone = (authority.issue(dns=["n"], ends_in=timedelta(days=days)) for days in (1, 9, 90))
    tls = ServerTls(*pair.write(tmp_path, "tls"))
    assert _days_left(tls) == 1
    renewed.write(tmp_path, "tls")
    assert _days_left(tls) == 9
    assert tls._fetch() is not None  # the next handshake of gRPC
    replace_file(tmp_path / "tls.crt", lone.certificate)
    assert _days_left(tls) == 9
    (tmp_path / "tls.crt").unlink()
    assert _days_left(tls) == 9


def test_to_ask_for_the_validity_takes_no_renewal_from_the_next_handshake(tmp_path: Path) -> None:
    authority = Authority()
    tls = files(tmp_path, authority)
    authority.issue(dns=["localhost"]).write(tmp_path, "tls")
    assert tls.validity
    assert tls._fetch() is not None


def _days_left(tls: ServerTls) -> int:
    assert tls.validity
    return round((tls.validity.ends_s - time.time()) / 86_400)
