"""Settings: a flag wins over the environment, and every mistake is named at once."""

import subprocess
import sys
from pathlib import Path

import pytest

from gputally.agent.command_line import HelpAsked, Machine, SettingsError, help_text, load
from gputally.agent.quantity import Address, address, duration_us, listen_address, size_bytes
from gputally.agent.settings import KUBELET_SOCKET, Format, Nvml, Settings, described

NAMED = ("--node", "n", "--cluster", "c")


def machine(*, root: bool = False, **environ: str) -> Machine:
    return Machine(environ, root, "laptop", Path("/home/ada"))


def mistakes(*arguments: str, **environ: str) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load(arguments, machine(**environ))
    return caught.value.mistakes


def test_the_defaults_are_those_of_the_documentation() -> None:
    """Only node and cluster must be set."""
    assert load(NAMED, machine()) == Settings(
        collector=None,
        insecure_plaintext=False,
        collector_ca_file=None,
        collector_token_file=None,
        tls_cert_file=None,
        tls_key_file=None,
        node="n",
        cluster="c",
        nvml=Nvml.REAL,
        scenario=None,
        spool_dir=Path("/home/ada/.local/state/gputally/agent"),
        spool_max_bytes=256 << 20,
        spool_max_age_us=7 * 86_400_000_000,
        proc_root=Path("/proc"),
        pod_resources_socket=KUBELET_SOCKET,
        slurm_jobs=None,
        kube_api=None,
        kube_token_file=None,
        kube_ca_file=None,
        http_listen=Address("0.0.0.0", 9855),
        dcgm_names=False,
        sample_interval_us=1_000_000,
        process_interval_us=5_000_000,
        reservation_interval_us=10_000_000,
        window_us=60_000_000,
        once=False,
        watch_us=None,
        format=Format.TABLE,
    )


def test_the_spool_is_where_the_user_may_write() -> None:
    """Root has /var/lib; others the XDG state directory, where it is absolute."""
    assert load(NAMED, machine(root=True)).spool_dir == Path("/var/lib/gputally")
    assert load(NAMED, machine(XDG_STATE_HOME="/state")).spool_dir == Path("/state/gputally/agent")
    assert load(NAMED, machine(XDG_STATE_HOME="state")).spool_dir == Path("/home/ada/.local/state/gputally/agent")


def test_every_setting_comes_from_the_environment_too_and_a_flag_wins() -> None:
    """A DaemonSet sets GPUTALLY_NODE from spec.nodeName."""
    environ = {"GPUTALLY_NODE": "e", "GPUTALLY_CLUSTER": "e", "GPUTALLY_WINDOW": "30s", "GPUTALLY_SPOOL_MAX_AGE": "1h"}
    settings = load(["--node", "flag", "--window=10s"], machine(**environ))
    assert (settings.node, settings.cluster) == ("flag", "e")
    assert (settings.window_us, settings.spool_max_age_us) == (10_000_000, 3_600_000_000)


def test_an_empty_variable_counts_as_not_set() -> None:
    """Templates leave empty strings where a value is optional."""
    assert load(NAMED, machine(GPUTALLY_COLLECTOR="", GPUTALLY_WINDOW="")).window_us == 60_000_000


def test_all_mistakes_are_named_at_once() -> None:
    """Nobody wants to find them one by one."""
    arguments = (
        "--collector",
        "here",
        "--window",
        "7s",
        "--spool-max-bytes",
        "lots",
        "--frobnicate",
        "--once",
        "maybe",
    )
    found = mistakes(*arguments, GPUTALLY_SAMPLE_INTERVAL="5")
    assert found == (
        "--frobnicate is not a setting; did you mean --once?",
        "--collector: 'here' is not HOST:PORT",
        "--spool-max-bytes: 'lots' is not a size; write a number and a unit, such as 64MiB or 1GiB",
        "GPUTALLY_SAMPLE_INTERVAL: '5' is not a duration; write a number and a unit, such as 500ms, 10s, 1m or 7d",
        "--window: '7s' does not divide 60s into equal parts of at least 1s; such as 60s, 30s or 10s",
        "--once: 'maybe' is neither yes nor no",
        "--node NAME is missing; in a DaemonSet set GPUTALLY_NODE from spec.nodeName",
        "--cluster NAME is missing: a node is known by its name and its cluster's",
    )


@pytest.mark.parametrize(
    ("argument", "known"),
    [("--colector=x:1", "--collector"), ("--spooldir", "--spool-dir"), ("--sample-intervall", "--sample-interval")],
)
def test_an_unknown_flag_names_the_nearest_known_one(argument: str, known: str) -> None:
    """A value that follows it is not a second mistake."""
    assert mistakes(*NAMED, argument, "value")[0] == f"{argument.split('=')[0]} is not a setting; did you mean {known}?"


def test_flags_are_not_abbreviated() -> None:
    """--spool today must not become another setting tomorrow."""
    assert "--spool is not a setting; did you mean --spool-dir?" in mistakes(*NAMED, "--spool", "/x")


def test_a_flag_without_its_value_and_a_stray_word_are_mistakes() -> None:
    """Neither is taken for something else."""
    assert mistakes("stray", *NAMED, "--collector", "--window") == (
        "unexpected argument 'stray'",
        "--collector needs a value: HOST:PORT",
        "--window needs a value: DURATION",
    )


def test_a_misspelt_variable_is_a_mistake_and_what_kubernetes_sets_is_not() -> None:
    """For a service named gputally-collector every pod gets GPUTALLY_COLLECTOR_PORT and its kin."""
    service = {
        "GPUTALLY_COLLECTOR_SERVICE_HOST": "10.0.0.1",
        "GPUTALLY_COLLECTOR_PORT": "tcp://10.0.0.1:9856",
        "GPUTALLY_COLLECTOR_PORT_9856_TCP_ADDR": "10.0.0.1",
        "GPUTALLY_DATABASE_URL": "sqlite:///x",
    }
    assert load(NAMED, machine(**service)).collector is None
    assert mistakes(*NAMED, GPUTALLY_SPOOLDIR="/x") == (
        "GPUTALLY_SPOOLDIR is not a setting; did you mean GPUTALLY_SPOOL_DIR?",
    )


@pytest.mark.parametrize("collector", ["localhost:9856", "127.0.0.1:9856", "[::1]:9856"])
def test_a_collector_on_this_machine_needs_no_encryption(collector: str) -> None:
    """What stays on loopback nobody else can read."""
    assert str(load([*NAMED, "--collector", collector], machine()).collector) == collector


def test_plain_text_to_another_machine_must_be_asked_for() -> None:
    """The message says what it means and which flag accepts it."""
    [mistake] = mistakes(*NAMED, "--collector", "gputally-collector:9856")
    assert "not encrypted" in mistake
    assert "--insecure-plaintext" in mistake
    settings = load([*NAMED, "--collector", "gputally-collector:9856", "--insecure-plaintext"], machine())
    assert settings.collector == Address("gputally-collector", 9856)


def test_nothing_is_simulated_unless_asked(tmp_path: Path) -> None:
    """A scenario without --nvml simulated is a mistake, and a simulated node asks no real kubelet or API."""
    scenario = tmp_path / "day.json"
    scenario.write_text("{}")
    [mistake] = mistakes(*NAMED, "--scenario", str(scenario))
    assert "--nvml simulated" in mistake
    assert mistakes(*NAMED, "--nvml", "simulated") == (
        "--nvml simulated needs --scenario FILE: what the GPUs and pods do",
    )
    assert mistakes(*NAMED, "--nvml", "simulated", "--scenario", "/no") == ("--scenario: there is no file /no",)
    given = [*NAMED, "--nvml", "simulated", "--scenario", str(scenario)]
    settings = load(given, machine(KUBERNETES_SERVICE_HOST="10.0.0.1"))
    assert (settings.pod_resources_socket, settings.kube_api) == ("scenario", None)
    assert load([*given, "--pod-resources-socket", "off"], machine()).pod_resources_socket == "off"


def test_on_a_machine_of_slurm_no_kubelet_is_asked() -> None:
    """A GPU is handed out by one of them; who names both has made a mistake."""
    settings = load([*NAMED, "--slurm-jobs", "/run/gputally/jobs"], machine())
    assert (settings.slurm_jobs, settings.pod_resources_socket) == (Path("/run/gputally/jobs"), "off")
    [both] = mistakes(*NAMED, "--slurm-jobs", "/run/gputally/jobs", "--pod-resources-socket", str(KUBELET_SOCKET))
    assert "by Slurm or by the kubelet, not by both" in both


def test_inside_a_cluster_the_api_is_the_clusters_own() -> None:
    """Address from the environment, token and CA from the pod's service account."""
    account = Path("/var/run/secrets/kubernetes.io/serviceaccount")
    inside = machine(KUBERNETES_SERVICE_HOST="fd00::1", KUBERNETES_SERVICE_PORT="6443")
    settings = load(NAMED, inside)
    assert settings.kube_api == "https://[fd00::1]:6443"
    assert (settings.kube_token_file, settings.kube_ca_file) == (account / "token", account / "ca.crt")
    assert load([*NAMED, "--kube-api", "off"], inside).kube_api is None
    [mistake] = mistakes(*NAMED, "--kube-api", "in-cluster")
    assert "this is no pod" in mistake


def test_a_token_never_travels_in_plain_text(tmp_path: Path) -> None:
    """http:// is for a proxy on this machine only."""
    token = tmp_path / "token"
    token.write_text("secret")
    with_token = [*NAMED, "--kube-token-file", str(token)]
    assert "https" in mistakes(*with_token, "--kube-api", "http://10.0.0.1:8080")[0]
    assert load([*with_token, "--kube-api", "http://127.0.0.1:8001"], machine()).kube_api == "http://127.0.0.1:8001"
    assert load([*with_token, "--kube-api", "https://api:6443"], machine()).kube_token_file == token
    assert "which is off" in mistakes(*with_token)[0]
    assert "neither a URL" in mistakes(*NAMED, "--kube-api", "api.example")[0]


def test_a_connection_to_another_machine_is_encrypted_unless_plain_text_is_asked_for(tmp_path: Path) -> None:
    """Whoever is on the way could read and change what is sent, and take a token."""
    for name in ("ca", "token", "crt", "key"):
        (tmp_path / name).write_text("x")
    ca, token = ("--collector-ca-file", str(tmp_path / "ca")), ("--collector-token-file", str(tmp_path / "token"))
    pair = ("--tls-cert-file", str(tmp_path / "crt"), "--tls-key-file", str(tmp_path / "key"))
    there = (*NAMED, "--collector", "collector:9856")
    for proofs in ((), token):
        assert "not encrypted" in mistakes(*there, *proofs)[0]
        assert load([*there, *proofs, "--insecure-plaintext"], machine()).collector_ca_file is None
    settings = load([*there, *ca, *token, *pair], machine())
    assert (settings.collector_ca_file, settings.collector_token_file) == (tmp_path / "ca", tmp_path / "token")
    assert (settings.tls_cert_file, settings.tls_key_file) == (tmp_path / "crt", tmp_path / "key")
    assert "go together" in mistakes(*there, *ca, *pair[:2])[0]
    assert "needs --collector-ca-file" in mistakes(*NAMED, *pair)[0]
    assert "there is no file /none" in mistakes(*there, "--collector-ca-file", "/none")[0]
    # As in a folder that this user may not enter: a mistake like others, and no traceback.
    assert "cannot be looked at" in mistakes(*there, "--collector-ca-file", f"/{'x' * 300}")[0]


def test_one_look_needs_no_names() -> None:
    """--once is for a person at a shell."""
    settings = load(["--once", "--format", "json"], machine())
    assert (settings.node, settings.once, settings.format) == ("laptop", True, Format.JSON)
    assert mistakes(*NAMED, "--format", "json") == (
        "--format says how --once prints; without --once nothing is printed",
    )


@pytest.mark.parametrize("flag", ["--process-interval", "--window"])
def test_nothing_is_shorter_than_the_sample_interval(flag: str) -> None:
    """There would be windows without a sample."""
    assert f"{flag} is shorter than --sample-interval" in mistakes(
        *NAMED, "--sample-interval", "20s", "--process-interval", "30s", flag, "10s"
    )
    assert mistakes(*NAMED, "--sample-interval", "1ms")[0].endswith("shorter than 50ms, which would load the driver")


@pytest.mark.parametrize(
    ("text", "us"),
    [("500ms", 500_000), ("1s", 1_000_000), ("1.5m", 90_000_000), ("2h", 7_200_000_000), ("7d", 604_800_000_000)],
)
def test_durations_are_exact(text: str, us: int) -> None:
    """A number and a unit."""
    assert duration_us(text) == us


@pytest.mark.parametrize("text", ["", "1", "s", "-1s", "0s", "1.5us", "1 s", "1sec", "1e3s", "٣s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(ValueError, match="not a"):
        duration_us(text)


def test_sizes_are_exact() -> None:
    """Binary and decimal units; a bare number is bytes."""
    assert [size_bytes(text) for text in ("1", "2KiB", "1.5MiB", "1GiB", "5MB")] == [
        1,
        2048,
        3 << 19,
        1 << 30,
        5_000_000,
    ]
    for text in ("", "0", "1.5", "12XB", "1 MiB"):
        with pytest.raises(ValueError, match="not a"):
            size_bytes(text)


def test_addresses_have_a_host_and_a_port() -> None:
    """IPv6 stands in brackets; a listening address may leave the host or the port to the system."""
    assert address("[fd00::1]:9856") == Address("fd00::1", 9856)
    assert str(address("[fd00::1]:9856")) == "[fd00::1]:9856"
    assert listen_address(":9855") == Address("::", 9855)
    assert listen_address("127.0.0.1:0") == Address("127.0.0.1", 0)
    for text in ("", "host", "host:", ":9856", "host:0", "host:70000", "fd00::1:9856", "http://host:1", "[host]:1"):
        with pytest.raises(ValueError, match=r".+"):
            address(text)


def test_help_shows_every_setting_with_its_variable_and_default() -> None:
    """Help is made from the declarations, so none is missing."""
    text = help_text()
    flat = " ".join(text.split())
    for setting in described():
        assert f"  {setting.flag} {setting.metavar}".rstrip() in text
        assert f"(default: {setting.default}; {setting.variable})" in flat
        assert setting.reason in flat
        assert setting.default
    assert max(map(len, text.splitlines())) <= 120
    with pytest.raises(HelpAsked):
        load(["--window", "7s", "--help"], machine())


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    script = "import sys; from gputally.agent.command_line import *; load_or_exit(sys.argv[1:], Machine.this())"
    return subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, env={})


def test_mistakes_go_to_stderr_with_exit_2_and_help_to_stdout_with_0() -> None:
    """What a shell and a container runtime see."""
    bad = run("--nvml", "fake", "--window", "1h")
    assert (bad.returncode, bad.stdout) == (2, "")
    assert bad.stderr.splitlines()[0] == "gputally-agent: --nvml: 'fake' is not one of real, simulated"
    assert len(bad.stderr.splitlines()) == 5
    shown = run("--help")
    assert (shown.returncode, shown.stdout, shown.stderr) == (0, help_text(), "")


def test_settings_import_nothing_heavy() -> None:
    """--help answers at once, and a bad flag loads no gRPC."""
    script = "import sys, gputally.agent.command_line; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"grpc", "google.protobuf", "pynvml", "prometheus_client", "psutil", "ssl"} & set(done.stdout.split())
