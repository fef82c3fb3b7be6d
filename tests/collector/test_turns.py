"""Whose turn it is: who waits longest goes first, and room for one costs one offer, however many wait."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from gputally.collector.ingest.turns import Turns


class Desk:
    """Has room for so many, and remembers who was offered and who was taken."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.offered: list[int] = []
        self.taken: list[int] = []

    def offer(self, who: int) -> bool:
        self.offered.append(who)
        if not self.room:
            return False
        self.room -= 1
        self.taken.append(who)
        return True

    def refuse(self, who: int) -> bool:
        """Something is wrong with this one."""
        self.offered.append(who)
        raise MemoryError


def play(scenario: Callable[[], Awaitable[None]]) -> None:
    """Run it to its end, or fail."""

    async def limited() -> None:
        async with asyncio.timeout(60):
            await scenario()

    asyncio.run(limited())


async def waiting(turns: Turns, desk: Desk, count: int) -> "list[asyncio.Task[None]]":
    """So many that have come, one after the other."""
    tasks = [asyncio.create_task(turns.admit(partial(desk.offer, who))) for who in range(count)]
    await asyncio.sleep(0)
    return tasks


def test_room_for_some_costs_an_offer_each_and_one_more() -> None:
    """Of thousands that wait not all wake for a few places."""

    async def scenario() -> None:
        turns, desk = Turns(), Desk(0)
        tasks = await waiting(turns, desk, 1000)
        desk.offered.clear()
        desk.room = 3
        turns.serve()
        assert desk.taken == [0, 1, 2]
        assert desk.offered == [0, 1, 2, 3]
        await asyncio.gather(*tasks[:3])
        desk.room = 1000
        turns.serve()
        await asyncio.gather(*tasks)
        assert desk.taken == list(range(1000))

    play(scenario)


def test_who_comes_later_is_not_taken_before() -> None:
    async def scenario() -> None:
        turns, desk = Turns(), Desk(0)
        first = await waiting(turns, desk, 1)
        desk.room = 1
        late = asyncio.create_task(turns.admit(partial(desk.offer, 7)))
        await asyncio.sleep(0)
        assert desk.taken == []
        turns.serve()
        await first[0]
        assert (desk.taken, late.done()) == ([0], False)
        desk.room = 1
        turns.serve()
        await late

    play(scenario)


def test_who_went_away_takes_no_place() -> None:
    async def scenario() -> None:
        turns, desk = Turns(), Desk(0)
        gone, *others = await waiting(turns, desk, 3)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        desk.room = 2
        turns.serve()
        await asyncio.gather(*others)
        assert desk.taken == [1, 2]
        desk.room = 1
        await turns.admit(partial(desk.offer, 3))
        assert desk.taken == [1, 2, 3]

    play(scenario)


def test_an_offer_that_cannot_be_made_fails_where_it_waits_and_stops_nobody() -> None:
    async def scenario() -> None:
        turns, desk = Turns(), Desk(0)
        first, bad = await waiting(turns, desk, 1), partial(desk.refuse, 1)
        second = asyncio.create_task(turns.admit(bad))
        await asyncio.sleep(0)
        third = asyncio.create_task(turns.admit(partial(desk.offer, 2)))
        await asyncio.sleep(0)
        desk.room = 3
        turns.serve()
        with pytest.raises(MemoryError):
            await second
        await asyncio.gather(*first, third)
        assert desk.taken == [0, 2]

    play(scenario)
