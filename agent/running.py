"""What runs until SIGTERM, or takes one look: built by `main` when the probe is on its way to its first sample."""

import logging
import random
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gputally.agent.agent import Agent, ApiState, Sources
from gputally.agent.attribution.identity import Identity
from gputally.agent.front import Front
from gputally.agent.http import CannotListen
from gputally.agent.kube.watch import KubeWatch
from gputally.agent.meter import Meter, MeterSettings
from gputally.agent.neighbours import Neighbours
from gputally.agent.probe.main import monotonic_us, namespace_warning, wall_us
from gputally.agent.probe.supervisor import Supervisor
from gputally.agent.reservations.grants import GrantBook, Kubelet, ReservationPoller
from gputally.agent.reservations.kubelet import Kubelet as KubeletSocket
from gputally.agent.rest import Rest
from gputally.agent.settings import Nvml, Settings
from gputally.agent.spell_file import SpellFile
from gputally.agent.spool.spool import Spool, SpoolFull, SpoolInUse, SpoolUnusable
from gputally.agent.totals import Totals

if TYPE_CHECKING:  # what is loaded later, or nowhere but with simulated GPUs
    from gputally.agent.simulated.scenario import Scenario
    from gputally.agent.stream import Stream

_DRAIN_S = 5.0
_log = logging.getLogger("gputally.agent")


def poller(settings: Settings, scenario: "Scenario | None", found: Neighbours) -> ReservationPoller | None:
    """Who says which container or job holds which GPU; None where nobody is asked."""
    if found.jobs is not None:
        return _polled(settings, found.jobs, GrantBook(found.jobs.of_name, wall_us), "slurm")
    kubelet: Kubelet | None = None
    if scenario is not None and settings.pod_resources_socket == "scenario":
        from gputally.agent.simulated.cluster import SimulatedKubelet  # nothing of it is loaded on a real node

        kubelet = SimulatedKubelet(scenario, wall_us, monotonic_us)
    elif isinstance(settings.pod_resources_socket, Path):
        kubelet = KubeletSocket(settings.pod_resources_socket, monotonic_us)
    if kubelet is None:
        return None
    claims = found.watches.claims if found.watches else None
    return _polled(settings, kubelet, GrantBook(found.pods.of_name, wall_us, claims), "kubelet")


def _polled(settings: Settings, kubelet: Kubelet, book: GrantBook, source: str) -> ReservationPoller:
    return ReservationPoller(kubelet, book, settings.reservation_interval_us, monotonic_us, source)


def problem(settings: Settings) -> str:
    """What cannot change while this runs, one line; empty when nothing is wrong."""
    return namespace_warning(settings.proc_root) if settings.nvml is Nvml.REAL else ""


def identity(found: Neighbours, polled: ReservationPoller | None) -> Identity:
    """Whose a process is; a machine of Slurm's has no pods."""
    return Identity(found.pods, kubernetes=polled is not None and found.jobs is None)


def run(
    settings: Settings,
    found: Neighbours,
    polled: ReservationPoller | None,
    probe: Supervisor,
    rest: Rest,
    stop: threading.Event,
) -> int:
    """Count until told to stop."""
    front = Front(settings.http_listen, settings.node, dcgm_names=settings.dcgm_names)
    spool = _spool(settings, front, probe, stop)
    if spool is None:
        front.close()
        return 0
    stream = _stream(settings, spool)
    agent = _agent(settings, found, polled, probe, spool, stream, rest)
    try:
        front.show(lambda: agent.snapshot)
    except CannotListen as error:
        sys.stderr.write(f"gputally-agent: {error}\n")
        sys.exit(2)
    if polled:
        polled.poll()  # before the first sample is taken from the probe: its device's time begins with a holder
        polled.start()
    try:
        agent.run(stop, settings.sample_interval_us)
    finally:
        if stream:
            stream.close(_DRAIN_S)
        front.close()
        spool.close()
    return 0


def _agent(
    settings: Settings,
    found: Neighbours,
    polled: ReservationPoller | None,
    probe: Supervisor,
    spool: Spool,
    stream: "Stream | None",
    rest: Rest,
) -> Agent:
    meter_settings = MeterSettings(
        settings.cluster,
        settings.node,
        settings.window_us,
        settings.sample_interval_us,
        settings.process_interval_us,
    )
    owners = identity(found, polled).owners
    meter = Meter(meter_settings, owners, kubernetes=polled is not None, sent_us=spool.last_end_us)
    watches = found.watches
    api, node = (_api_state(watches.pods), _api_state(watches.node)) if watches else (None, None)
    sources = Sources(probe, polled, found.pods.known, found.pods.of_name, api, stream, found.release, node, rest)
    totals = Totals(owners, SpellFile(settings.spool_dir))
    return Agent(settings.node, sources, meter, spool, totals, monotonic_us, problem(settings))


def _spool(settings: Settings, front: Front, probe: Supervisor, stop: threading.Event) -> Spool | None:
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
            probe.close()  # nobody takes its samples; another one is started when somebody does
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


def _stream(settings: Settings, spool: Spool) -> "Stream | None":
    if settings.collector is None:
        _log.warning("no --collector: windows stay in the spool %s", settings.spool_dir)
        return None
    from gputally.agent.credentials import CredentialFiles  # with asyncio, when the first sample is on its way
    from gputally.agent.stream import Stream

    files = CredentialFiles(
        settings.collector_ca_file, settings.tls_cert_file, settings.tls_key_file, settings.collector_token_file
    )
    stream = Stream(spool, str(settings.collector), wall_us, monotonic_us, random.random, files=files)
    stream.start()
    return stream


def _api_state(watch: KubeWatch[Any]) -> Callable[[], ApiState]:
    return lambda: ApiState(watch.state.synced, watch.state.error)
