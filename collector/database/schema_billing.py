"""Tables that money needs besides the ledger: files that were applied, and what a cluster was like over time.

Nothing here is ever changed but the open end of a history. A row of a history holds over [valid_from_us, valid_to_us);
an end of NULL means that it still holds. Labels and annotations are JSON objects with sorted keys.
"""

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, String, Table

from gputally.collector.database.schema import metadata

__all__ = ["applied_file", "cluster_sync", "metadata", "namespace_history", "node_history", "node_presence"]


def _history() -> list[Column[int]]:
    """When a row holds, and where it comes from."""
    return [
        Column("valid_from_us", BigInteger, primary_key=True, comment="the first row of a UID: its creation"),
        Column("valid_to_us", BigInteger, comment="NULL: it still holds"),
        Column("resource_version", BigInteger, nullable=False, comment="the API's version of the object"),
        Column("recorded_us", BigInteger, nullable=False, comment="when the collector learnt it"),
    ]


applied_file = Table(
    "applied_file",
    metadata,
    Column("kind", String, primary_key=True, comment="rates, teams or budgets"),
    Column("version", Integer, primary_key=True, comment="1, 2, 3 … of its kind; the last one applied holds"),
    Column("content_hash", LargeBinary, nullable=False, comment="SHA-256 of the text in UTF-8"),
    Column("applied_us", BigInteger, nullable=False),
    Column("applied_by", String, nullable=False, comment="user@host of who ran the command"),
    Column("text", String, nullable=False, comment="the YAML file as it was applied, whole"),
    comment="Rate cards, team mappings and budgets: every version, kept for ever",
)

namespace_history = Table(
    "namespace_history",
    metadata,
    Column("cluster", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("uid", String, primary_key=True, comment="one made again under its name is another namespace"),
    *_history(),
    Column("labels", String, nullable=False),
    Column("annotations", String, nullable=False, comment="without what kubectl keeps there, and long texts"),
    comment="Labels and annotations of namespaces as they were",
)

node_history = Table(
    "node_history",
    metadata,
    Column("cluster", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("uid", String, primary_key=True),
    *_history(),
    Column("labels", String, nullable=False),
    comment="Labels of nodes as they were",
)

node_presence = Table(
    "node_presence",
    metadata,
    Column("cluster", String, primary_key=True),
    Column("node", String, primary_key=True, comment="its name"),
    Column("from_us", BigInteger, primary_key=True, comment="its creation"),
    Column("uid", String, nullable=False),
    Column("gone_us", BigInteger, comment="when the API showed that it is gone; NULL: it is there"),
    comment="When nodes existed; empty for a cluster whose API is not watched",
)

cluster_sync = Table(
    "cluster_sync",
    metadata,
    Column("cluster", String, primary_key=True),
    Column("synced_us", BigInteger, nullable=False, comment="until then the histories are known to be complete"),
    comment="How far the watch of each cluster has come",
)
