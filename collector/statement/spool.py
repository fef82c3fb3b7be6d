"""Blocks that are read again, from a temporary file: numbers as they were, and what lines have in common once.

To find them in the database again takes three times as long.
"""

import pickle
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any, TypeAlias

from gputally.collector.statement.block import MOST_ACCOUNTS, Account, Block
from gputally.collector.statement.line import Holding, Terms

_Names: TypeAlias = tuple[Holding, Terms]


class NoRoom(Exception):
    """The temporary file cannot be written; one line says why and what to do."""


class Spool:
    """Keeps the blocks of one reading, if that comes to its end."""

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None

    @property
    def whole(self) -> bool:
        """Whether a reading was kept."""
        return self._file is not None

    def keep(self, blocks: Iterable[Block]) -> Iterator[Block]:
        """The same blocks, while they are written down; raises NoRoom."""
        with _room():
            file = tempfile.TemporaryFile()  # noqa: SIM115 - it is closed with the spool
        try:
            writer = _Writer(file)
            for block in blocks:
                with _room():
                    writer.write(block)
                yield block
            with _room():
                file.flush()
        except BaseException:  # also where nobody reads to the end
            with suppress(OSError):  # what is still in memory cannot be written either
                file.close()
            raise
        self.close()
        self._file = file

    def blocks(self) -> Iterator[Block]:
        """What was kept; its accounts are other objects than before, and alike."""
        file, at, accounts = self._file, 0, list[Account]()
        while file is not None:
            file.seek(at)  # somebody else may read, too
            try:
                forgets, new, numbers, hours, amounts = pickle.load(file)  # noqa: S301 - our own, and nobody else's
            except EOFError:
                return
            at = file.tell()
            if forgets:
                accounts.clear()
            accounts += [Account(*names) for names in new]
            yield Block(hours, list(map(accounts.__getitem__, numbers)), amounts)

    def close(self) -> None:
        """Give the file back."""
        if self._file is not None:
            self._file.close()
            self._file = None


@contextmanager
def _room() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise NoRoom(
            f"a month's lines need a temporary file, of some 40 bytes for a posting, that cannot be written: "
            f"{error.strerror}. Set TMPDIR to a folder with room"
        ) from error


class _Writer:
    """Accounts are numbered as they come; of too many all are forgotten, which the reader does at the same place."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._numbers: dict[Account, int] = {}

    def write(self, block: Block) -> None:
        forgets = len(self._numbers) > MOST_ACCOUNTS
        if forgets:
            self._numbers = {}
        new = self._number(block)
        numbers = list(map(self._numbers.__getitem__, block.accounts))
        record: tuple[Any, ...] = (forgets, new, numbers, block.hours, block.amounts)
        pickle.dump(record, self._file, pickle.HIGHEST_PROTOCOL)

    def _number(self, block: Block) -> list[_Names]:
        """Number those that were not there before, whose names these are."""
        new = [account for account in dict.fromkeys(block.accounts) if account not in self._numbers]
        for account in new:
            self._numbers[account] = len(self._numbers)
        return [(account.holding, account.terms) for account in new]
