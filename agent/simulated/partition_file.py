"""The parts of GPUs in a scenario file: MIG devices and replicas, and how containers and workloads name them."""

import re
import uuid
from collections import defaultdict

from gputally.agent.sample import MigInstance
from gputally.agent.simulated.json_field import Field
from gputally.agent.simulated.pattern import Pattern, peak
from gputally.agent.simulated.scenario import Gpu, Instance, replica_id

_GIB = 2**30
_MIG_SPACE = uuid.UUID("2b8f4e0a-93c7-5d16-8a41-c07d5e3f9b62")  # any fixed value: UUIDs are derived, never drawn
_PROFILE = re.compile(r"(\d)g\.(\d{1,3})gb(\+me)?")
MAX_REPLICAS = 128


class Parts:
    """The GPUs of a file, in its order; replicas are given out for as long as a pod exists, the lowest first."""

    def __init__(self) -> None:
        self._gpus: list[Gpu] = []
        self._taken: dict[str, list[Pattern]] = defaultdict(list)  # by replica: when it is held

    def add(self, gpu: Gpu) -> None:
        """A GPU that things below it in the file may name."""
        self._gpus.append(gpu)

    def gpu(self, field: Field) -> Gpu | None:
        """A GPU named by its UUID, or by its place in the file."""
        if isinstance(field.value, int) and not isinstance(field.value, bool):
            if 0 <= field.value < len(self._gpus):
                return self._gpus[field.value]
        elif found := next((gpu for gpu in self._gpus if gpu.info.uuid == field.value), None):
            return found
        field.wrong(f"there is no GPU {field.value!r}; the file has {len(self._gpus)}, counted from 0")
        return None

    def on(self, field: Field) -> str:
        """The UUID of the GPU or MIG device on which a workload runs: 0, or {"gpu": 3, "mig": 0}."""
        part = self._part(field, ["mig"])
        return _uuid(part) if part else _nothing(field)

    def held(self, field: Field, present: Pattern) -> list[str]:
        """What a container holds, as the kubelet lists it: 0, {"gpu": 3, "mig": 0} or {"gpu": 2, "replicas": 1}."""
        part = self._part(field, ["mig", "replicas"])
        if part is None:
            return [_nothing(field)]
        asked = field.value.get("replicas") if isinstance(field.value, dict) else None
        if not part.replicas and asked is not None:
            field.wrong("is not divided into replicas")
        elif part.replicas and asked is None:
            field.wrong(f"is divided into {part.replicas} replicas: say how many, as {_example(field, 'replicas', 1)}")
        elif part.replicas:
            count = Field(asked, f"{field.where}.replicas", field.mistakes).whole(1, part.replicas)
            return self._give(part, count, present, field)
        return [_uuid(part)]

    def _part(self, field: Field, optional: list[str]) -> Gpu | Instance | None:
        if not isinstance(field.value, dict):
            gpu, place = self.gpu(field), None
        else:
            fields = field.object(["gpu"], optional)
            gpu, place = self.gpu(fields["gpu"]) if "gpu" in fields else None, fields.get("mig")
        if gpu is None:
            return None
        if place is not None:
            return _instance(gpu, place)
        if gpu.instances:
            field.wrong(f"is partitioned: say which of its MIG devices, as {_example(field, 'mig', 0)}")
            return None
        return gpu

    def _give(self, part: Gpu | Instance, count: int, present: Pattern, field: Field) -> list[str]:
        ids = [replica_id(_uuid(part), number) for number in range(part.replicas)]
        free = [each for each in ids if all(peak([present, other])[0] < 2 for other in self._taken[each])]
        if len(free) < count:
            field.wrong(f"of its {part.replicas} replicas {len(free)} are free whenever the pod exists, not {count}")
        for each in free[:count]:
            self._taken[each].append(present)
        return free[:count]


def read_instances(field: Field, gpu_uuid: str, slices: int, memory_bytes: int) -> tuple[Instance, ...]:
    """The MIG devices of a GPU: "3g.40gb", or {"profile": "3g.40gb", "replicas": 2}. Their UUIDs are derived."""
    found = tuple(_read_instance(each, gpu_uuid, number) for number, each in enumerate(field.items()))
    if field.value == []:
        field.wrong("names no MIG device")
    used = sum(each.info.slices or 0 for each in found)
    if used > slices:
        field.wrong(f"its MIG devices have {used} compute slices, the GPU has {slices}")
    if sum(each.memory_bytes for each in found) > memory_bytes:
        field.wrong("its MIG devices have more memory than the GPU")
    return found


def read_replicas(field: Field | None) -> int:
    """Into how many replicas something is divided; 0 where it is not."""
    return field.whole(2, MAX_REPLICAS) if field else 0


def _read_instance(field: Field, gpu_uuid: str, number: int) -> Instance:
    fields = field.object(["profile"], ["replicas"]) if isinstance(field.value, dict) else {"profile": field}
    profile = fields["profile"].text() if "profile" in fields else "?"
    match = _PROFILE.fullmatch(profile)
    if match is None and "profile" in fields:
        fields["profile"].wrong(f"{profile!r} is not a profile such as 1g.10gb or 3g.40gb")
    slices, gib = (int(match[1]), int(match[2])) if match else (0, 0)
    name = f"MIG-{uuid.uuid5(_MIG_SPACE, f'{gpu_uuid}/{number}')}"
    info = MigInstance(name, number + 1, 0, slices, profile)
    return Instance(info, gib * _GIB, replicas=read_replicas(fields.get("replicas")))


def _instance(gpu: Gpu, place: Field) -> Instance | None:
    number = place.value
    if isinstance(number, int) and not isinstance(number, bool) and 0 <= number < len(gpu.instances):
        return gpu.instances[number]
    place.wrong(f"there is no MIG device {number!r}; the GPU has {len(gpu.instances)}, counted from 0")
    return None


def _uuid(part: Gpu | Instance) -> str:
    return part.info.uuid


def _nothing(field: Field) -> str:
    return f"? {field.where}"


def _example(field: Field, name: str, number: int) -> str:
    gpu = field.value.get("gpu") if isinstance(field.value, dict) else field.value
    return f'{{"gpu": {gpu if isinstance(gpu, int) else f"{gpu!r}"}, "{name}": {number}}}'
