"""Questions are answered a few at a time; what finds no room is refused at once, and counted."""

import asyncio
import threading

import pytest

from gputally.collector.api.desk import Desk
from gputally.collector.api.problems import Busy


def test_an_answer_or_an_error_is_the_questions_own() -> None:
    desk = Desk(1, 1)

    async def ask() -> None:
        assert await desk.answer(lambda: 42) == 42
        with pytest.raises(ZeroDivisionError):
            await desk.answer(lambda: 1 // 0)

    asyncio.run(ask())
    desk.close()


def test_no_more_wait_than_there_is_room_for_and_room_comes_back() -> None:
    desk = Desk(1, 1)
    go = threading.Event()

    async def ask() -> None:
        waiting = [asyncio.create_task(desk.answer(go.wait)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Busy, match="too many questions"):
            await desk.answer(lambda: 1)
        go.set()
        await asyncio.gather(*waiting)
        assert await desk.answer(lambda: 1) == 1

    asyncio.run(ask())
    assert desk.refused == 1
    desk.close()


def test_a_question_that_nobody_waits_for_any_more_gives_its_room_back_when_it_ends() -> None:
    desk = Desk(1, 0)
    go, ended = threading.Event(), threading.Event()

    def question() -> None:
        go.wait()
        ended.set()

    async def ask() -> None:
        task = asyncio.create_task(desk.answer(question))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go.set()
        while not ended.is_set() or desk.full:
            await asyncio.sleep(0)
        assert await desk.answer(lambda: 1) == 1

    asyncio.run(asyncio.wait_for(ask(), 60))
    desk.close()
