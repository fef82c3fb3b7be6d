"""new_site.py: a folder that can be applied as it stands, with secrets that fit, and that is never overwritten."""

import base64
import ssl
import stat
from pathlib import Path

import pytest
from tests.deploy.rendered import Object, containers, named, new_site, of_kind, pod_templates, render

from gputally.collector.auth.tls import ServerTls

TLS = "gputally-collector-tls"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("new-site") / "prod"
    new_site(path, "--driver", "host", "--registry", "registry.example.com/platform/", "--timezone", "Europe/Berlin")
    return path


@pytest.fixture(scope="module")
def objects(folder: Path) -> list[Object]:
    return render(folder)


def secret(objects: list[Object], name: str) -> dict[str, str]:
    return {key: base64.b64decode(text).decode() for key, text in named(objects, "Secret", name)["data"].items()}


def test_it_has_all_that_the_pods_need(objects: list[Object]) -> None:
    """The database's pod and the collector's are told one password."""
    database = secret(objects, "gputally-database")
    assert database["url"] == f"postgresql://gputally:{database['password']}@gputally-postgres/gputally"
    assert len(database["password"]) == 48
    assert set(secret(objects, TLS)) == {"tls.crt", "tls.key"}
    (settings,) = (each for each in of_kind(objects, "ConfigMap") if "cluster" in each["data"])
    assert settings["data"] == {"cluster": "prod", "timezone": "Europe/Berlin"}


def test_pods_refer_to_settings_by_what_they_hold(objects: list[Object]) -> None:
    """So that a changed setting restarts them, and a renewed certificate does not."""
    (settings,) = (each for each in of_kind(objects, "ConfigMap") if "cluster" in each["data"])
    name = settings["metadata"]["name"]
    assert name.startswith("gputally-")
    for kind, workload in (("DaemonSet", "gputally-agent"), ("Deployment", "gputally-collector")):
        container = containers(named(objects, kind, workload)["spec"]["template"])[-1]
        sources = [each["valueFrom"] for each in container["env"] if "valueFrom" in each]
        assert {each["configMapKeyRef"]["name"] for each in sources if "configMapKeyRef" in each} == {name}


def test_images_come_from_the_registry(objects: list[Object]) -> None:
    images = {each["image"] for _, pod in pod_templates(objects) for each in containers(pod)}
    ours = {image for image in images if "gputally" in image}
    assert ours == {f"registry.example.com/platform/gputally-{part}:0.1.0" for part in ("agent", "collector")}


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> None:
    """A whole TLS handshake in memory; raises SSLError."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = client.wrap_bio(back, there, server_hostname=name)
    other = server.wrap_bio(there, back, server_side=True)
    waiting = {one, other}
    while waiting:
        for side in tuple(waiting):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.discard(side)


def client_of(objects: list[Object]) -> ssl.SSLContext:
    """What an agent or a reader has: the authority, and every check that there is."""
    authority = named(objects, "ConfigMap", "gputally-collector-ca")["data"]["ca.crt"]
    context = ssl.create_default_context(cadata=authority)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


@pytest.mark.parametrize("name", ["gputally-collector", "gputally-collector.gputally.svc", "localhost"])
def test_agents_and_readers_trust_the_certificate(folder: Path, objects: list[Object], name: str) -> None:
    server = ServerTls(folder / "secrets" / "tls.crt", folder / "secrets" / "tls.key").http_context()
    shake_hands(server, client_of(objects), name)


def test_the_certificate_is_good_for_no_other_name(folder: Path, objects: list[Object]) -> None:
    server = ServerTls(folder / "secrets" / "tls.crt", folder / "secrets" / "tls.key").http_context()
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(server, client_of(objects), "gputally-postgres")


def test_nobody_else_may_read_the_secrets(folder: Path) -> None:
    assert stat.S_IMODE((folder / "secrets").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (folder / "secrets").iterdir()} == {0o600}
    assert (folder / ".gitignore").read_text() == "secrets/\n"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_run_again_it_keeps_what_is_there(tmp_path: Path) -> None:
    """Also where it is asked for something else: what somebody wrote into the folder is theirs."""
    new_site(tmp_path / "site", "--driver", "host")
    before = contents(tmp_path)
    new_site(tmp_path / "site", "--driver", "gke", "--tag", "9.9.9")
    assert contents(tmp_path) == before


def test_it_renews_the_certificate_that_was_taken_away(tmp_path: Path) -> None:
    site = tmp_path / "site"
    new_site(site, "--driver", "host")
    authority, before = (site / "secrets" / "ca.crt").read_bytes(), (site / "secrets" / "tls.crt").read_bytes()
    (site / "secrets" / "tls.crt").unlink()
    new_site(site, "--driver", "host")
    assert (site / "secrets" / "ca.crt").read_bytes() == authority
    assert (site / "secrets" / "tls.crt").read_bytes() != before
    server = ServerTls(site / "secrets" / "tls.crt", site / "secrets" / "tls.key").http_context()
    shake_hands(server, client_of(render(site)), "gputally-collector")


def test_with_a_database_of_ones_own_there_is_none_to_try(tmp_path: Path) -> None:
    url = "postgresql://gputally:secret@db.example.com/gputally?sslmode=verify-full"
    new_site(tmp_path / "site", "--driver", "gpu-operator", "--database-url", url)
    objects = render(tmp_path / "site")
    assert secret(objects, "gputally-database") == {"url": url}
    assert list(of_kind(objects, "StatefulSet")) == []
