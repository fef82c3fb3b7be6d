"""While the API server is away a token that it vouched for is believed until it ends, and no other ever is."""

import base64
import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputally.collector.auth.agent import Identity
from gputally.collector.auth.vouched import LONGEST_S, VouchedTokens, expiry_s

GPU_1 = Identity("prod", "gpu-1")


@dataclass
class Clocks:
    """Two clocks that go on together: since a start, and the time of day."""

    passed_s: float = 0.0

    def monotonic_s(self) -> float:
        return 50.0 + self.passed_s

    def wall_s(self) -> float:
        return 1_700_000_000.0 + self.passed_s


def jwt(claims: object) -> str:
    """A token with these claims; nobody looks at the rest of it here."""
    return f"h.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.s"


def lasting(clocks: Clocks, seconds: int) -> str:
    return jwt({"exp": int(clocks.wall_s()) + seconds, "sub": "system:serviceaccount:gputally:agent"})


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def vouched(clocks: Clocks) -> VouchedTokens:
    return VouchedTokens(clocks.monotonic_s, clocks.wall_s, size=2)


def test_a_token_is_believed_until_it_ends(vouched: VouchedTokens, clocks: Clocks) -> None:
    token = lasting(clocks, 600)
    vouched.keep(token, GPU_1)
    clocks.passed_s = 599
    assert vouched.identity(token) == GPU_1
    clocks.passed_s = 600
    assert vouched.identity(token) is None


def test_one_that_lasts_for_a_year_is_believed_for_an_hour_after_the_last_yes(
    vouched: VouchedTokens, clocks: Clocks
) -> None:
    token = lasting(clocks, 365 * 86_400)
    vouched.keep(token, GPU_1)
    clocks.passed_s = 60
    vouched.keep(token, GPU_1)
    clocks.passed_s = 59 + LONGEST_S
    assert vouched.identity(token) == GPU_1
    clocks.passed_s = 60 + LONGEST_S
    assert vouched.identity(token) is None


def test_nobody_new_and_nobody_who_was_refused_is_believed(vouched: VouchedTokens, clocks: Clocks) -> None:
    token = lasting(clocks, 600)
    assert vouched.identity(token) is None
    vouched.keep(token, GPU_1)
    vouched.forget(token)
    vouched.forget(token)
    assert vouched.identity(token) is None


def test_the_token_that_was_vouched_for_first_goes_first(vouched: VouchedTokens, clocks: Clocks) -> None:
    first, second, third = (lasting(clocks, 600 + number) for number in range(3))
    for token in (first, second, first, third):
        vouched.keep(token, GPU_1)
    assert [vouched.identity(token) for token in (first, second, third)] == [GPU_1, None, GPU_1]


@pytest.mark.parametrize(
    "token",
    [
        *("", "a.b", "a.b.c", jwt([1]), jwt({})),
        *(jwt({"exp": end}) for end in ("soon", 1.5, None, True, -(10**400), 10**400)),
    ],
)
def test_a_token_that_does_not_say_when_it_ends_is_not_believed(vouched: VouchedTokens, token: str) -> None:
    vouched.keep(token, GPU_1)
    assert vouched.identity(token) is None


@given(st.text(alphabet=st.characters(codec="ascii"), max_size=60))
def test_no_text_breaks_the_reader(payload: str) -> None:
    assert expiry_s(f"h.{payload}.s") is None or isinstance(expiry_s(f"h.{payload}.s"), int)
