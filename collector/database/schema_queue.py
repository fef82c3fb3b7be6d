"""Tables of queues: which quota of GPUs each had from which instant on, and which queues namespaces lead into.

A row of a history holds over [valid_from_us, valid_to_us); an end of NULL means that it still holds. The first row of
a UID begins at its creation.
"""

from sqlalchemy import BigInteger, Column, String, Table

from gputally.collector.database.schema_workload import metadata

__all__ = ["local_queue", "metadata", "queue_quota"]


def _history() -> list[Column[int]]:
    """When a row holds, and where it comes from."""
    return [
        Column("valid_from_us", BigInteger, primary_key=True),
        Column("valid_to_us", BigInteger, comment="NULL: it still holds"),
        Column("resource_version", BigInteger, nullable=False, comment="the API's version of the object"),
        Column("recorded_us", BigInteger, nullable=False, comment="when the collector learnt it"),
    ]


queue_quota = Table(
    "queue_quota",
    metadata,
    Column("cluster", String, primary_key=True),
    Column("system", String, primary_key=True, comment="kueue (a ClusterQueue) or volcano (a Queue)"),
    Column("queue", String, primary_key=True),
    Column("uid", String, primary_key=True, comment="one made again under its name is another queue"),
    Column("resource", String, primary_key=True, comment="such as nvidia.com/gpu; only those of GPUs are kept"),
    Column("flavor", String, primary_key=True, comment="Kueue's ResourceFlavor; empty of Volcano"),
    *_history(),
    Column("cohort", String, comment="whom it borrows from: Kueue's cohort, Volcano's parent; NULL nobody"),
    Column("nominal", BigInteger, comment="Kueue's nominalQuota, Volcano's deserved; NULL unknown"),
    Column("guaranteed", BigInteger, comment="what it never lends; NULL: nothing is said of it"),
    Column("most", BigInteger, comment="what it may hold with all that it borrows; NULL: no limit"),
    Column("reserved", BigInteger, comment="what it held when it was last told; NULL unknown"),
    Column("borrowed", BigInteger, comment="the part of it above its quota, as Kueue tells it; NULL unknown"),
    comment="Quotas of GPUs as they were",
    sqlite_with_rowid=False,
)

local_queue = Table(
    "local_queue",
    metadata,
    Column("cluster", String, primary_key=True),
    Column("namespace", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("uid", String, primary_key=True),
    *_history(),
    Column("cluster_queue", String, nullable=False, comment="the ClusterQueue that it leads into"),
    comment="Kueue's LocalQueues as they were; of one name only one at a time",
    sqlite_with_rowid=False,
)
