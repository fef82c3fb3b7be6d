"""Scenario files: JSON to a Scenario, with every mistake reported at once. The format is docs/scenarios.md."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from gputally.accounting.ledger_hour import from_us
from gputally.agent.sample import DeviceInfo
from gputally.agent.simulated.json_field import Field, parse_json
from gputally.agent.simulated.partition_file import Parts, read_instances, read_replicas
from gputally.agent.simulated.pattern import FOREVER_US, WEEK_US, Pattern, constant, peak
from gputally.agent.simulated.scenario import (
    Container,
    Fault,
    FaultKind,
    Gpu,
    InContainer,
    Instance,
    OnHost,
    OwnerObject,
    Pod,
    Scenario,
    Workload,
)
from gputally.agent.simulated.schedule import ScheduleError, cycle_steps, hours, instant, weekly_steps

T = TypeVar("T")

_GIB = 2**30
_MAX_GIB = 4096
_MAX_WATTS = 10_000
_FIRST_PID = 2001  # for workloads without a pid of their own, counted up in the order of the file
_MOST_SLICES = 7  # compute slices of the GPUs that are partitioned, but for the A30's 4
_FLAGS = ("sample_buffer", "process_utilization", "energy_counter", "gpm")  # on, unless the file says otherwise
_MAX_PID = 4_194_304  # the largest pid_max of a 64-bit kernel
_GPU_UUID = re.compile(r"GPU-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class ScenarioError(Exception):
    """A scenario file with mistakes; one line each, with where it is."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = tuple(mistakes)


def load(path: Path, start_us: int) -> Scenario:
    """Read a scenario file. Times such as `+90s` count from `start_us` unless the file has a `start` of its own.

    Raises ScenarioError, also where the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError([f"cannot read {path}: {error}"]) from error
    return parse(text, start_us)


def parse(text: str, start_us: int) -> Scenario:
    """The scenario of a JSON text; raises ScenarioError with all of its mistakes."""
    mistakes: list[str] = []
    scenario = _Parser(start_us).scenario(parse_json(text, mistakes))
    if mistakes:
        raise ScenarioError(mistakes)
    return scenario


class _Parser:
    """Reads one document; keeps what later parts refer to: the GPUs, the containers, the pids in use."""

    def __init__(self, start_us: int) -> None:
        self._start_us = start_us
        self._uuids: set[str] = set()
        self._parts = Parts()
        self._containers: dict[str, InContainer] = {}
        self._pids: set[int] = set()

    def scenario(self, document: Field) -> Scenario:
        fields = document.object(["gpus"], ["description", "start", "pods", "workloads", "faults"])
        if "start" in fields:
            self._start_us = self._instant(fields["start"])
        bare = [self._gpu(field, i) for i, field in enumerate(_items(fields, "gpus"))]
        pods = tuple(self._pod(field) for field in _items(fields, "pods"))
        loads = [self._workload(field, i) for i, field in enumerate(_items(fields, "workloads"))]
        faults = [self._fault(field) for field in _items(fields, "faults")]
        if not bare:
            document.wrong("there is no GPU")
        gpus = tuple(_with_loads(gpu, loads, faults) for gpu in bare)
        for i, gpu in enumerate(gpus):
            _check_capacity(gpu, Field(None, f"gpus[{i}]", document.mistakes))
        return Scenario(gpus, pods, tuple(load for load, _ in loads))

    def _gpu(self, field: Field, index: int) -> Gpu:
        required = ["uuid", "model", "idle_watts", "max_watts", "memory_gib"]
        optional = ["slices", "mig", "replicas", "mps", *_FLAGS]
        fields = field.object(required, optional)
        uuid = self._new_uuid(fields["uuid"]) if "uuid" in fields else "?"
        idle, maximum = (_watts(fields, name) for name in ("idle_watts", "max_watts"))
        if idle > maximum:
            field.wrong("`max_watts` is lower than `idle_watts`")
        model = fields["model"].text() if "model" in fields else "?"
        gpu = Gpu(
            DeviceInfo(uuid, index, model, minor=index),
            idle,
            maximum,
            _memory(fields),
            replicas=read_replicas(fields.get("replicas")),
            mps="mps" in fields and fields["mps"].flag(),
            sample_buffer=_flag(fields, "sample_buffer"),
            process_utilization=_flag(fields, "process_utilization"),
            energy_counter=_flag(fields, "energy_counter"),
            gpm=_flag(fields, "gpm"),
        )
        if "slices" in fields and "mig" not in fields:
            field.wrong("`slices` is for a GPU with `mig`")
        gpu = _partitioned(gpu, fields, field) if "mig" in fields else gpu
        self._parts.add(gpu)
        return gpu

    def _new_uuid(self, field: Field) -> str:
        uuid = field.text()
        if not _GPU_UUID.fullmatch(uuid):
            field.wrong(f"{uuid!r} does not look like GPU-xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx (lower-case hex digits)")
        if uuid in self._uuids:
            field.wrong(f"{uuid} stands twice")
        self._uuids.add(uuid)
        return uuid

    def _pod(self, field: Field) -> Pod:
        optional = ["uid", "labels", "annotations", "owners", "fails", "when"]
        fields = field.object(["namespace", "name", "containers"], optional)
        namespace, name = (fields[key].text() if key in fields else "?" for key in ("namespace", "name"))
        present = self._when(fields.get("when"))
        uid = fields["uid"].text() if "uid" in fields else ""
        if uid and present.repeats:
            fields["uid"].wrong("a pod that comes back has a new UID each time: leave `uid` out")
        containers = tuple(self._container(each, present) for each in _items(fields, "containers"))
        owners = tuple(_owner(each) for each in _items(fields, "owners"))
        fails = fields["fails"].text() if "fails" in fields else ""
        labels, annotations = _texts(fields, "labels"), _texts(fields, "annotations")
        pod = Pod(namespace, name, containers, present, uid, labels, annotations, owners, fails)
        for container in containers:
            place = f"{namespace}/{name}/{container.name}"
            if place in self._containers:
                field.wrong(f"{place} stands twice")
            self._containers[place] = InContainer(pod, container.name)
        return pod

    def _container(self, field: Field, present: Pattern) -> Container:
        fields = field.object(["name"], ["gpus"])
        name = fields["name"].text() if "name" in fields else "?"
        held = [device_id for each in _items(fields, "gpus") for device_id in self._parts.held(each, present)]
        return Container(name, _distinct(held, fields))

    def _workload(self, field: Field, position: int) -> tuple[Workload, tuple[str, ...]]:
        optional = ["container", "host", "pid", "memory_gib", "busy_percent", "command", "when"]
        fields = field.object(["gpus"], optional)
        place = self._place(field, fields)
        present = self._when(fields.get("when"))
        if isinstance(place, InContainer):
            present = present.times(place.pod.present)
        busy = self._busy(fields["busy_percent"]) if "busy_percent" in fields else constant(0)
        pid = self._pid(fields.get("pid"), field, position)
        command = fields["command"].text() if "command" in fields else ""
        load = Workload(pid, place, busy.times(present), present, _memory(fields), command)
        on = _distinct([self._parts.on(each) for each in _items(fields, "gpus")], fields)
        if len(on) > 1 and any(uuid.startswith("MIG-") for uuid in on):
            fields["gpus"].wrong("a process runs on one MIG device and on nothing else")
        return load, on

    def _place(self, field: Field, fields: dict[str, Field]) -> InContainer | OnHost:
        if ("container" in fields) == ("host" in fields):
            field.wrong("should have either `container` or `host`")
        elif "container" in fields:
            name = fields["container"].text()
            if name in self._containers:
                return self._containers[name]
            fields["container"].wrong(f"there is no container {name!r}; it is written namespace/pod/container")
        else:
            host = fields["host"].object(["user"], ["unit"])
            unit = host["unit"].text() if "unit" in host else ""
            return OnHost(host["user"].text() if "user" in host else "?", unit)
        return OnHost("?")

    def _pid(self, given: Field | None, field: Field, position: int) -> int:
        pid = given.whole(2, _MAX_PID) if given else _FIRST_PID + position
        if pid in self._pids:
            (given or field).wrong(f"pid {pid} stands twice")
        self._pids.add(pid)
        return pid

    def _fault(self, field: Field) -> tuple[Fault, tuple[str, ...]]:
        fields = field.object(["kind", "gpus", "when"])
        kind = fields["kind"].text() if "kind" in fields else FaultKind.LOST
        if kind not in set(FaultKind):
            fields["kind"].wrong(f"{kind!r} is none of {', '.join(FaultKind)}")
            kind = FaultKind.LOST
        gpus = [self._parts.gpu(each) for each in _items(fields, "gpus")]
        uuids = _distinct([gpu.info.uuid for gpu in gpus if gpu], fields)
        return Fault(FaultKind(kind), self._when(fields.get("when"))), uuids

    def _when(self, field: Field | None) -> Pattern:
        """1 while something is there, 0 otherwise; without a schedule it always is."""
        if field is None:
            return constant(1)
        fields = field.object((), ["from", "until", "hours"])
        from_us = self._instant(fields["from"]) if "from" in fields else 0
        until_us = self._instant(fields["until"]) if "until" in fields else FOREVER_US
        if until_us <= from_us:
            field.wrong("`until` is not after `from`")
        pattern = constant(1)
        if "hours" in fields:
            texts = [each.text() for each in fields["hours"].items()]
            pattern = _read(fields["hours"], lambda: hours(texts), constant(1))
        return replace(pattern, from_us=from_us, until_us=until_us)

    def _instant(self, field: Field) -> int:
        text = field.text()
        return _read(field, lambda: instant(text, self._start_us), self._start_us)

    def _busy(self, field: Field) -> Pattern:
        """A percentage: one number, weekly steps, or a cycle."""
        if not isinstance(field.value, dict):
            return constant(field.whole(0, 100))
        if "every" not in field.value:
            return _read(field, lambda: weekly_steps(_percents(field)), constant(0))
        fields = field.object(["every", "steps"])
        if "steps" not in fields:
            return constant(0)
        return _read(field, lambda: cycle_steps(fields["every"].text(), _percents(fields["steps"])), constant(0))


def _read(field: Field, read: Callable[[], T], otherwise: T) -> T:
    """What a schedule text says; a ScheduleError becomes a mistake at its place."""
    try:
        return read()
    except ScheduleError as error:
        field.wrong(str(error))
        return otherwise


def _with_loads(
    gpu: Gpu, loads: Sequence[tuple[Workload, tuple[str, ...]]], faults: Sequence[tuple[Fault, tuple[str, ...]]]
) -> Gpu:
    """The GPU with what happens on it, and on its MIG devices."""

    def on(uuid: str) -> tuple[Workload, ...]:
        return tuple(load for load, uuids in loads if uuid in uuids)

    return replace(
        gpu,
        workloads=on(gpu.info.uuid),
        instances=tuple(replace(each, workloads=on(each.info.uuid)) for each in gpu.instances),
        faults=tuple(fault for fault, uuids in faults if gpu.info.uuid in uuids),
    )


def _partitioned(gpu: Gpu, fields: dict[str, Field], field: Field) -> Gpu:
    slices = fields["slices"].whole(1, _MOST_SLICES) if "slices" in fields else _MOST_SLICES
    instances = read_instances(fields["mig"], gpu.info.uuid, slices, gpu.memory_bytes)
    if gpu.replicas:
        field.wrong("`replicas` of a partitioned GPU stand with its MIG devices")
    if gpu.mps:
        field.wrong("`mps` on a partitioned GPU is not simulated")
    infos = tuple(each.info for each in instances)
    return replace(gpu, info=replace(gpu.info, mig_enabled=True, slices=slices, instances=infos), instances=instances)


def _distinct(found: list[str], fields: dict[str, Field]) -> tuple[str, ...]:
    """The GPUs of a list, which has at least one and none twice."""
    if "gpus" in fields and fields["gpus"].value == []:
        fields["gpus"].wrong("names no GPU")
    if len(set(found)) != len(found):
        fields["gpus"].wrong("a GPU stands twice")
    return tuple(found)


def _owner(field: Field) -> OwnerObject:
    fields = field.object(["api", "kind", "name"], ["labels", "annotations"])
    api, kind, name = (fields[key].text() if key in fields else "?" for key in ("api", "kind", "name"))
    return OwnerObject(api, kind, name, _texts(fields, "labels"), _texts(fields, "annotations"))


def _texts(fields: dict[str, Field], name: str) -> tuple[tuple[str, str], ...]:
    return tuple((key, each.text()) for key, each in fields[name].entries()) if name in fields else ()


def _items(fields: dict[str, Field], name: str) -> list[Field]:
    return fields[name].items() if name in fields else []


def _flag(fields: dict[str, Field], name: str) -> bool:
    """A switch of a GPU: on, unless the file says otherwise."""
    return name not in fields or fields[name].flag()


def _percents(field: Field) -> dict[str, int]:
    return {name: each.whole(0, 100) for name, each in field.entries()}


def _watts(fields: dict[str, Field], name: str) -> int:
    """Milliwatts of a field in watts."""
    return round(fields[name].number(0, _MAX_WATTS) * 1000) if name in fields else 0


def _memory(fields: dict[str, Field]) -> int:
    """Bytes of the field `memory_gib`."""
    return round(fields["memory_gib"].number(0, _MAX_GIB) * _GIB) if "memory_gib" in fields else 0


def _check_capacity(gpu: Gpu, field: Field) -> None:
    """Neither a GPU nor a MIG device can be more than fully busy, nor hold more memory than it has."""
    _check_loads(gpu, field)
    for number, instance in enumerate(gpu.instances):
        _check_loads(instance, Field(None, f"{field.where}.mig[{number}]", field.mistakes))


def _check_loads(part: Gpu | Instance, field: Field) -> None:
    percent, us = peak([load.busy for load in part.workloads])
    if percent > 100:
        field.wrong(f"its workloads ask for {percent} % at {_moment(us)}")
    held, us = peak([load.present.scaled(load.memory_bytes) for load in part.workloads])
    if held > part.memory_bytes:
        had = f"{part.memory_bytes / _GIB:g} GiB"
        field.wrong(f"its workloads hold {held / _GIB:g} GiB at {_moment(us)}, it has {had}")


def _moment(us: int) -> str:
    """An instant for people; only the weekday where it comes back each week from the beginning of time on."""
    return from_us(us).strftime("%a %H:%M:%S UTC" if us < 2 * WEEK_US else "%Y-%m-%d %H:%M:%S UTC")
