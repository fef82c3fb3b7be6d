from gputally.collector.now.latest import *  # noqa: F403  (moved; this file goes away)
