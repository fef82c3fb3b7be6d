"""new_site.py: a folder that can be applied as it stands, with secrets that fit, and that is never overwritten."""

import base64
import shutil
import ssl
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from tests.deploy.rendered import DEPLOY, Object, containers, named, new_site, of_kind, pod_templates, render

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


def test_everything_that_can_be_added_is_named_in_it(folder: Path) -> None:
    """Behind a #. The other ways to the driver exclude each other, and cert-manager's takes more than a line."""
    text = (folder / "kustomization.yaml").read_text()
    overlays = {f"{path.parent.parent.name}/overlays/{path.name}" for path in DEPLOY.glob("*/overlays/*")}
    overlays -= {f"daemonset/overlays/{driver}" for driver in ("gpu-operator", "gke")}
    assert {each for each in overlays if f'/{each}"' not in text} == {"collector/overlays/cert-manager"}


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


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> str:
    """A whole TLS handshake in memory; the protocol that both agree on. Raises SSLError."""
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
    return str(one.version())


def client_of(objects: list[Object]) -> ssl.SSLContext:
    """What an agent or a reader has: the authority, and every check that there is."""
    authority = named(objects, "ConfigMap", "gputally-collector-ca")["data"]["ca.crt"]
    context = ssl.create_default_context(cadata=authority)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


@pytest.mark.parametrize("name", ["gputally-collector", "gputally-collector.gputally.svc", "localhost"])
def test_agents_and_readers_trust_the_certificate(folder: Path, objects: list[Object], name: str) -> None:
    server = ServerTls(folder / "secrets" / "tls.crt", folder / "secrets" / "tls.key").http_context()
    assert shake_hands(server, client_of(objects), name) == "TLSv1.3"


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


def script(folder: Path, *words: str, given: str = "") -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(DEPLOY / "new_site.py"), str(folder), "--cluster", "prod", "--driver", "host"]
    return subprocess.run([*command, *words], input=given, capture_output=True, text=True, timeout=60, check=False)


def test_what_it_keeps_against_what_was_asked_for_is_named(tmp_path: Path) -> None:
    """Else somebody applies an old choice for the new one."""
    new_site(tmp_path / "site", "--driver", "host")
    assert script(tmp_path / "site").stderr == ""
    said = script(tmp_path / "site", "--tag", "9.9.9", "--database-url", "postgresql://u:secret@h/d").stderr
    assert [line.rpartition("/")[2] for line in said.splitlines()] == ["database-url", "kustomization.yaml"]
    assert "secret@" not in said


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--registry", "https://registry.example.com/x"), "without https://"),
        (("--registry", "registry example"), "without https://"),
        (("--tag", "a tag"), "no tag"),
        (("--timezone", "Mars/Olympus"), "no IANA time zone"),
        (("--database-url", "postgres://u:secret@h/d"), "expected postgresql://"),
        (("--database-url", "postgresql://u:secret@h"), "expected postgresql://"),
        (("--database-url", "-"), "no URL on standard input"),
    ],
)
def test_what_no_cluster_would_take_is_refused_before_anything_is_written(
    tmp_path: Path, words: tuple[str, ...], told: str
) -> None:
    done = script(tmp_path / "site", *words)
    assert (done.returncode, told in done.stderr, "secret" in done.stderr) == (2, True, False), done.stderr
    assert not (tmp_path / "site").exists()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = script(tmp_path / "file")
    assert (done.returncode, done.stderr.count("\n"), "Not a directory" in done.stderr) == (1, 1, True)


def test_names_with_spaces_tags_of_digits_and_a_url_from_standard_input(tmp_path: Path) -> None:
    """A tag such as 1.10 is a number in YAML; a password on a command line is seen by everybody."""
    deploy = tmp_path / "a clone # 2" / "deploy"
    deploy.parent.mkdir()
    shutil.copytree(DEPLOY, deploy)
    shutil.copytree(DEPLOY.parent / "dashboards", deploy.parent / "dashboards")
    site, url = tmp_path / "my site", "postgresql://u:secret@db:6432/books?sslmode=require"
    words = ("--cluster", "prod", "--driver", "host", "--tag", "1.10", "--database-url", "-")
    command = [sys.executable, str(deploy / "new_site.py"), str(site), *words]
    done = subprocess.run(command, input=f"{url}\n", capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.endswith(f"kubectl apply -k '{site}'\n")
    objects = render(site)
    assert secret(objects, "gputally-database") == {"url": url}
    images = {each["image"] for _, pod in pod_templates(objects) for each in containers(pod)}
    assert images == {"gputally-agent:1.10", "gputally-collector:1.10"}


def test_it_renews_the_certificate_that_was_taken_away(tmp_path: Path) -> None:
    site = tmp_path / "site"
    new_site(site, "--driver", "host")
    authority, before = (site / "secrets" / "ca.crt").read_bytes(), (site / "secrets" / "tls.crt").read_bytes()
    (site / "secrets" / "tls.key").unlink()  # either of the two is enough
    kept = (site / "secrets" / "ca.key").rename(site / "elsewhere")
    done = script(site)
    assert (done.returncode, "ca.key: No such file" in done.stderr) == (1, True)
    kept.rename(site / "secrets" / "ca.key")
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
