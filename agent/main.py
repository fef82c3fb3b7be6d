"""gputally-agent: settings in, parts built, run until SIGTERM. Nothing is constructed elsewhere."""

import logging
import os
import random
import signal
import sys
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from gputally.agent import release
from gputally.agent.agent import Agent, ApiState, Sources
from gputally.agent.attribution.identity import Identity, Pods
from gputally.agent.command_line import Machine, load_or_exit
from gputally.agent.credentials import CredentialFiles
from gputally.agent.front import Front
from gputally.agent.http import CannotListen
from gputally.agent.job_cgroups import living_jobs
from gputally.agent.kube.api import KubeApi
from gputally.agent.kube.claim_watch import ClaimWatch
from gputally.agent.kube.pod_watch import PodWatch
from gputally.agent.kube.pods import Pod, PodTable
from gputally.agent.kube.watch import KubeWatch, Watched
from gputally.agent.meter import Meter, MeterSettings
from gputally.agent.once import look as once
from gputally.agent.once.as_json import as_json_text
from gputally.agent.once.as_table import as_table
from gputally.agent.once.watch import Screen, Watch, lines_of, terminal_size
from gputally.agent.probe.login_names import LoginNames
from gputally.agent.probe.main import LOG_FORMAT, ProbeSettings, monotonic_us, namespace_warning, wall_us
from gputally.agent.probe.supervisor import Supervisor
from gputally.agent.release import Release
from gputally.agent.reservations.grants import GrantBook, Kubelet, ReservationPoller
from gputally.agent.reservations.kubelet import Kubelet as KubeletSocket
from gputally.agent.rest import Rest
from gputally.agent.settings import Format, Nvml, Settings
from gputally.agent.simulated.cluster import SimulatedKubelet, SimulatedPods
from gputally.agent.simulated.scenario import Scenario
from gputally.agent.simulated.scenario_file import ScenarioError
from gputally.agent.simulated.scenario_file import load as load_scenario
from gputally.agent.slurm_jobs import SlurmJobs
from gputally.agent.spell_file import SpellFile
from gputally.agent.spool.spool import Spool, SpoolFull, SpoolInUse, SpoolUnusable
from gputally.agent.stream import Stream
from gputally.agent.totals import Totals

_START_DEADLINE_US = 60_000_000  # without persistence the driver needs seconds for each GPU that it wakes
_SILENCE_US = 10_000_000
_DRAIN_S = 5.0
_SYNC_S = 5.0  # how long the first reservations and the first sample wait for what the API knows
_log = logging.getLogger("gputally.agent")


class NodePods(Pods, Protocol):
    """The pods of this node: names for owners, and UIDs for the probe."""

    def of_name(self, namespace: str, name: str) -> Pod | None:
        """The pod of this name."""

    def known(self) -> Collection[str]:
        """All UIDs."""


@dataclass(slots=True)
class Watches:
    """What is watched in the Kubernetes API, each by a reader and a thread of its own."""

    pods: PodWatch
    claims: ClaimWatch
    node: KubeWatch[bool]

    @property
    def settled(self) -> bool:
        """Whether each was listed once, or failed to be: nothing more is to be known at once."""
        states = (self.pods.state, self.node.state)
        return self.claims.settled and all(state.synced or state.error for state in states)


@dataclass(slots=True)
class Parts:
    """What runs in threads of its own beside the loop, with what ends it."""

    poller: ReservationPoller | None
    pods: NodePods
    watches: Watches | None
    release: Release
    kubernetes: bool  # whether this node has pods


def main() -> None:
    """The console script."""
    if sys.argv[1:2] == ["doctor"]:
        from gputally.agent.doctor.main import main as doctor  # an agent that runs needs nothing of it

        sys.exit(doctor(sys.argv[2:]))
    settings = load_or_exit(sys.argv[1:], Machine.this())
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, stream=sys.stderr)
    stop = threading.Event()
    rest = Rest()

    def end(*_: object) -> None:
        stop.set()
        rest.wake()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _interrupt if settings.once else end)
    wanted = Release(rest.wake)
    if not settings.once:
        signal.signal(signal.SIGUSR1, lambda *_: wanted.ask())
        signal.signal(signal.SIGUSR2, lambda *_: wanted.withdraw())
    start_us = wall_us()
    scenario = _scenario(settings, start_us)
    parts = _parts(settings, scenario, wanted)
    probe = _probe(settings, start_us, stop)
    threads = _start(parts, stop)
    try:
        status = _once(settings, parts, probe) if settings.once else _run(settings, parts, probe, rest, stop)
    finally:
        stop.set()
        probe.close()
        if parts.poller:
            parts.poller.close()
        for watch in _each(parts.watches):
            watch.close()
        for thread in threads:
            thread.join(2)
    sys.exit(status)


def _interrupt(number: int, _frame: object) -> None:
    """One look has nothing to keep: it ends where it stands, with the status that a shell gives to a signal."""
    sys.exit(128 + number)


def _scenario(settings: Settings, start_us: int) -> Scenario | None:
    if settings.nvml is Nvml.REAL or settings.scenario is None:
        return None
    try:
        return load_scenario(settings.scenario, start_us)
    except ScenarioError as error:
        sys.stderr.writelines(f"gputally-agent: --scenario: {mistake}\n" for mistake in error.mistakes)
        sys.exit(2)


def _parts(settings: Settings, scenario: Scenario | None, wanted: Release) -> Parts:
    pods: NodePods
    if settings.slurm_jobs is not None:
        jobs = SlurmJobs(settings.slurm_jobs, monotonic_us, {0, os.geteuid()}, living_jobs, LoginNames(monotonic_us).of)
        slurm = _polled(settings, jobs, GrantBook(jobs.of_name, wall_us), "slurm")
        return Parts(slurm, jobs, None, wanted, kubernetes=False)
    if scenario is not None and settings.kube_api is None:
        pods, watches = SimulatedPods(scenario, wall_us, monotonic_us), None
    else:
        pods = table = PodTable()
        watches = _watches(settings, settings.kube_api, table, wanted) if settings.kube_api is not None else None
    poller = _poller(settings, scenario, pods, watches.claims if watches else None)
    return Parts(poller, pods, watches, wanted, kubernetes=poller is not None)


def _watches(settings: Settings, url: str, pods: PodTable, wanted: Release) -> Watches:
    def api() -> KubeApi:
        return KubeApi(url, token_file=settings.kube_token_file, ca_file=settings.kube_ca_file)

    node = Watched("Node", ("/api/v1/nodes",), release.asks_for_release, f"metadata.name={settings.node}")
    return Watches(
        PodWatch(api(), settings.node, pods, monotonic_us),
        ClaimWatch(api(), api(), settings.node, monotonic_us),
        KubeWatch(api(), node, wanted, monotonic_us),
    )


def _each(watches: Watches | None) -> "tuple[PodWatch | ClaimWatch | KubeWatch[bool], ...]":
    return (watches.pods, watches.claims, watches.node) if watches else ()


def _poller(
    settings: Settings, scenario: Scenario | None, pods: NodePods, claims: ClaimWatch | None
) -> ReservationPoller | None:
    kubelet: Kubelet | None = None
    if scenario is not None and settings.pod_resources_socket == "scenario":
        kubelet = SimulatedKubelet(scenario, wall_us, monotonic_us)
    elif isinstance(settings.pod_resources_socket, Path):
        kubelet = KubeletSocket(settings.pod_resources_socket, monotonic_us)
    if kubelet is None:
        return None
    return _polled(settings, kubelet, GrantBook(pods.of_name, wall_us, claims), "kubelet")


def _polled(settings: Settings, kubelet: Kubelet, book: GrantBook, source: str) -> ReservationPoller:
    return ReservationPoller(kubelet, book, settings.reservation_interval_us, monotonic_us, source)


def _probe(settings: Settings, start_us: int, stop: threading.Event) -> Supervisor:
    told = ProbeSettings(
        -1,
        -1,
        str(settings.proc_root),
        settings.sample_interval_us,
        max(settings.process_interval_us, 2 * (settings.watch_us or 0)),  # a look's busy time is that since the last
        str(settings.scenario or ""),
        start_us,
    )
    deadline_us = max(_SILENCE_US, 3 * settings.sample_interval_us)
    return Supervisor(told, deadline_us, _START_DEADLINE_US, monotonic_us, stop.wait)


def _start(parts: Parts, stop: threading.Event) -> list[threading.Thread]:
    """Begin to watch, and give the API some time: the first reservations are then named."""
    threads = [
        threading.Thread(target=watch.run, args=(stop,), name=type(watch).__name__, daemon=True)
        for watch in _each(parts.watches)
    ]
    for thread in threads:
        thread.start()
    watches = parts.watches
    if watches:
        _wait(lambda: watches.settled, _SYNC_S, stop)
    return threads


def _wait(done: Callable[[], bool], longest_s: float, stop: threading.Event) -> None:
    until_us = monotonic_us() + int(longest_s * 1e6)
    while not done() and monotonic_us() < until_us and not stop.wait(0.05):
        pass


def _identity(parts: Parts) -> Identity:
    return Identity(parts.pods, kubernetes=parts.kubernetes)


def _problem(settings: Settings) -> str:
    return namespace_warning(settings.proc_root) if settings.nvml is Nvml.REAL else ""


def _run(settings: Settings, parts: Parts, probe: Supervisor, rest: Rest, stop: threading.Event) -> int:
    """Count until told to stop."""
    front = Front(settings.http_listen, settings.node, dcgm_names=settings.dcgm_names)
    spool = _spool(settings, front, stop)
    if spool is None:
        front.close()
        return 0
    stream = _stream(settings, spool)
    agent = _agent(settings, parts, probe, spool, stream, rest)
    try:
        front.show(lambda: agent.snapshot)
    except CannotListen as error:
        sys.stderr.write(f"gputally-agent: {error}\n")
        sys.exit(2)
    if parts.poller:
        parts.poller.poll()  # before the first sample, so that its device's time begins with a holder
        parts.poller.start()
    try:
        agent.run(stop, settings.sample_interval_us)
    finally:
        if stream:
            stream.close(_DRAIN_S)
        front.close()
        spool.close()
    return 0


def _agent(
    settings: Settings, parts: Parts, probe: Supervisor, spool: Spool, stream: Stream | None, rest: Rest
) -> Agent:
    meter_settings = MeterSettings(
        settings.cluster,
        settings.node,
        settings.window_us,
        settings.sample_interval_us,
        settings.process_interval_us,
    )
    owners = _identity(parts).owners
    meter = Meter(meter_settings, owners, kubernetes=parts.poller is not None, sent_us=spool.last_end_us)
    watches = parts.watches
    api, node = (_api_state(watches.pods), _api_state(watches.node)) if watches else (None, None)
    sources = Sources(probe, parts.poller, parts.pods.known, parts.pods.of_name, api, stream, parts.release, node, rest)
    totals = Totals(owners, SpellFile(settings.spool_dir))
    return Agent(settings.node, sources, meter, spool, totals, monotonic_us, _problem(settings))


def _spool(settings: Settings, front: Front, stop: threading.Event) -> Spool | None:
    """The spool; while another agent has it, wait and say so. None when told to stop before that."""
    said = False
    while not stop.is_set():
        try:
            return Spool(
                settings.spool_dir,
                _boot_id(settings.proc_root),
                settings.spool_max_bytes,
                settings.spool_max_age_us,
                wall_us,
            )
        except (SpoolInUse, SpoolFull) as error:
            if not said:
                _log.warning("%s; waiting for it to end", error)
            front.wait(str(error))
            said = True
            stop.wait(1)
        except SpoolUnusable as error:
            sys.stderr.write(f"gputally-agent: --spool-dir: {error}\n")
            sys.exit(2)
    return None


def _boot_id(proc_root: Path) -> str:
    try:
        return (proc_root / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _stream(settings: Settings, spool: Spool) -> Stream | None:
    if settings.collector is None:
        _log.warning("no --collector: windows stay in the spool %s", settings.spool_dir)
        return None
    files = CredentialFiles(
        settings.collector_ca_file, settings.tls_cert_file, settings.tls_key_file, settings.collector_token_file
    )
    stream = Stream(spool, str(settings.collector), wall_us, monotonic_us, random.random, files=files)
    stream.start()
    return stream


def _api_state(watch: KubeWatch[Any]) -> Callable[[], ApiState]:
    return lambda: ApiState(watch.state.synced, watch.state.error)


def _once(settings: Settings, parts: Parts, probe: Supervisor) -> int:
    """Print one look at this node; 1 when something could not be seen."""
    if parts.poller:
        parts.poller.poll()
    if settings.watch_us:
        return _watch(settings, parts, probe, settings.watch_us)
    if parts.release.reason:
        look = once.nothing(settings.node, wall_us(), f"the driver is released: {parts.release.reason}")
    else:
        look = once.take(settings.node, probe, parts.poller, monotonic_us, _problem(settings))
    owners = _identity(parts).owners
    if settings.format is Format.JSON:
        sys.stdout.write(as_json_text(look, owners) + "\n")
    else:
        sys.stdout.write(as_table(look, owners) + "\n")
    unseen = once.unseen(look)
    sys.stderr.writelines(f"gputally-agent: {line}\n" for line in unseen)
    return 1 if unseen else 0


def _watch(settings: Settings, parts: Parts, probe: Supervisor, interval_us: int) -> int:
    """Look at this node again and again until somebody ends it, or nobody reads it any more."""
    owners, json = _identity(parts).owners, settings.format is Format.JSON
    problem, release = _problem(settings), parts.release
    watch = Watch(settings.node, probe, parts.poller, monotonic_us, wall_us, problem, lambda: release.reason)
    screen = Screen(sys.stdout, None if json else terminal_size(sys.stdout))
    try:
        for look in watch.looks(interval_us):
            screen.show([as_json_text(look, owners)] if json else lines_of(look, owners))
            sys.stderr.writelines(f"gputally-agent: {line}\n" for line in once.unseen(look) if json)
    except BrokenPipeError:
        screen.abandon()
    finally:
        screen.close()
    return 0


if __name__ == "__main__":
    main()
