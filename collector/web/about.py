"""About the numbers: what each word on the pages means."""

from gputally.collector.jobs.wasted import called
from gputally.collector.now.spells import LOOK_BACK_US
from gputally.collector.web import links, words
from gputally.collector.web.asked import Asked, Parameters
from gputally.collector.web.losses import MEANINGS
from gputally.collector.web.page import Page


async def about(asked: Asked) -> Page:
    """The page; raises QueryMistakes."""
    asked.parameters(Parameters)
    kinds = [(called(kind), meaning) for kind, meaning in MEANINGS.items()]
    values = {**asked.frame, "look_back": words.duration(LOOK_BACK_US), "kinds": kinds}
    return Page("about.html", "About the numbers", links.ABOUT, values)
