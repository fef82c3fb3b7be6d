"""Which checks there are, in the order of the report, made from the agent's own settings."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gputally.agent.credentials import CredentialFiles
from gputally.agent.doctor import (
    api,
    cgroups,
    clock,
    device_files,
    door,
    gpus,
    library,
    pid_namespace,
    pod_resources,
    route,
    running,
    slurm,
    spool,
)
from gputally.agent.doctor.finding import Finding, ok, warn
from gputally.agent.doctor.once import Once
from gputally.agent.doctor.run import Check
from gputally.agent.kube.api import KubeApi
from gputally.agent.probe.supervisor import Supervisor
from gputally.agent.settings import Nvml, Settings

COLLECTOR = "collector"
_DEADLINE_S = 45.0  # beyond all that a check waits for by its own deadlines
_PATIENCE_S = 20.0  # for what another check is about: where that hangs, this one goes on without it


@dataclass(frozen=True, slots=True)
class World:
    """What is looked at, and by which clocks. `start_probe` takes the seconds that the driver has for its first answer.

    `in_pod`: this process runs in one. `driver_s`: a driver without persistence needs seconds for each GPU.
    """

    dev_root: Path
    sys_root: Path
    in_pod: bool
    start_probe: Callable[[float], Supervisor]
    wall_us: Callable[[], int]
    monotonic_us: Callable[[], int]
    driver_s: float = 45.0


@dataclass(frozen=True, slots=True)
class _Answers:
    """What more than one check needs to know."""

    page: Once[running.Page]
    kubelet: Once[pod_resources.Answer]
    api: Once[api.Answers | None]
    way: Once[route.Route | None]
    reply: Once[door.Reply | None]

    def released(self) -> str:
        """Who wants the driver for himself; empty: nobody, as far as is known."""
        said, page = self.api.within(_PATIENCE_S), self.page.within(_PATIENCE_S)
        if said and said.releases_driver:
            return "the node's annotation asks for it"
        return "the running agent says so" if page and page.releases_driver else ""

    def skew_us(self) -> int | None:
        """How far our clock is behind the collector's; None: not told."""
        reply = self.reply.within(_PATIENCE_S)
        return reply.skew_us if reply else None

    def offers_dra(self) -> bool:
        """Whether a DRA driver offers GPUs here."""
        said = self.api.within(_PATIENCE_S)
        return bool(said and said.offers_dra)

    def has_claims(self) -> bool:
        """Whether a DRA claim holds a GPU here."""
        answer = self.kubelet.within(_PATIENCE_S)
        return bool(answer and answer.has_claims)


def checks(settings: Settings, world: World) -> list[Check]:
    """All of them."""
    answers = _answers(settings, world)
    return [
        Check(pid_namespace.NAME, partial(pid_namespace.check, settings.proc_root), _DEADLINE_S),
        Check(
            cgroups.NAME,
            partial(cgroups.check, settings.proc_root, kubernetes=_has_pods(settings, world)),
            _DEADLINE_S,
        ),
        *_of_driver(settings, world, answers),
        *_of_holders(settings, world, answers),
        Check(clock.NAME, partial(clock.check, answers.skew_us), _DEADLINE_S),
        Check(
            spool.NAME,
            partial(spool.check, settings.spool_dir, settings.spool_max_bytes, settings.proc_root),
            _DEADLINE_S,
        ),
        Check(COLLECTOR, partial(_collector, settings, answers), _DEADLINE_S),
        Check(running.NAME, partial(running.check, answers.page, settings.http_listen), _DEADLINE_S),
    ]


def _has_pods(settings: Settings, world: World) -> bool:
    """Whether pods must be here; a kubelet that is not there at all is a line of its own."""
    socket = settings.pod_resources_socket
    return isinstance(socket, Path) and (world.in_pod or pod_resources.is_there(socket))


def _answers(settings: Settings, world: World) -> _Answers:
    def kube_api() -> KubeApi:
        return KubeApi(settings.kube_api or "", token_file=settings.kube_token_file, ca_file=settings.kube_ca_file)

    def reply() -> door.Reply | None:
        taken = way()
        return door.knock(str(collector), files, world.wall_us) if taken and taken.is_open else None

    collector = settings.collector
    files = CredentialFiles(
        settings.collector_ca_file, settings.tls_cert_file, settings.tls_key_file, settings.collector_token_file
    )
    way = Once(lambda: route.take(collector, files, world.wall_us) if collector else None)
    return _Answers(
        Once(lambda: running.ask(settings.http_listen)),
        Once(lambda: pod_resources.ask(settings.pod_resources_socket, world.monotonic_us)),
        Once(lambda: api.ask(settings.kube_api, kube_api, settings.node)),
        way,
        Once(reply),
    )


def _of_driver(settings: Settings, world: World, answers: _Answers) -> list[Check]:
    on_bus = device_files.gpus_on_bus(world.sys_root)
    if settings.nvml is Nvml.SIMULATED:
        on_bus, local = 0, [Check(library.NAME, _simulated, _DEADLINE_S)]
    else:
        local = [
            Check(library.NAME, partial(library.check, settings.proc_root, world.sys_root), _DEADLINE_S),
            Check(device_files.NAME, partial(device_files.check, world.dev_root, world.sys_root), _DEADLINE_S),
        ]
    start = partial(world.start_probe, world.driver_s)
    look = partial(gpus.check, start, world.monotonic_us, answers.released, on_bus)
    return [*local, Check(gpus.NAME, look, _DEADLINE_S + 2 * world.driver_s)]


def _simulated() -> Iterator[Finding]:
    yield ok(library.NAME, "not needed: the GPUs are simulated")


def _of_holders(settings: Settings, world: World, answers: _Answers) -> list[Check]:
    kubernetes = isinstance(settings.pod_resources_socket, Path)
    socket, jobs = settings.pod_resources_socket, settings.slurm_jobs
    by_slurm = [Check(slurm.NAME, partial(slurm.check, jobs, world.monotonic_us), _DEADLINE_S)] if jobs else []
    return [
        Check(
            pod_resources.NAME,
            partial(pod_resources.check, socket, answers.kubelet, answers.offers_dra, in_pod=world.in_pod),
            _DEADLINE_S,
        ),
        Check(
            api.NAME,
            partial(api.check, answers.api, settings.node, answers.has_claims, kubernetes=kubernetes),
            _DEADLINE_S,
        ),
        *by_slurm,
    ]


def _collector(settings: Settings, answers: _Answers) -> Iterator[Finding]:
    way = answers.way()
    if settings.collector is None or way is None:
        yield warn(COLLECTOR, "none is set: windows stay in the spool, for 7 days at most", "set --collector HOST:PORT")
        return
    yield from route.judge(way, settings.collector)
    if reply := answers.reply():
        yield from door.judge(reply, settings.cluster, settings.node)
