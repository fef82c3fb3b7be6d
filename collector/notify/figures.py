"""Figures of a message, in words; what is not known is said so, and never written as 0."""

from dataclasses import dataclass
from zoneinfo import ZoneInfo

from gputally.accounting.ledger_hour import from_us
from gputally.collector.web import words

NOT_PRICED = "not priced"


@dataclass(frozen=True, slots=True)
class Frame:
    """What all messages share: the billing time zone, and where the pages are for people (None: not known)."""

    zone: ZoneInfo
    public_url: str | None = None

    def link(self, path: str) -> str | None:
        """The address of a page."""
        return None if self.public_url is None else self.public_url.rstrip("/") + path

    def moment(self, us: int) -> str:
        """An instant in the billing time zone."""
        return words.moment(us, self.zone).text


def money(cost: int | None, currency: str) -> str:
    """A cost (as `rates.cost` counts it) with its currency."""
    return NOT_PRICED if cost is None else f"{words.money([cost], currency)[0]} {currency}"


def amount(cost: int | None, currency: str) -> dict[str, str] | None:
    """A cost for programs: a decimal in text, so that nobody reads it as a float; None: not priced."""
    text = None if cost is None else words.money([cost], currency)[0].replace(",", "")
    return None if text is None else {"amount": text, "currency": currency}


def instant(us: int) -> str:
    """An instant for programs."""
    return from_us(us).isoformat(timespec="seconds").replace("+00:00", "Z")
