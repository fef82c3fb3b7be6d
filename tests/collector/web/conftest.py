"""One fleet for all tests of the pages: they only read."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from sqlalchemy import Engine
from tests.collector.web.fixtures import READERS, fill, pages

from gputally.collector.database.engine import open_database
from gputally.collector.database.migrate import migrate


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A database that holds the fleet."""
    folder: Path = tmp_path_factory.mktemp("pages")
    engine = open_database(f"sqlite:///{folder / 'gputally.sqlite'}")
    migrate(engine)
    fill(engine)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def app(filled: Engine) -> Iterator[FastAPI]:
    """Its pages, for whoever asks."""
    with pages(filled) as found:
        yield found


@pytest.fixture(scope="session")
def guarded(filled: Engine) -> Iterator[FastAPI]:
    """Its pages, for readers with tokens."""
    with pages(filled, READERS) as found:
        yield found
