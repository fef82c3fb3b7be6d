"""What was kept for the division of postings goes with them."""

from sqlalchemy import Connection, delete

from gputally.collector.database.schema_waste import idle_part, memory_peak, tenure

_DAY_US = 86_400_000_000


def forget_hour(connection: Connection, hour_us: int) -> None:
    """Delete the parts of the oldest hour that has postings, and the tenures and peaks that lie before it."""
    connection.execute(delete(idle_part).where(idle_part.c.hour_us <= hour_us))
    connection.execute(delete(tenure).where(tenure.c.held_until_us <= hour_us))
    connection.execute(delete(memory_peak).where(memory_peak.c.day_us <= hour_us - _DAY_US))
