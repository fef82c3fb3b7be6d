"""The exit status says whether usage will be complete, and unknown is not good."""

import pytest

from gputally.agent.doctor.finding import Finding, exit_status, fail, ok, warn

FINE, DOUBT, BAD = ok("a", "b"), warn("a", "b", "c"), fail("a", "b", "c")


@pytest.mark.parametrize(
    ("findings", "status"),
    [([], 0), ([FINE], 0), ([FINE, DOUBT], 1), ([BAD, FINE], 1), ([DOUBT, BAD], 1)],
)
def test_only_what_is_all_ok_is_complete(findings: list[Finding], status: int) -> None:
    assert exit_status(findings) == status
