from gputally.collector.now.spells import *  # noqa: F403  (moved; this file goes away)
