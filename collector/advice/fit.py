"""Whole GPUs whose use over a week would fit a MIG profile: by the memory that was held, and by how long they ran."""

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import Connection

from gputally.collector.advice.advice import Advice, Fit, Kind, Spent
from gputally.collector.advice.asked import DAY_US, Asked
from gputally.collector.advice.held import PodKey
from gputally.collector.advice.mig import GIGABYTE, board_of
from gputally.collector.advice.use import Use
from gputally.collector.advice.whole_gpus import Of, WholeGpus, read_whole_gpus

AT_LEAST_US = DAY_US  # GPU-time that was measured: less than a day tells nothing of a week
FILLED = 80  # percent of a profile's memory and of its share of the GPU's time: the rest is margin
UNOBSERVED = 10  # percent of the time at most


def fit(model: str, use: Use) -> Fit | None:
    """The smallest profile that the use would fit; None where there is none, or where too little is known."""
    board, peak_bytes = board_of(model), use.peak_bytes
    if board is None or peak_bytes is None or not _known(use):
        return None
    for profile in board.profiles:
        size = profile.gigabytes * GIGABYTE
        fits_memory = peak_bytes * 100 <= size * FILLED
        if fits_memory and use.busiest_permille * board.slices * 100 <= 1000 * profile.slices * FILLED:
            busy = use.used_us * 1000 // use.measured_us
            sizes = (profile.slices, board.slices, size)
            return Fit(model, profile.name, *sizes, peak_bytes, busy, use.busiest_permille, use.held_us)
    return None


def _known(use: Use) -> bool:
    """A GPU that was never used is another fact than one that was used little."""
    enough = use.used_us > 0 and use.measured_us >= AT_LEAST_US
    return enough and use.unobserved_us * 100 <= use.held_us * UNOBSERVED


def read_fits(connection: Connection, asked: Asked) -> list[Advice]:
    """Of workloads whose pods held one whole GPU each; raises QueryError."""
    gpus = read_whole_gpus(connection, asked)
    pods: dict[Of, list[PodKey]] = defaultdict(list)
    uses: dict[Of, Use] = {}
    for pod, devices in gpus.uses().items():
        if len(devices) == 1:  # pods with several need what MIG instances have not: a way from one to the other
            [(of, use)] = devices.values()
            pods[of].append(pod)
            uses[of] = use if of not in uses else uses[of].plus(use)
    fits = {of: details for of, use in uses.items() if (details := fit(of.model, use)) is not None}
    return [_advice(asked, gpus, of, details, pods[of]) for of, details in fits.items()]


def _advice(asked: Asked, gpus: WholeGpus, of: Of, details: Fit, pods: Sequence[PodKey]) -> Advice:
    """The time in question is the share of the GPU that the profile leaves."""
    subject = asked.subject(of.cluster, of.namespace, of.workload, [pod.pod for pod in pods])
    whole = Spent()
    for uid in {pod.uid for pod in pods}:
        whole = whole.plus(gpus.spent(of, uid))
    return Advice(Kind.MIG, subject, whole.part(details.of - details.slices, details.of), details)
