"""What the figures belong to: the date, the machine, the versions, and how busy it was with other work."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

CORES = 2  # of any machine: what is measured, its client and its database share them
_NAMED = ("grpcio", "protobuf", "SQLAlchemy", "psycopg", "nvidia-ml-py", "fastapi")


def on_few_cores() -> None:
    """Keep this process and all that it starts on the same two cores, so that machines with many can be compared."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])


def heading() -> str:
    """Lines for the top of a page."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in _NAMED)
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {_commit()}, {machine()}\n"
        f"Python {platform.python_version()}, {versions}{_postgres()}\n"
        f"load average when it began: {os.getloadavg()[0]:.1f}\n"
    )


def machine() -> str:
    """The processor as the system names it, and how many there are."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    model = next((line.partition(": ")[2] for line in text.splitlines() if line.startswith("model name")), "")
    return (
        f"{os.cpu_count()} x {model or platform.machine()}, {platform.system()} {platform.release().partition('-')[0]}"
    )


def _commit() -> str:
    """Which state of the code it was, where this is a checkout and git is there."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "no checkout"


def _postgres() -> str:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return f", PostgreSQL {found[-1].parts[-3]}" if found else ""
