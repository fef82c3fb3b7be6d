"""Where the collector listens."""

from dataclasses import dataclass

_LOOPBACK = ("localhost", "::1")


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen. Port 0 asks the system for a free one."""

    host: str
    port: int

    @property
    def text(self) -> str:
        """HOST:PORT, with the brackets that an IPv6 host needs."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """True where only this machine can reach it."""
        return self.host in _LOOPBACK or self.host.startswith("127.")


def parse_address(text: object) -> Address:
    """HOST:PORT, [IPV6]:PORT or :PORT (every interface); raises ValueError that says what is expected."""
    if isinstance(text, Address):
        return text
    host, colon, port = str(text).rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535 or (":" in host and bare == host):
        raise ValueError("expected HOST:PORT, such as 127.0.0.1:9856 or [::1]:9856")
    return Address(bare or "::", int(port))
