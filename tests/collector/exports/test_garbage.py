"""Garbage is looked for less often while a file is written, and as often as before afterwards."""

import gc

from gputally.collector.exports.garbage import seldom_looked_for


def test_what_was_set_before_is_set_again() -> None:
    before = gc.get_threshold()
    with seldom_looked_for():
        assert gc.get_threshold()[0] > before[0]
    assert gc.get_threshold() == before
