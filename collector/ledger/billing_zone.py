"""The billing time zone: one for a ledger, because its hours, days and months begin where the zone says."""

from dataclasses import replace

from sqlalchemy import Connection, Engine, exists, select

from gputally.collector.database.engine import writing
from gputally.collector.database.schema import posting, window
from gputally.collector.ledger.state import locked_state, read_state, write_state


class OtherZone(ValueError):
    """The ledger is booked in a billing time zone, and another one is given."""


def claim_zone(engine: Engine, zone: str) -> None:
    """Keep a zone, by its IANA name, as the ledger's; raises OtherZone. A ledger that holds nothing takes any."""
    with writing(engine) as connection:
        state = locked_state(connection)
        check_zone(connection, zone)
        write_state(connection, replace(state, zone=zone))


def check_zone(connection: Connection, zone: str) -> None:
    """Raise OtherZone where the ledger is booked in another zone; one that nobody has claimed yet may be any."""
    booked = read_state(connection).zone
    if booked not in (None, zone) and _holds_time(connection):
        raise OtherZone(
            f"the ledger is booked in the billing time zone {booked}, and {zone} is given: "
            f"give --timezone {booked}, or GPUTALLY_TIMEZONE={booked}"
        )


def _holds_time(connection: Connection) -> bool:
    """Postings stay when windows are removed, and windows are there before their postings."""
    found = select(exists(select(posting.c.hour_us)) | exists(select(window.c.id)))
    return bool(connection.execute(found).scalar_one())
