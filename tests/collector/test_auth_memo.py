"""The memory of answers: bounded, no older than it says, one question at a time, and no failure is an answer."""

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputally.collector.auth.errors import Forbidden, Undecided
from gputally.collector.auth.memo import KEPT_S, Memo


class Oracle:
    """Counts how often it is asked; its answers can be held back."""

    def __init__(self) -> None:
        self.asked = 0
        self.error: Exception | None = None
        self.open = asyncio.Event()
        self.open.set()

    async def __call__(self) -> int:
        self.asked += 1
        await self.open.wait()
        if self.error:
            raise self.error
        return self.asked


def test_an_answer_is_as_old_as_its_question() -> None:
    """What was asked a minute ago is asked again, however long the answer took."""

    async def play() -> None:
        now = [0.0]
        memo, oracle = Memo[str, int](lambda: now[0]), Oracle()
        oracle.open.clear()
        first = asyncio.ensure_future(memo.ask("k", oracle))
        while not oracle.asked:
            await asyncio.sleep(0)
        now[0] = 50
        oracle.open.set()
        assert await first == 1
        now[0] = KEPT_S - 0.001
        assert await memo.ask("k", oracle) == 1
        now[0] = KEPT_S
        assert await memo.ask("k", oracle) == 2

    asyncio.run(play())


def test_the_same_question_is_asked_once_at_a_time_and_survives_who_asked_first() -> None:
    async def play() -> None:
        memo, oracle = Memo[str, int](lambda: 0.0), Oracle()
        oracle.open.clear()
        asking = [asyncio.ensure_future(memo.ask("k", oracle)) for _ in range(5)]
        await asyncio.sleep(0)
        asking[0].cancel()
        oracle.open.set()
        assert await asyncio.gather(*asking[1:]) == [1] * 4
        assert oracle.asked == 1

    asyncio.run(play())


@pytest.mark.parametrize("error", [Undecided("away"), OSError("defect")])
def test_a_failure_is_told_and_forgotten(error: Exception) -> None:
    async def play() -> None:
        memo, oracle = Memo[str, int](lambda: 0.0), Oracle()
        oracle.error = error
        with pytest.raises(type(error)):
            await memo.ask("k", oracle)
        oracle.error = None
        assert await memo.ask("k", oracle) == 2

    asyncio.run(play())


def test_a_refusal_is_repeated_with_its_words() -> None:
    async def play() -> None:
        memo, oracle = Memo[str, int](lambda: 0.0), Oracle()
        oracle.error = Forbidden("not you")
        for _ in range(2):
            with pytest.raises(Forbidden, match="not you"):
                await memo.ask("k", oracle)
        assert oracle.asked == 1

    asyncio.run(play())


@given(st.lists(st.tuples(st.integers(0, 9), st.floats(0, 40)), max_size=60), st.integers(1, 5))
def test_it_is_bounded_and_never_serves_what_is_too_old(steps: list[tuple[int, float]], size: int) -> None:
    """An answer is the time when it was asked: at most a minute ago."""

    async def play() -> None:
        now = [0.0]
        memo = Memo[int, float](lambda: now[0], size)

        def ask(key: int) -> "Callable[[], object]":
            async def question() -> float:
                return now[0]

            return question

        for key, wait_s in steps:
            now[0] += wait_s
            answered = await memo.ask(key, ask(key))  # type: ignore[arg-type]
            assert now[0] - KEPT_S < answered <= now[0]
            assert len(memo._known) <= size

    asyncio.run(play())


def test_what_had_to_go_early_is_counted() -> None:
    async def play() -> None:
        memo, oracle = Memo[int, int](lambda: 0.0, size=2), Oracle()
        for key in range(5):
            await memo.ask(key, oracle)
        assert memo.forgotten == 3

    asyncio.run(play())
