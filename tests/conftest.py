"""Fixtures that tests of several folders share, and how properties are tried."""

import gc
import os
import sys

import pytest
from hypothesis import HealthCheck, settings
from tests.databases import (
    database_kind,
    database_url,
    empty_database_url,
    engine,
    flush_nothing,
    migrated_file,
    postgres_server,
)

__all__ = ["database_kind", "database_url", "empty_database_url", "engine", "migrated_file", "postgres_server"]

# How long an example takes says how busy the machine is, and nothing of the rule; what hangs has the tests' own limit.
# The examples are the same in each run, so that a change is judged by what it changes. Who looks for others asks for
# them: pytest --hypothesis-profile=search
settings.register_profile("search", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("rules", settings.get_profile("search"), derandomize=True)
settings.load_profile("rules")


def pytest_configure() -> None:
    """Bytecode is kept, also where the environment says otherwise, as containers' do.

    Every process that a test starts would compile the product anew, and every worker all tests: a third of the work.
    """
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    flush_nothing()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What may take minutes begins first, where several run at a time: nobody waits for it alone at the end."""
    if hasattr(config, "workerinput"):
        items.sort(key=_longest_s, reverse=True)


def pytest_collection_finish() -> None:
    """Modules and tests stay to the end: to look through them for garbage again and again is a fifth of the work."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def _longest_s(item: pytest.Item) -> float:
    """How long a test may take that says it itself."""
    marker = item.get_closest_marker("timeout")
    return float(marker.args[0]) if marker else 0.0
