"""Addresses of the pages: what is shown stands in the URL, what is a default does not."""

from urllib.parse import quote, urlencode

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
    given = {name: value for name, value in parameters.items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path


def namespace(name: str, *, month: str | None = None, cluster: str | None = None) -> str:
    """The page of a namespace."""
    return link(NAMESPACES + quote(name, safe=""), month=month, cluster=cluster)


def workload(of: JobName, *, month: str | None = None) -> str:
    """The page of a workload."""
    return link(WORKLOAD, namespace=of.namespace, name=of.label, cluster=of.cluster, month=month)
