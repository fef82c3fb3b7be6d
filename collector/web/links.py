"""Addresses of the pages: what is shown stands in the URL, what is a default does not."""

from functools import lru_cache
from urllib.parse import quote, quote_plus

from gputally.collector.jobs.read_pods import JobName

OVERVIEW = "/"
WORKLOADS = "/workloads"
QUEUES = "/queues"
ADVICE = "/advice"
WORKLOAD = "/workload"
IDLE = "/idle"
GPUS = "/gpus"
STATEMENT = "/statement"
ABOUT = "/about"
NAMESPACES = "/namespaces/"


def link(path: str, **parameters: str | None) -> str:
    """The path with those parameters that are not None."""
    given = "&".join(f"{name}={_quoted(value)}" for name, value in parameters.items() if value is not None)
    return f"{path}?{given}" if given else path


@lru_cache(maxsize=4096)
def _quoted(name: str) -> str:
    """Names of namespaces, clusters and teams come again in each row of a page."""
    return quote_plus(name)


def namespace(name: str, *, month: str | None = None, cluster: str | None = None) -> str:
    """The page of a namespace."""
    return link(NAMESPACES + quote(name, safe=""), month=month, cluster=cluster)


def workload(of: JobName, *, month: str | None = None) -> str:
    """The page of a workload."""
    return link(WORKLOAD, namespace=of.namespace, name=of.label, cluster=of.cluster, month=month)
