"""Read what people write in settings: durations, sizes, addresses. Each raises ValueError with one clear sentence."""

import ipaddress
import re
from dataclasses import dataclass
from fractions import Fraction

_DURATION_US = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
}
_SIZE = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "kB": 10**3, "MB": 10**6, "GB": 10**9}
_NUMBER_AND_UNIT = re.compile(r"([0-9]+(?:\.[0-9]+)?)([A-Za-z]*)")


@dataclass(frozen=True, slots=True)
class Address:
    """A host (name, IPv4 or IPv6, without brackets) and a TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether what is sent there cannot leave this machine."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def duration_us(text: str) -> int:
    """'500ms', '1s', '1.5m', '7d' as microseconds; more than 0."""
    match = _NUMBER_AND_UNIT.fullmatch(text)
    if not match or match[2] not in _DURATION_US:
        raise ValueError(f"{text!r} is not a duration; write a number and a unit, such as 500ms, 10s, 1m or 7d")
    duration = Fraction(match[1]) * _DURATION_US[match[2]]
    if duration <= 0 or duration.denominator != 1:
        raise ValueError(f"{text!r} is not a whole number of microseconds above 0")
    return int(duration)


def size_bytes(text: str) -> int:
    """'256MiB', '1GiB', '500MB', '1048576' as bytes; more than 0."""
    match = _NUMBER_AND_UNIT.fullmatch(text)
    if not match or match[2] not in _SIZE:
        raise ValueError(f"{text!r} is not a size; write a number and a unit, such as 64MiB or 1GiB")
    size = Fraction(match[1]) * _SIZE[match[2]]
    if size <= 0 or size.denominator != 1:
        raise ValueError(f"{text!r} is not a whole number of bytes above 0")
    return int(size)


def address(text: str) -> Address:
    """Where to connect: 'collector:9856', '10.0.0.1:9856', '[::1]:9856'."""
    found = _host_and_port(text)
    if not found.host or not found.port:
        raise ValueError(f"{text!r} is not HOST:PORT")
    return found


def listen_address(text: str) -> Address:
    """Where to listen: as `address`; ':9855' is every interface, and port 0 one that the system chooses."""
    found = _host_and_port(text)
    return Address(found.host or "::", found.port)


def _host_and_port(text: str) -> Address:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{text!r} is not HOST:PORT")
    if host.startswith("[") and host.endswith("]"):
        return Address(str(ipaddress.IPv6Address(host[1:-1])), int(port))
    if ":" in host or "/" in host:
        raise ValueError(f"{text!r} is not HOST:PORT (no scheme; an IPv6 address stands in brackets)")
    return Address(host, int(port))
