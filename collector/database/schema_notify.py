"""Tables of what people were told by the webhook, so that replicas tell once and a restart repeats nothing."""

from sqlalchemy import BigInteger, Column, Integer, String, Table

from gputally.collector.database.schema_statement import metadata

__all__ = ["metadata", "notification", "notify_turn", "told_budget", "told_spell"]

told_spell = Table(
    "told_spell",
    metadata,
    Column("cluster", String, primary_key=True),
    Column("namespace", String, primary_key=True),
    Column("pod", String, primary_key=True),
    Column("state", String, nullable=False, comment="the level that was told and the spell as it was seen last: JSON"),
    comment="Idle spells that were told and are not over",
    sqlite_with_rowid=False,
)

told_budget = Table(
    "told_budget",
    metadata,
    Column("month", String, primary_key=True, comment="YYYY-MM in the billing time zone"),
    Column("scope", String, primary_key=True, comment="namespace or team"),
    Column("name", String, primary_key=True),
    Column("cluster", String, primary_key=True, comment="empty: all clusters together"),
    Column("unit", String, primary_key=True, comment="gpu_hours or amount"),
    Column("level", String, nullable=False, comment="warning, critical, or resolved: that it fell back was told"),
    Column("lower_since_us", BigInteger, comment="since when it has stood better than was told; NULL: it does not"),
    comment="Budgets of the current month that were told",
    sqlite_with_rowid=False,
)

notification = Table(
    "notification",
    metadata,
    Column("id", String, primary_key=True, comment="the same for each attempt to send it"),
    Column("subject", String, nullable=False, comment="what it is about: a newer one replaces one that waits"),
    Column("level", String, nullable=False, comment="warning, critical or resolved"),
    Column("made_us", BigInteger, nullable=False),
    Column("title", String, nullable=False),
    Column("document", String, nullable=False, comment="the message: JSON"),
    Column("sent_us", BigInteger, comment="NULL: it waits"),
    comment="Messages that wait, and for a day those that were sent",
    sqlite_with_rowid=False,
)

notify_turn = Table(
    "notify_turn",
    metadata,
    Column("id", Integer, primary_key=True, comment="1: there is one row"),
    Column("holder", String, nullable=False, comment="the replica that looks and sends"),
    Column("until_us", BigInteger, nullable=False, comment="when another one may, unless it is renewed"),
    Column("looked_us", BigInteger, nullable=False, comment="when spells were looked at last"),
    Column("counted_us", BigInteger, nullable=False, comment="when budgets were looked at last"),
    Column("not_before_us", BigInteger, nullable=False, comment="nothing is sent before this, after a failure"),
    Column("failures", Integer, nullable=False, comment="attempts that failed, since the last that did not"),
    Column("left_out", Integer, nullable=False, comment="messages that found no room and that no digest told of yet"),
    comment="Which replica tells people, and how far it has come",
)
