"""Messages that wait to be sent: bounded, one for each subject, and none for longer than a day."""

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, delete, func, insert, or_, select, update

from gputally.collector.database.schema_notify import notification
from gputally.collector.notify.digest import Waiting
from gputally.collector.notify.message import Level, Message

MOST = 1000  # messages that wait
KEPT_US = 24 * 3_600_000_000  # a message that could not be sent for so long is no news; sent ones are kept as long
_WAITS = notification.c.sent_us.is_(None)


def put(connection: Connection, message: Message, room: int = MOST) -> tuple[bool, int]:
    """Let a message wait: (whether there was room for it, how many older ones of its subject it replaced)."""
    same = delete(notification).where(_WAITS, notification.c.subject == message.subject)
    replaced = connection.execute(same).rowcount
    if connection.execute(select(func.count()).select_from(notification).where(_WAITS)).scalar_one() >= room:
        return False, replaced
    values = {
        "id": message.id,
        "subject": message.subject,
        "level": message.level.value,
        "made_us": message.made_us,
        "title": message.title,
        "document": message.to_json(),
    }
    connection.execute(insert(notification), values)
    return True, replaced


def waiting(connection: Connection) -> Sequence[Waiting]:
    """Everything that waits."""
    names = (notification.c.id, notification.c.level, notification.c.made_us, notification.c.title)
    rows = connection.execute(select(*names).where(_WAITS))
    return [Waiting(one_id, Level(level), made_us, title) for one_id, level, made_us, title in rows]


def message(connection: Connection, one_id: str) -> Message:
    """One that waits, with all that it says."""
    document = select(notification.c.document).where(notification.c.id == one_id)
    return Message.of_json(connection.execute(document).scalar_one())


def requests_between(connection: Connection, from_us: int, to_us: int) -> int:
    """How many times something was sent after an instant and up to another; what a digest told was sent at once.

    What was sent later than now was sent by a clock that was wrong: it would count for as long as that went ahead.
    """
    within = (notification.c.sent_us > from_us, notification.c.sent_us <= to_us)
    sent = select(func.count(notification.c.sent_us.distinct())).where(*within)
    return connection.execute(sent).scalar_one()


def note_sent(connection: Connection, ids: Iterable[str], now_us: int) -> None:
    """These were taken by the receiver, in one message."""
    connection.execute(update(notification).where(notification.c.id.in_(list(ids))).values(sent_us=now_us))


def drop(connection: Connection, ids: Iterable[str]) -> None:
    """These are not wanted by the receiver."""
    connection.execute(delete(notification).where(notification.c.id.in_(list(ids))))


def forget(connection: Connection, now_us: int) -> int:
    """Remove what is past its time; how many of these were never sent. `now_us` may be of a clock that was set back."""
    old = notification.c.made_us < now_us - KEPT_US
    unsent = connection.execute(delete(notification).where(_WAITS, old)).rowcount
    sent_us = notification.c.sent_us
    connection.execute(delete(notification).where(or_(sent_us < now_us - KEPT_US, sent_us > now_us + KEPT_US)))
    return unsent
