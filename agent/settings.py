"""Every setting of the agent: its name, how it is read, its unit, its default, and why it is there.

A flag is the field's name with dashes (without the unit), its variable is `GPUTALLY_` and the name in capitals.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from gputally.agent.quantity import Address, address, duration_us, listen_address, size_bytes

ENV_PREFIX = "GPUTALLY_"
KUBELET_SOCKET = Path("/var/lib/kubelet/pod-resources/kubelet.sock")
_MINUTE_US = 60_000_000
_SHORTEST_US = 50_000
_SHORTEST_REFRESH_US = 500_000


class Nvml(StrEnum):
    """Where GPUs come from. Nothing is ever simulated unless asked."""

    REAL = "real"
    SIMULATED = "simulated"


class Format(StrEnum):
    """How --once prints."""

    TABLE = "table"
    JSON = "json"


def yes_or_no(text: str) -> bool:
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off"):
        return False
    raise ValueError(f"{text!r} is neither yes nor no")


def _name(text: str) -> str:
    if not text.isprintable() or len(text.split()) != 1 or len(text) > 253:
        raise ValueError(f"{text!r} is not a name: no spaces, at most 253 characters")
    return text


def _one_of(choices: type[StrEnum]) -> Callable[[str], StrEnum]:
    def read(text: str) -> StrEnum:
        if text not in list(choices):
            raise ValueError(f"{text!r} is not one of {', '.join(choices)}")
        return choices(text)

    return read


def _existing_file(text: str) -> Path:
    try:
        there = Path(text).is_file()
    except OSError as error:  # such as a folder that this user may not enter
        raise ValueError(f"{text} cannot be looked at: {error.strerror}") from error
    if not there:
        raise ValueError(f"there is no file {text}")
    return Path(text)


def _socket(text: str) -> Path | str:
    if text in ("off", "scenario"):
        return text
    if not text.startswith("/"):
        raise ValueError(f"{text!r} is neither an absolute path nor off")
    return Path(text)


def _interval(text: str) -> int:
    us = duration_us(text)
    if us < _SHORTEST_US:
        raise ValueError(f"{text!r} is shorter than 50ms, which would load the driver")
    return us


def _refresh(text: str) -> int:
    us = duration_us(f"{text}s" if text[-1:].isdecimal() else text)
    if us < _SHORTEST_REFRESH_US:
        raise ValueError(f"{text!r} is shorter than 500ms: each look asks for every process, which loads the driver")
    return us


def _window(text: str) -> int:
    us = duration_us(text)
    if us < 1_000_000 or _MINUTE_US % us:
        raise ValueError(f"{text!r} does not divide 60s into equal parts of at least 1s; such as 60s, 30s or 10s")
    return us


def _setting(
    metavar: str,
    read: Callable[[str], Any],
    reason: str,
    default: str = "",
    unit: str = "",
    shown: str = "",
    alone: str = "",
) -> dict[str, Any]:
    """A setting: what its value looks like, how it is read, why it exists, its default (as text), its unit.

    `shown` says the default in words where it depends on the machine or on other settings; `alone` is what the flag
    means without a value, empty where it needs one.
    """
    told = {"metavar": metavar, "read": read, "reason": reason, "default": default, "unit": unit, "shown": shown}
    return {**told, "alone": alone if metavar else "yes"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set. Durations are microseconds, sizes are bytes; None is 'not set' or 'off'."""

    collector: Address | None = field(
        metadata=_setting(
            "HOST:PORT", address, "where windows are sent; without it they stay in the spool", shown="none"
        )
    )
    insecure_plaintext: bool = field(
        metadata=_setting(
            "", yes_or_no, "send to a collector on another machine although the connection is not encrypted", "no"
        )
    )
    collector_ca_file: Path | None = field(
        metadata=_setting(
            "FILE",
            _existing_file,
            "proves who the collector is, and encrypts; read again at each connection",
            shown="none",
        )
    )
    collector_token_file: Path | None = field(
        metadata=_setting(
            "FILE",
            _existing_file,
            "proves to the collector which node this is: the pod's projected token, read again",
            shown="none",
        )
    )
    tls_cert_file: Path | None = field(
        metadata=_setting(
            "FILE",
            _existing_file,
            "proves to the collector which node this is: a certificate that names it",
            shown="none",
        )
    )
    tls_key_file: Path | None = field(
        metadata=_setting("FILE", _existing_file, "the key of --tls-cert-file", shown="none")
    )
    node: str = field(
        metadata=_setting("NAME", _name, "this node's name; in a DaemonSet from spec.nodeName", shown="must be set")
    )
    cluster: str = field(
        metadata=_setting("NAME", _name, "the cluster's name: a node is known by both", shown="must be set")
    )
    nvml: Nvml = field(metadata=_setting("real|simulated", _one_of(Nvml), "where GPUs come from", "real"))
    scenario: Path | None = field(
        metadata=_setting("FILE", _existing_file, "what simulated GPUs and pods do", shown="none")
    )
    spool_dir: Path = field(
        metadata=_setting(
            "DIR",
            Path,
            "windows wait here until the collector has committed them; one directory an agent",
            shown="/var/lib/gputally for root, else ~/.local/state/gputally/agent",
        )
    )
    spool_max_bytes: int = field(
        metadata=_setting(
            "SIZE",
            size_bytes,
            "what waits beyond this is refused and counted; eight busy GPUs fill 2 to 3 MiB a day",
            "256MiB",
            "B",
        )
    )
    spool_max_age_us: int = field(
        metadata=_setting(
            "DURATION",
            duration_us,
            "older windows are dropped and counted: the collector takes only so late",
            "7d",
            "µs",
        )
    )
    proc_root: Path = field(metadata=_setting("DIR", Path, "the host's /proc, where it is mounted elsewhere", "/proc"))
    pod_resources_socket: Path | Literal["off", "scenario"] = field(
        metadata=_setting(
            "PATH|off",
            _socket,
            "the kubelet's list of who holds which GPU; off: a node without Kubernetes",
            shown=f"{KUBELET_SOCKET}; the scenario's own with --nvml simulated; off where Slurm's are read",
        )
    )
    slurm_jobs: Path | None = field(
        metadata=_setting(
            "DIR",
            Path,
            "a machine of Slurm's instead of Kubernetes': where its Prolog writes who holds which GPU",
            shown="none",
        )
    )
    kube_api: str | None = field(
        metadata=_setting(
            "URL|in-cluster|off",
            str,
            "names the pods of this node; without it the agent counts all the same",
            shown="in-cluster inside a cluster, else off",
        )
    )
    kube_token_file: Path | None = field(
        metadata=_setting(
            "FILE",
            _existing_file,
            "proves who asks the API; read again for each request",
            shown="in-cluster: the pod's own",
        )
    )
    kube_ca_file: Path | None = field(
        metadata=_setting("FILE", _existing_file, "proves who answers for the API", shown="in-cluster: the pod's own")
    )
    http_listen: Address = field(
        metadata=_setting(
            "ADDR",
            listen_address,
            "/metrics, /healthz, /readyz; on every interface, because Prometheus and the kubelet ask from elsewhere",
            "0.0.0.0:9855",
        )
    )
    dcgm_names: bool = field(
        metadata=_setting(
            "",
            yes_or_no,
            "show the values that DCGM has a name for under that name too, so that its dashboards go on working",
            "no",
        )
    )
    sample_interval_us: int = field(
        metadata=_setting("DURATION", _interval, "how often the cheap values are read", "1s", "µs")
    )
    process_interval_us: int = field(
        metadata=_setting(
            "DURATION", _interval, "how often processes are read, which takes the driver's locks", "5s", "µs"
        )
    )
    reservation_interval_us: int = field(
        metadata=_setting(
            "DURATION", _interval, "how often the kubelet is asked: reservations are known to within this", "10s", "µs"
        )
    )
    window_us: int = field(
        metadata=_setting("DURATION", _window, "how much time one window holds; must divide 60s", "60s", "µs")
    )
    once: bool = field(metadata=_setting("", yes_or_no, "print one look at this node, and end", "no"))
    watch_us: int | None = field(
        metadata=_setting(
            "[SECONDS]",
            _refresh,
            "look at this node again and again until Ctrl-C, each time after so long, 2 s where no time is given",
            unit="µs",
            shown="off",
            alone="2s",
        )
    )
    format: Format = field(metadata=_setting("table|json", _one_of(Format), "how --once prints", "table"))


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as people see it. `default` is text; `unit` that of the value in the program.

    `alone` is what the flag means without a value; empty: it needs one.
    """

    field: str
    flag: str
    variable: str
    metavar: str
    default: str
    unit: str
    reason: str
    alone: str


def described() -> tuple[Setting, ...]:
    """Every setting, in the order of --help: what the documentation is made of."""
    return tuple(_described(each) for each in dataclasses.fields(Settings))


def _described(each: "dataclasses.Field[Any]") -> Setting:
    name = each.name.removesuffix("_us")
    meta = each.metadata
    variable = ENV_PREFIX + name.upper()
    default = meta["shown"] or meta["default"]
    flag = "--" + name.replace("_", "-")
    return Setting(each.name, flag, variable, meta["metavar"], default, meta["unit"], meta["reason"], meta["alone"])
