"""The doors of the product that take bytes from others, each with good input to start from."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from zoneinfo import ZoneInfo

from google.protobuf.message import DecodeError
from sqlalchemy import func, select
from tests.databases import empty
from tests.fuzz.target import Feed, Target
from tests.windows import START_US, device, pod, reserved, unallocated, window

from gputally import demo
from gputally.accounting.invariants import violations
from gputally.accounting.keys import Holding
from gputally.agent import command_line as agent_settings
from gputally.agent import quantity
from gputally.agent.kube import api as kube_api
from gputally.agent.probe import cgroup
from gputally.agent.reservations.kubelet import parse_allocatable, parse_claims, parse_list
from gputally.agent.simulated import scenario_file
from gputally.collector import command_line as collector_settings
from gputally.collector import settings
from gputally.collector.allocation.filter import FilterError, parse_filter
from gputally.collector.database import schema
from gputally.collector.database.engine import open_database, reading
from gputally.collector.database.migrate import migrate
from gputally.collector.files.yaml_file import FileMistakes
from gputally.collector.ingest.admission import Verdict
from gputally.collector.ingest.arrivals import arrival
from gputally.collector.ingest.commit import Committer
from gputally.collector.rates.parse import parse_card
from gputally.proto import codec
from gputally.proto import telemetry_pb2 as pb
from gputally.proto.podresources_pb2 import AllocatableResourcesResponse, ListPodResourcesResponse

DATA = Path(__file__).parent.parent / "data"
SCENARIOS = Path(demo.__file__).parent / "scenarios"
EXAMPLE_CARD = Path(settings.__file__).parent / "rates" / "example.yaml"


def parser(parse: Callable[[bytes], object], *errors: type[Exception]) -> Callable[[], AbstractContextManager[Feed]]:
    """A door that only reads: it accepts, or raises one of these errors with words in it."""

    @contextmanager
    def opened() -> Iterator[Feed]:
        def feed(data: bytes) -> bool:
            try:
                parse(data)
            except errors as error:
                refusal = str(error)
            else:
                return True
            assert refusal.strip(), "a refusal without a reason"
            return False

        yield feed

    return opened


def windows() -> Sequence[bytes]:
    """Windows as an agent sends them: exclusive, shared, partitioned, of a host without Kubernetes."""
    held = device(reserved(pod(), 40_000_000, 20_000_000, energy_mj=9))
    edges = replace(held, start_holders=(Holding(pod()),), end_holders=(Holding(pod(), share=Fraction(1, 3)),))
    mig = replace(device(unallocated(60_000_000), uuid="GPU-1"), idle_power_mw=70_000, ghost_memory_byte_s=5)
    contents = [window(), window(edges, mig), window(device(unallocated(60_000_000)))]
    return [codec.encode(content, "agent", "boot", number) for number, content in enumerate(contents, start=1)]


@contextmanager
def ledger() -> Iterator[Feed]:
    """The collector's door down to the tables: what is refused is in the quarantine and nowhere else."""
    with tempfile.TemporaryDirectory() as folder:
        engine = open_database(f"sqlite:///{folder}/fuzz.sqlite")
        migrate(engine)

        def counted() -> tuple[int, ...]:
            with reading(engine) as connection:
                tables = (schema.window, schema.line, schema.quarantine)
                return tuple(connection.execute(select(func.count()).select_from(t)).scalar_one() for t in tables)

        def feed(data: bytes) -> bool:
            try:
                message = pb.Window.FromString(data)
            except DecodeError:
                return False  # gRPC ends the stream itself
            before = counted()
            arrived = arrival(message, START_US).read()
            [outcome] = Committer(engine, ZoneInfo("UTC"), None).commit([arrived], START_US)
            if outcome.defect:
                raise outcome.defect
            after = counted()
            if outcome.verdict is Verdict.REFUSED:
                assert outcome.refusal is not None
                assert outcome.refusal.detail
                assert after[:2] == before[:2], "a refused window was written"
                assert after[2] in (before[2], before[2] + 1)
                return False
            assert violations(codec.decode(message)) == []
            empty(engine)  # the next input is not refused for standing beside this one
            return True

        yield feed
        engine.dispose()


def recordings(pattern: str) -> Callable[[], Sequence[bytes]]:
    """Recorded files as seeds, the smaller ones."""
    return lambda: [data for path in sorted(DATA.glob(pattern)) if len(data := path.read_bytes()) < 20_000][:24]


def kubelet(data: bytes) -> None:
    """What the agent makes of an answer of the PodResources socket."""
    answer = ListPodResourcesResponse.FromString(data)
    parse_list(answer)
    parse_claims(answer)
    parse_allocatable(AllocatableResourcesResponse.FromString(data))


def cgroups() -> Sequence[bytes]:
    """Cgroup files of every runtime and driver that the vectors know."""
    lines = (DATA / "cgroup" / "vectors.tsv").read_text().splitlines()
    return [line.partition("\t")[0].encode() for line in lines if line and not line.startswith("#")]


def read_cgroup(data: bytes) -> None:
    """Both readings of a cgroup file."""
    text = data.decode("utf-8", "surrogateescape")
    cgroup.parse(text)
    cgroup.unit(text)


def agent_flags(data: bytes) -> None:
    """The agent's settings, from words."""
    machine = agent_settings.Machine({}, is_root=True, hostname="node", home=Path("/nowhere"))
    agent_settings.load(data.decode("utf-8", "replace").split("\n"), machine)


def collector_flags(data: bytes) -> None:
    """The collector's settings, from words."""
    collector_settings.read_settings(data.decode("utf-8", "replace").split("\n"))


def quantities(data: bytes) -> None:
    """Durations, sizes and addresses as people type them."""
    text = data.decode("utf-8", "replace")
    readers = (quantity.duration_us, quantity.size_bytes, quantity.address, quantity.listen_address)
    mistakes = []
    for reader in readers:
        try:
            reader(text)
        except ValueError as error:
            mistakes.append(str(error))
    if len(mistakes) == len(readers):
        raise ValueError("; ".join(filter(None, mistakes)))


def scenarios() -> Sequence[bytes]:
    """The scenario files of the demo."""
    return [path.read_bytes() for path in sorted(SCENARIOS.glob("*.json"))]


def scenario(data: bytes) -> None:
    """A scenario file."""
    scenario_file.parse(data.decode("utf-8", "replace"), START_US)


TARGETS = (
    Target("window", windows, ledger),
    Target("podresources", recordings("kubernetes/podresources/*/List.bin"), parser(kubelet, DecodeError)),
    Target("kubernetes-api", recordings("kubernetes/api/*.json"), parser(kube_api.decode, kube_api.KubeApiError)),
    Target("cgroup", cgroups, parser(read_cgroup)),
    Target(
        "agent-settings",
        lambda: [b"--cluster=a\n--node=b\n--pod-resources-socket=off\n--window=30s"],
        parser(agent_flags, agent_settings.SettingsError, agent_settings.HelpAsked),
    ),
    Target(
        "collector-settings",
        lambda: [b"--grpc-listen=127.0.0.1:1\n--timezone=Asia/Kolkata", b"--writer-queue=5\n--line-retention-days\n3"],
        parser(collector_flags, settings.SettingsError),
    ),
    Target("quantity", lambda: [b"30s", b"4GiB", b"[::1]:9856", b"127.0.0.1:1"], parser(quantities, ValueError)),
    Target(
        "scenario",
        lambda: [path.read_bytes() for path in sorted(SCENARIOS.glob("*.json"))],
        parser(scenario, scenario_file.ScenarioError),
    ),
    Target(
        "rate-card",
        lambda: [EXAMPLE_CARD.read_bytes()],
        parser(lambda data: parse_card(data, ZoneInfo("UTC")), FileMistakes),
    ),
    Target(
        "filter",
        lambda: [b'namespace:"a"', b'namespace:"a","b"+model!:"x"'],
        parser(lambda data: parse_filter(data.decode("utf-8", "replace")), FilterError),
    ),
)
