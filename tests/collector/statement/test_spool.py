"""What is read again from a temporary file is what was read from the database, whatever is forgotten on the way."""

import tempfile
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputally.collector.statement import spool
from gputally.collector.statement.block import Account, Block, blocks
from gputally.collector.statement.line import Amounts, Holding, Line, Terms
from gputally.collector.statement.spool import NoRoom, Spool

NAMED = Holding("east", "node-a", "GPU-0", "H100", "gpu", "", "pod", "ns", "", "main", "", 0, "", "", "", "")
_WHOLE = st.integers(-(10**18), 10**18)
_LINES = st.builds(
    Line,
    st.integers(0, 10**18),
    st.sampled_from("abcdef").map(lambda pod: NAMED._replace(pod=pod)),
    st.sampled_from([None, 1, 2]).map(lambda price: Terms(price=price)),
    st.builds(Amounts, *[_WHOLE] * 6, *[st.one_of(st.none(), _WHOLE)] * 2),
)


@given(st.lists(st.lists(_LINES, min_size=1, max_size=5), max_size=6))
def test_what_was_kept_comes_again_as_often_as_it_is_read(parts: Sequence[Sequence[Line]]) -> None:
    with pytest.MonkeyPatch.context() as patch, closing(Spool()) as kept:
        patch.setattr(spool, "MOST_ACCOUNTS", 2)
        first = [line for block in kept.keep(one for part in parts for one in blocks(part)) for line in block.lines()]
        assert kept.whole
        both = zip(kept.blocks(), kept.blocks(), strict=True)  # two readers do not disturb each other
        again = [line for one, other in both for line in [*one.lines(), *other.lines()]]
        expected = [line for part in parts for line in [*part, *part]]
        assert first == [line for part in parts for line in part]
        assert again == expected


def test_lines_of_one_account_share_it_again() -> None:
    """What is made of an account, such as its text, is made once."""
    account = Account(NAMED, Terms())
    some = [Block([0, 0], [account, account], [[1, 2]] * 8), Block([1], [account], [[3]] * 8)]
    with closing(Spool()) as kept:
        list(kept.keep(some))
        assert len({id(one) for block in kept.blocks() for one in block.accounts}) == 1


def test_a_reading_that_nobody_ends_is_not_kept() -> None:
    block = Block([0], [Account(NAMED, Terms())], [[1]] * 8)
    kept = Spool()
    reading = kept.keep([block, block])
    assert list(islice(reading, 1)) == [block]
    reading.close()  # type: ignore[attr-defined]  # it is a generator
    assert not kept.whole


@pytest.mark.parametrize("lines", [1, 10_000])
def test_a_full_disk_is_no_room_whenever_it_shows(monkeypatch: pytest.MonkeyPatch, lines: int) -> None:
    """Few lines reach the disk at the end only; and what could not be written is not tried again in vain."""
    monkeypatch.setattr(tempfile, "TemporaryFile", partial(Path("/dev/full").open, "r+b"))
    block = Block(list(range(lines)), [Account(NAMED, Terms())] * lines, [list(range(lines))] * 8)
    kept = Spool()
    with pytest.raises(NoRoom, match="No space left on device"):
        list(kept.keep([block]))
    assert not kept.whole
