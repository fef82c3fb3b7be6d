"""A pod, its owners, and the texts that rules asked for and could not have."""

from gputally.collector.workloads.chain import Chain
from gputally.collector.workloads.pod import LONGEST, PodFacts


class View:
    """What one resolution sees of a pod; it remembers which texts were refused."""

    __slots__ = ("chain", "pod", "refused")

    def __init__(self, pod: PodFacts, chain: Chain) -> None:
        self.pod = pod
        self.chain = chain
        self.refused: dict[str, None] = {}  # the sources' names, in the order in which they were asked for

    def accept(self, text: str | None, source: object) -> str | None:
        """The text if it can be a name; None where there is none, or only blanks."""
        if text is None or not (text := text.strip()):
            return None
        if len(text) <= LONGEST and text.isprintable():
            return text
        self.refused[str(source)] = None
        return None
