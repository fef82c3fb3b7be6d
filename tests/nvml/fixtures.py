"""Fixtures that run the real `Nvml` on the test library: a plugin, named by the test modules that want them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.nvml.driver import NvmlInChild
from tests.nvml.library import NvmlScenario, build, skip_reason
from tests.nvml.scenarios import NOW, Play


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[tuple[str, ...]], Path]:
    """The library without some symbols, compiled once each."""
    if skip_reason():
        pytest.skip(skip_reason())
    folders: dict[tuple[str, ...], Path] = {}

    def folder(without: tuple[str, ...]) -> Path:
        if without not in folders:
            folders[without] = build(tmp_path_factory.mktemp("nvml"), without)
        return folders[without]

    return folder


@pytest.fixture
def start(built: Callable[[tuple[str, ...]], Path], tmp_path: Path) -> Iterator[Play]:
    """A driver that is not opened yet."""
    drivers: list[NvmlInChild] = []

    def starter(scenario: NvmlScenario, without: tuple[str, ...] = ()) -> NvmlInChild:
        drivers.append(NvmlInChild(built(without), tmp_path, scenario, NOW))
        return drivers[-1]

    yield starter
    for driver in drivers:
        driver.remote.close()


@pytest.fixture
def play(start: Play) -> Play:
    """A driver that was opened and has enumerated its devices."""

    def player(scenario: NvmlScenario, without: tuple[str, ...] = ()) -> NvmlInChild:
        driver = start(scenario, without)
        driver.open()
        driver.devices()
        return driver

    return player
