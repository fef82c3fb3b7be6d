from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Basis(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BASIS_NONE: _ClassVar[Basis]
    BASIS_RESERVATION: _ClassVar[Basis]
    BASIS_PROCESS: _ClassVar[Basis]

class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REASON_NONE: _ClassVar[Reason]
    REASON_NO_SAMPLE: _ClassVar[Reason]
    REASON_NO_UTILISATION: _ClassVar[Reason]
    REASON_INVALID_READING: _ClassVar[Reason]
    REASON_UNATTRIBUTED: _ClassVar[Reason]
    REASON_TWO_HOLDERS: _ClassVar[Reason]
    REASON_MIG_REMAINDER: _ClassVar[Reason]
    REASON_CLAIM_UNUSED: _ClassVar[Reason]

class Source(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SOURCE_NONE: _ClassVar[Source]
    SOURCE_DEVICE_SAMPLES: _ClassVar[Source]
    SOURCE_DEVICE_RATE: _ClassVar[Source]
    SOURCE_PROCESS_SAMPLES: _ClassVar[Source]
    SOURCE_GPM: _ClassVar[Source]
    SOURCE_ESTIMATED_SHARE: _ClassVar[Source]
BASIS_NONE: Basis
BASIS_RESERVATION: Basis
BASIS_PROCESS: Basis
REASON_NONE: Reason
REASON_NO_SAMPLE: Reason
REASON_NO_UTILISATION: Reason
REASON_INVALID_READING: Reason
REASON_UNATTRIBUTED: Reason
REASON_TWO_HOLDERS: Reason
REASON_MIG_REMAINDER: Reason
REASON_CLAIM_UNUSED: Reason
SOURCE_NONE: Source
SOURCE_DEVICE_SAMPLES: Source
SOURCE_DEVICE_RATE: Source
SOURCE_PROCESS_SAMPLES: Source
SOURCE_GPM: Source
SOURCE_ESTIMATED_SHARE: Source

class Batch(_message.Message):
    __slots__ = ("sent_at_us", "windows", "spool")
    SENT_AT_US_FIELD_NUMBER: _ClassVar[int]
    WINDOWS_FIELD_NUMBER: _ClassVar[int]
    SPOOL_FIELD_NUMBER: _ClassVar[int]
    sent_at_us: int
    windows: _containers.RepeatedCompositeFieldContainer[Window]
    spool: SpoolReport
    def __init__(self, sent_at_us: _Optional[int] = ..., windows: _Optional[_Iterable[_Union[Window, _Mapping]]] = ..., spool: _Optional[_Union[SpoolReport, _Mapping]] = ...) -> None: ...

class SpoolReport(_message.Message):
    __slots__ = ("refused_windows", "refused_us", "waiting_windows", "oldest_us")
    REFUSED_WINDOWS_FIELD_NUMBER: _ClassVar[int]
    REFUSED_US_FIELD_NUMBER: _ClassVar[int]
    WAITING_WINDOWS_FIELD_NUMBER: _ClassVar[int]
    OLDEST_US_FIELD_NUMBER: _ClassVar[int]
    refused_windows: int
    refused_us: int
    waiting_windows: int
    oldest_us: int
    def __init__(self, refused_windows: _Optional[int] = ..., refused_us: _Optional[int] = ..., waiting_windows: _Optional[int] = ..., oldest_us: _Optional[int] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("committed_through", "refusals")
    COMMITTED_THROUGH_FIELD_NUMBER: _ClassVar[int]
    REFUSALS_FIELD_NUMBER: _ClassVar[int]
    committed_through: int
    refusals: _containers.RepeatedCompositeFieldContainer[Refusal]
    def __init__(self, committed_through: _Optional[int] = ..., refusals: _Optional[_Iterable[_Union[Refusal, _Mapping]]] = ...) -> None: ...

class Refusal(_message.Message):
    __slots__ = ("sequence", "reason", "detail")
    class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        REFUSAL_UNSPECIFIED: _ClassVar[Refusal.Reason]
        REFUSAL_INVALID: _ClassVar[Refusal.Reason]
        REFUSAL_CONFLICT: _ClassVar[Refusal.Reason]
        REFUSAL_CLOCK: _ClassVar[Refusal.Reason]
        REFUSAL_TOO_OLD: _ClassVar[Refusal.Reason]
        REFUSAL_IDENTITY: _ClassVar[Refusal.Reason]
    REFUSAL_UNSPECIFIED: Refusal.Reason
    REFUSAL_INVALID: Refusal.Reason
    REFUSAL_CONFLICT: Refusal.Reason
    REFUSAL_CLOCK: Refusal.Reason
    REFUSAL_TOO_OLD: Refusal.Reason
    REFUSAL_IDENTITY: Refusal.Reason
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    reason: Refusal.Reason
    detail: str
    def __init__(self, sequence: _Optional[int] = ..., reason: _Optional[_Union[Refusal.Reason, str]] = ..., detail: _Optional[str] = ...) -> None: ...

class Window(_message.Message):
    __slots__ = ("agent_id", "boot_id", "sequence", "cluster", "node", "start_us", "end_us", "skipped_us", "waited_us", "devices", "owners", "partitions", "lines", "profiles")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    START_US_FIELD_NUMBER: _ClassVar[int]
    END_US_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_US_FIELD_NUMBER: _ClassVar[int]
    WAITED_US_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    OWNERS_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    LINES_FIELD_NUMBER: _ClassVar[int]
    PROFILES_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    boot_id: str
    sequence: int
    cluster: str
    node: str
    start_us: int
    end_us: int
    skipped_us: int
    waited_us: int
    devices: _containers.RepeatedCompositeFieldContainer[Device]
    owners: _containers.RepeatedCompositeFieldContainer[Owner]
    partitions: _containers.RepeatedScalarFieldContainer[str]
    lines: Lines
    profiles: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, agent_id: _Optional[str] = ..., boot_id: _Optional[str] = ..., sequence: _Optional[int] = ..., cluster: _Optional[str] = ..., node: _Optional[str] = ..., start_us: _Optional[int] = ..., end_us: _Optional[int] = ..., skipped_us: _Optional[int] = ..., waited_us: _Optional[int] = ..., devices: _Optional[_Iterable[_Union[Device, _Mapping]]] = ..., owners: _Optional[_Iterable[_Union[Owner, _Mapping]]] = ..., partitions: _Optional[_Iterable[str]] = ..., lines: _Optional[_Union[Lines, _Mapping]] = ..., profiles: _Optional[_Iterable[str]] = ...) -> None: ...

class Device(_message.Message):
    __slots__ = ("uuid", "model", "capacity_us", "energy_start_mj", "energy_end_mj", "energy_estimated", "energy_breaks", "energy_known", "idle_energy_known", "start_holders", "end_holders", "unavailable_at_end", "idle_power_mw", "ghost_memory_byte_s", "holders_stay", "model_stays")
    UUID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CAPACITY_US_FIELD_NUMBER: _ClassVar[int]
    ENERGY_START_MJ_FIELD_NUMBER: _ClassVar[int]
    ENERGY_END_MJ_FIELD_NUMBER: _ClassVar[int]
    ENERGY_ESTIMATED_FIELD_NUMBER: _ClassVar[int]
    ENERGY_BREAKS_FIELD_NUMBER: _ClassVar[int]
    ENERGY_KNOWN_FIELD_NUMBER: _ClassVar[int]
    IDLE_ENERGY_KNOWN_FIELD_NUMBER: _ClassVar[int]
    START_HOLDERS_FIELD_NUMBER: _ClassVar[int]
    END_HOLDERS_FIELD_NUMBER: _ClassVar[int]
    UNAVAILABLE_AT_END_FIELD_NUMBER: _ClassVar[int]
    IDLE_POWER_MW_FIELD_NUMBER: _ClassVar[int]
    GHOST_MEMORY_BYTE_S_FIELD_NUMBER: _ClassVar[int]
    HOLDERS_STAY_FIELD_NUMBER: _ClassVar[int]
    MODEL_STAYS_FIELD_NUMBER: _ClassVar[int]
    uuid: str
    model: str
    capacity_us: int
    energy_start_mj: int
    energy_end_mj: int
    energy_estimated: bool
    energy_breaks: int
    energy_known: bool
    idle_energy_known: bool
    start_holders: _containers.RepeatedCompositeFieldContainer[Holder]
    end_holders: _containers.RepeatedCompositeFieldContainer[Holder]
    unavailable_at_end: bool
    idle_power_mw: int
    ghost_memory_byte_s: int
    holders_stay: bool
    model_stays: bool
    def __init__(self, uuid: _Optional[str] = ..., model: _Optional[str] = ..., capacity_us: _Optional[int] = ..., energy_start_mj: _Optional[int] = ..., energy_end_mj: _Optional[int] = ..., energy_estimated: bool = ..., energy_breaks: _Optional[int] = ..., energy_known: bool = ..., idle_energy_known: bool = ..., start_holders: _Optional[_Iterable[_Union[Holder, _Mapping]]] = ..., end_holders: _Optional[_Iterable[_Union[Holder, _Mapping]]] = ..., unavailable_at_end: bool = ..., idle_power_mw: _Optional[int] = ..., ghost_memory_byte_s: _Optional[int] = ..., holders_stay: bool = ..., model_stays: bool = ...) -> None: ...

class Holder(_message.Message):
    __slots__ = ("owner", "partition", "share_numerator", "share_denominator")
    OWNER_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    SHARE_NUMERATOR_FIELD_NUMBER: _ClassVar[int]
    SHARE_DENOMINATOR_FIELD_NUMBER: _ClassVar[int]
    owner: int
    partition: int
    share_numerator: int
    share_denominator: int
    def __init__(self, owner: _Optional[int] = ..., partition: _Optional[int] = ..., share_numerator: _Optional[int] = ..., share_denominator: _Optional[int] = ...) -> None: ...

class Owner(_message.Message):
    __slots__ = ("kind", "namespace", "pod", "container", "pod_uid", "first_seen_us", "user", "unit", "pod_uid_bytes")
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    POD_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    POD_UID_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEEN_US_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    POD_UID_BYTES_FIELD_NUMBER: _ClassVar[int]
    kind: str
    namespace: str
    pod: str
    container: str
    pod_uid: str
    first_seen_us: int
    user: str
    unit: str
    pod_uid_bytes: bytes
    def __init__(self, kind: _Optional[str] = ..., namespace: _Optional[str] = ..., pod: _Optional[str] = ..., container: _Optional[str] = ..., pod_uid: _Optional[str] = ..., first_seen_us: _Optional[int] = ..., user: _Optional[str] = ..., unit: _Optional[str] = ..., pod_uid_bytes: _Optional[bytes] = ...) -> None: ...

class Lines(_message.Message):
    __slots__ = ("count", "device", "partition", "owner", "basis", "reason", "source", "used_us", "idle_us", "unallocated_us", "unavailable_us", "unobserved_us", "burst_us", "intruder_us", "held_us", "energy_idle_mj", "energy_dynamic_mj", "memory_byte_s_plus_one", "quality_us", "sm_us", "occupancy_us", "tensor_us", "dram_us", "energy_unknown")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    BASIS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    USED_US_FIELD_NUMBER: _ClassVar[int]
    IDLE_US_FIELD_NUMBER: _ClassVar[int]
    UNALLOCATED_US_FIELD_NUMBER: _ClassVar[int]
    UNAVAILABLE_US_FIELD_NUMBER: _ClassVar[int]
    UNOBSERVED_US_FIELD_NUMBER: _ClassVar[int]
    BURST_US_FIELD_NUMBER: _ClassVar[int]
    INTRUDER_US_FIELD_NUMBER: _ClassVar[int]
    HELD_US_FIELD_NUMBER: _ClassVar[int]
    ENERGY_IDLE_MJ_FIELD_NUMBER: _ClassVar[int]
    ENERGY_DYNAMIC_MJ_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTE_S_PLUS_ONE_FIELD_NUMBER: _ClassVar[int]
    QUALITY_US_FIELD_NUMBER: _ClassVar[int]
    SM_US_FIELD_NUMBER: _ClassVar[int]
    OCCUPANCY_US_FIELD_NUMBER: _ClassVar[int]
    TENSOR_US_FIELD_NUMBER: _ClassVar[int]
    DRAM_US_FIELD_NUMBER: _ClassVar[int]
    ENERGY_UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    count: int
    device: _containers.RepeatedScalarFieldContainer[int]
    partition: _containers.RepeatedScalarFieldContainer[int]
    owner: _containers.RepeatedScalarFieldContainer[int]
    basis: _containers.RepeatedScalarFieldContainer[Basis]
    reason: _containers.RepeatedScalarFieldContainer[Reason]
    source: _containers.RepeatedScalarFieldContainer[Source]
    used_us: _containers.RepeatedScalarFieldContainer[int]
    idle_us: _containers.RepeatedScalarFieldContainer[int]
    unallocated_us: _containers.RepeatedScalarFieldContainer[int]
    unavailable_us: _containers.RepeatedScalarFieldContainer[int]
    unobserved_us: _containers.RepeatedScalarFieldContainer[int]
    burst_us: _containers.RepeatedScalarFieldContainer[int]
    intruder_us: _containers.RepeatedScalarFieldContainer[int]
    held_us: _containers.RepeatedScalarFieldContainer[int]
    energy_idle_mj: _containers.RepeatedScalarFieldContainer[int]
    energy_dynamic_mj: _containers.RepeatedScalarFieldContainer[int]
    memory_byte_s_plus_one: _containers.RepeatedScalarFieldContainer[int]
    quality_us: _containers.RepeatedScalarFieldContainer[int]
    sm_us: _containers.RepeatedScalarFieldContainer[int]
    occupancy_us: _containers.RepeatedScalarFieldContainer[int]
    tensor_us: _containers.RepeatedScalarFieldContainer[int]
    dram_us: _containers.RepeatedScalarFieldContainer[int]
    energy_unknown: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, count: _Optional[int] = ..., device: _Optional[_Iterable[int]] = ..., partition: _Optional[_Iterable[int]] = ..., owner: _Optional[_Iterable[int]] = ..., basis: _Optional[_Iterable[_Union[Basis, str]]] = ..., reason: _Optional[_Iterable[_Union[Reason, str]]] = ..., source: _Optional[_Iterable[_Union[Source, str]]] = ..., used_us: _Optional[_Iterable[int]] = ..., idle_us: _Optional[_Iterable[int]] = ..., unallocated_us: _Optional[_Iterable[int]] = ..., unavailable_us: _Optional[_Iterable[int]] = ..., unobserved_us: _Optional[_Iterable[int]] = ..., burst_us: _Optional[_Iterable[int]] = ..., intruder_us: _Optional[_Iterable[int]] = ..., held_us: _Optional[_Iterable[int]] = ..., energy_idle_mj: _Optional[_Iterable[int]] = ..., energy_dynamic_mj: _Optional[_Iterable[int]] = ..., memory_byte_s_plus_one: _Optional[_Iterable[int]] = ..., quality_us: _Optional[_Iterable[int]] = ..., sm_us: _Optional[_Iterable[int]] = ..., occupancy_us: _Optional[_Iterable[int]] = ..., tensor_us: _Optional[_Iterable[int]] = ..., dram_us: _Optional[_Iterable[int]] = ..., energy_unknown: _Optional[_Iterable[int]] = ...) -> None: ...
