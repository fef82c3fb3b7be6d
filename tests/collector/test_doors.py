"""Who is let in: nothing is open to other hosts by mistake, and every mistake is named at once."""

from pathlib import Path

import pytest
from tests.collector.test_settings import clean_environment, mistakes

from gputally.collector.auth.agent import AnyAgent
from gputally.collector.auth.build import agents_of, grpc_tls, http_tls, kube_api, readers_of
from gputally.collector.auth.certificate import CertifiedAgents
from gputally.collector.auth.kube_readers import KubeReaders
from gputally.collector.auth.reader import Anybody
from gputally.collector.auth.service_account import TokenAgents
from gputally.collector.auth.static_tokens import StaticTokens, TokenFileError
from gputally.collector.database.engine import open_database
from gputally.collector.doors import AgentAuth, ReaderAuth
from gputally.collector.settings import Address, CollectorSettings, load

__all__ = ["clean_environment"]  # a fixture of every test here
OTHERS = "0.0.0.0:1"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Flags that name files; what is in them does not matter to settings."""
    names = ("tls_cert_file", "tls_key_file", "agent_ca_file", "reader_tokens_file", "kube_token_file")
    for name in names:
        (tmp_path / name).write_text("x")
    return {name: str(tmp_path / name) for name in names}


def some(files: dict[str, str], *names: str) -> dict[str, str]:
    return {name: files[name] for name in names}


TLS = ("tls_cert_file", "tls_key_file")
TOKEN = {"agent_auth": "token", "agent_service_accounts": "gputally/agent", "cluster": "prod"}


def test_by_default_only_this_machine_comes_in() -> None:
    settings = load(CollectorSettings, {})
    assert settings.grpc_listen.loopback
    assert settings.http_listen.loopback
    assert (settings.agent_auth, settings.reader_auth) == (AgentAuth.NONE, ReaderAuth.NONE)
    assert settings.metrics_listen is None


def test_agents_of_other_hosts_prove_who_they_are_over_tls(files: dict[str, str]) -> None:
    assert "nobody says who they are" in mistakes(CollectorSettings, grpc_listen=OTHERS)[0]
    assert "not encrypted" in mistakes(CollectorSettings, grpc_listen=OTHERS, **TOKEN)[0]
    assert load(CollectorSettings, {"grpc_listen": OTHERS, **TOKEN, **some(files, *TLS)})
    mtls = {"agent_auth": "mtls", **some(files, *TLS, "agent_ca_file")}
    assert load(CollectorSettings, {"grpc_listen": OTHERS, **mtls})


def test_the_insecure_ways_are_asked_for_by_name() -> None:
    for more in ({}, TOKEN):
        assert load(CollectorSettings, {"grpc_listen": OTHERS, "insecure_plaintext": "true", **more})
    assert load(CollectorSettings, {"http_listen": OTHERS, "insecure_http": "true"})
    assert mistakes(CollectorSettings, http_listen=OTHERS, insecure_plaintext="true")
    assert mistakes(CollectorSettings, grpc_listen=OTHERS, insecure_http="true")


def test_readers_of_other_hosts_prove_who_they_are_over_tls(files: dict[str, str]) -> None:
    tokens = {"reader_auth": "tokens", **some(files, "reader_tokens_file")}
    assert "nobody says who they are" in mistakes(CollectorSettings, http_listen=OTHERS)[0]
    assert "not encrypted" in mistakes(CollectorSettings, http_listen=OTHERS, **tokens)[0]
    assert load(CollectorSettings, {"http_listen": OTHERS, **tokens, **some(files, *TLS)})
    assert load(CollectorSettings, {"http_listen": OTHERS, "insecure_http": "true", **tokens})


def test_metrics_may_be_served_elsewhere() -> None:
    """Prometheus and the kubelet ask from other hosts, without a token."""
    assert load(CollectorSettings, {"metrics_listen": ":9858"}).metrics_listen == Address("::", 9858)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"agent_auth": "mtls"}, "--agent-auth mtls needs"),
        ({"agent_auth": "token", "cluster": "c"}, "--agent-service-accounts"),
        ({"agent_auth": "token", "agent_service_accounts": "a/b"}, "--cluster NAME is missing"),
        ({"agent_service_accounts": "a/b"}, "is for --agent-auth token"),
        ({"agent_auth": "password"}, "--agent-auth"),
        ({"reader_auth": "tokens"}, "go together"),
        ({"reader_auth": "kubernetes"}, "--cluster NAME is missing"),
        ({"kube_api": "https://api"}, "--cluster NAME is missing: the cluster of --kube-api"),
        ({**TOKEN, "kube_api": "http://10.0.0.1"}, "must not travel in plain text"),
        ({**TOKEN, "kube_api": "api:6443"}, "neither a URL"),
        ({**TOKEN, "agent_audience": ""}, "--agent-audience"),
        ({"cluster": ""}, "--cluster"),
        ({"tls_cert_file": "/none"}, "there is no file /none"),
        ({"tls_cert_file": f"/{'x' * 300}"}, "cannot be looked at: File name too long"),
    ],
)
def test_what_does_not_fit_together_is_a_mistake(flags: dict[str, str], words: str) -> None:
    assert words in "\n".join(mistakes(CollectorSettings, **flags))


@pytest.mark.parametrize(
    "text", ["agent", "a/b/c", "a/", "/b", "A/b", "a/b,", "a b/c", "system:serviceaccount:a:b", ""]
)
def test_a_service_account_is_namespace_and_name(text: str) -> None:
    assert "expected NAMESPACE/NAME" in mistakes(CollectorSettings, **{**TOKEN, "agent_service_accounts": text})[0]


def test_several_service_accounts_have_commas_between() -> None:
    settings = load(CollectorSettings, {**TOKEN, "agent_service_accounts": "gputally/agent, other/agent"})
    assert settings.agent_service_accounts == ("gputally/agent", "other/agent")


def test_files_that_stand_alone_are_mistakes(files: dict[str, str]) -> None:
    found = mistakes(CollectorSettings, **some(files, "tls_cert_file", "agent_ca_file", "reader_tokens_file"))
    assert len(found) == 3
    assert "--tls-cert-file and --tls-key-file go together" in found


def test_every_mistake_is_its_own_line() -> None:
    assert len(mistakes(CollectorSettings, grpc_listen=OTHERS, http_listen=OTHERS, agent_auth="mtls")) == 3


def test_the_doors_are_built_as_they_are_set(files: dict[str, str], tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'x.sqlite'}")
    kube = {"kube_api": "https://api:6443", "cluster": "prod"}
    assert isinstance(agents_of(load(CollectorSettings, {})), AnyAgent)
    assert isinstance(agents_of(load(CollectorSettings, {**TOKEN, **kube})), TokenAgents)
    mtls = load(CollectorSettings, {"agent_auth": "mtls", **some(files, *TLS, "agent_ca_file")})
    assert isinstance(agents_of(mtls), CertifiedAgents)
    assert isinstance(readers_of(load(CollectorSettings, {}), engine), Anybody)
    readers = load(CollectorSettings, {"reader_auth": "kubernetes", **kube})
    assert isinstance(readers_of(readers, engine), KubeReaders)
    tokens = load(CollectorSettings, {"reader_auth": "tokens", **some(files, "reader_tokens_file")})
    with pytest.raises(TokenFileError):
        readers_of(tokens, engine)
    Path(files["reader_tokens_file"]).write_text(f'[[token]]\nname = "a"\nrole = "admin"\nsha256 = "{"0" * 64}"')
    assert isinstance(readers_of(tokens, engine), StaticTokens)
    for tls in (grpc_tls, http_tls):
        assert tls(load(CollectorSettings, {})) is None
        with pytest.raises(OSError, match="cannot be used"):
            tls(mtls)
    engine.dispose()


def test_in_cluster_is_the_pods_own_api_and_outside_a_pod_an_error() -> None:
    settings = load(CollectorSettings, TOKEN)
    assert kube_api(settings, {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"})
    with pytest.raises(OSError, match="this is no pod"):
        kube_api(settings, {})
