"""The reader of the Kubernetes API: what it sends, what a refusal becomes, how a stream ends."""

import json
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kube_api import FakeKubeApi, Trouble, pod

from gputally.agent.kube.api import (
    MAX_RETRY_AFTER_S,
    Busy,
    Gone,
    KubeApi,
    KubeApiError,
    Refused,
    Unreachable,
    error_of,
    in_cluster_url,
)

ERRORS = Path(__file__).parent.parent / "data" / "kubernetes" / "api" / "errors"
PODS = "/api/v1/pods"
WATCH = {"watch": "1", "resourceVersion": "1000", "timeoutSeconds": "100"}
LONG_S = 60.0  # far longer than anything here takes


@pytest.fixture
def server() -> Iterator[FakeKubeApi]:
    with FakeKubeApi() as running:
        yield running


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("first\n")
    return path


def test_the_token_is_read_again_for_every_connection(token_file: Path) -> None:
    """The kubelet rotates it."""
    with FakeKubeApi(token="first") as server:
        api = KubeApi(server.url, token_file=token_file)
        assert api.read(PODS, {}, LONG_S)["items"] == []
        server.token = "second"
        with pytest.raises(Refused, match=r"401.*--kube-token-file"):
            api.read(PODS, {}, LONG_S)
        token_file.write_text("second\n")
        assert api.read(PODS, {}, LONG_S)["items"] == []


def test_a_token_that_cannot_be_read_is_named(server: FakeKubeApi, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"cannot read .*/none \(--kube-token-file\): No such file"):
        KubeApi(server.url, token_file=tmp_path / "none").read(PODS, {}, LONG_S)


@pytest.mark.parametrize("content", [b"", b"\n", b"one\ntwo\n", b"caf\xe9"])
def test_a_file_that_holds_no_token_is_refused_and_not_shown(
    server: FakeKubeApi, token_file: Path, content: bytes
) -> None:
    """A header of two lines would be an error that shows the token in the log."""
    token_file.write_bytes(content)
    with pytest.raises(Refused, match=r"token \(--kube-token-file\) holds no token$"):
        KubeApi(server.url, token_file=token_file).read(PODS, {}, LONG_S)


def test_the_token_never_travels_in_clear_text(token_file: Path) -> None:
    """Only a loopback proxy may be spoken to without TLS."""
    with pytest.raises(ValueError, match="clear text"):
        KubeApi("http://api.example.com:6443", token_file=token_file)
    KubeApi("http://127.0.0.1:8001", token_file=token_file)
    KubeApi("http://api.example.com:6443")


@pytest.mark.parametrize("url", ["api.example.com", "ftp://x", "https://"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="not an http or https URL"):
        KubeApi(url)


def test_the_address_inside_a_cluster() -> None:
    assert in_cluster_url("10.96.0.1", "443") == "https://10.96.0.1:443"
    assert in_cluster_url("fd00::1", "443") == "https://[fd00::1]:443"


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("list-410-exact", Gone),
        ("list-410-continue", Gone),
        ("list-504-future", Busy),
        ("list-400-bad-field-selector", KubeApiError),
        ("list-pods-401-garbage", Refused),
        ("list-pods-403", Refused),
    ],
)
def test_recorded_refusals(server: FakeKubeApi, name: str, error: type[KubeApiError]) -> None:
    """Each becomes the error that says what to do, on one line, with the API server's own words."""
    recorded = json.loads((ERRORS / f"{name}.json").read_text())
    body = recorded.get("body") or recorded["response"]
    server.trouble = Trouble(recorded["http_status"], body["message"], recorded.get("retry_after") or "")
    with pytest.raises(KubeApiError) as caught:
        KubeApi(server.url).read(PODS, {}, LONG_S)
    assert type(caught.value) is error
    assert " ".join(body["message"].split()) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.retry_after_s == float(recorded.get("retry_after") or 0)


def test_a_missing_permission_is_named() -> None:
    text = str(error_of(403, 'User "x" cannot list resource "pods"'))
    assert 'cannot list resource "pods"' in text
    assert "ClusterRole with list and watch" in text


@pytest.mark.parametrize(("asked", "waits"), [("7", 7.0), ("", 0.0), ("Wed, 21 Oct 2026 07:28:00 GMT", 0.0)])
def test_retry_after_is_taken_over_in_seconds(server: FakeKubeApi, asked: str, waits: float) -> None:
    server.trouble = Trouble(429, "slow down", asked)
    with pytest.raises(Busy) as caught:
        KubeApi(server.url).read(PODS, {}, LONG_S)
    assert caught.value.retry_after_s == waits


def test_a_wish_to_wait_for_a_day_is_cut() -> None:
    assert error_of(503, "away", 86400).retry_after_s == MAX_RETRY_AFTER_S


def test_nobody_listens(server: FakeKubeApi) -> None:
    server.stop()
    with pytest.raises(Unreachable, match="cannot be reached: Connection refused"):
        KubeApi(server.url).read(PODS, {}, LONG_S)


def test_a_stream_gives_whole_lines_until_it_ends(server: FakeKubeApi) -> None:
    """An event that was cut short is not one."""
    lines = KubeApi(server.url).lines(PODS, WATCH, LONG_S)
    assert next(lines) == b""
    server.put(pod("ml", "train-0", "u1"))
    assert json.loads(next(lines))["type"] == "ADDED"
    server.cut(torn=b'{"type":"ADD')
    assert list(lines) == []


def test_a_silent_stream_is_given_up(server: FakeKubeApi) -> None:
    """A peer that is gone without a word must not hold the watch for ever."""
    lines = KubeApi(server.url).lines(PODS, WATCH, 1.0)  # in which the answer has to begin, too
    assert next(lines) == b""
    with pytest.raises(Unreachable, match="timed out"):
        next(lines)


def test_close_ends_the_request_under_way(server: FakeKubeApi) -> None:
    """Shutting down does not wait for the server's next word; afterwards nothing is asked any more."""
    api = KubeApi(server.url)
    lines = api.lines(PODS, WATCH, LONG_S)
    next(lines)
    rest: list[bytes] = []
    reader = threading.Thread(target=lambda: rest.extend(lines))
    reader.start()
    api.close()
    reader.join(LONG_S)
    assert not reader.is_alive()
    assert rest == []
    with pytest.raises(Unreachable, match="closed"):
        api.read(PODS, {}, LONG_S)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate for localhost, with its key in the same file."""
    openssl = shutil.which("openssl")
    if not openssl:
        pytest.skip("needs the openssl command: apt-get install openssl")
    path = tmp_path / "tls.pem"
    files = ["-keyout", str(path), "-out", str(tmp_path / "ca.crt")]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subprocess.run([openssl, "req", "-x509", "-days", "1", *key, *files, *names], check=True, capture_output=True)
    with path.open("a") as both:
        both.write((tmp_path / "ca.crt").read_text())
    return path


def test_tls_is_verified_against_the_given_ca(certificate: Path, token_file: Path, tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with FakeKubeApi(token="first", tls=context) as server:
        trusting = KubeApi(server.url, token_file=token_file, ca_file=tmp_path / "ca.crt")
        assert trusting.read(PODS, {}, LONG_S)["items"] == []
        with pytest.raises(Unreachable, match=r"certificate is not trusted .*--kube-ca-file"):
            KubeApi(server.url, token_file=token_file).read(PODS, {}, LONG_S)
        with pytest.raises(Refused, match=r"cannot read .*/none \(--kube-ca-file\)"):
            KubeApi(server.url, ca_file=tmp_path / "none").read(PODS, {}, LONG_S)


def test_close_ends_an_encrypted_request_too(certificate: Path, tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with FakeKubeApi(tls=context) as server:
        api = KubeApi(server.url, ca_file=tmp_path / "ca.crt")
        lines = api.lines(PODS, WATCH, LONG_S)
        next(lines)
        reader = threading.Thread(target=lambda: list(lines))
        reader.start()
        api.close()
        reader.join(LONG_S)
        assert not reader.is_alive()
