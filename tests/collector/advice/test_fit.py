"""A whole GPU that a MIG profile would do for: by memory, by the busiest hour, with a margin, and never by guessing."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputally.accounting.ledger_hour import HOUR_US
from gputally.collector.advice.fit import fit
from gputally.collector.advice.mig import GIGABYTE, board_of
from gputally.collector.advice.use import Use

H100 = "NVIDIA H100 80GB HBM3"
A30 = "NVIDIA A30"
USE = Use(HOUR_US, 99 * HOUR_US, 0, 100, GIGABYTE)


@pytest.mark.parametrize(
    ("use", "profile"),
    [
        (USE, "1g.10gb"),
        (replace(USE, busiest_permille=114), "1g.10gb"),  # 80 % of a seventh is 114.3 permille
        (replace(USE, busiest_permille=115), "2g.20gb"),
        (replace(USE, peak_bytes=8 * GIGABYTE), "1g.10gb"),
        (replace(USE, peak_bytes=8 * GIGABYTE + 1), "1g.20gb"),
        (replace(USE, peak_bytes=32 * GIGABYTE), "3g.40gb"),
        (replace(USE, busiest_permille=400), "4g.40gb"),
        (replace(USE, peak_bytes=32 * GIGABYTE + 1), None),
        (replace(USE, busiest_permille=500), None),
    ],
)
def test_the_smallest_profile_with_a_fifth_to_spare(use: Use, profile: str | None) -> None:
    found = fit(H100, use)
    assert (found and found.profile) == profile


@pytest.mark.parametrize(
    ("model", "use"),
    [
        ("NVIDIA L40S", USE),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", USE),
        (H100, replace(USE, peak_bytes=None)),
        (H100, replace(USE, used_us=0)),
        (H100, replace(USE, idle_us=22 * HOUR_US)),  # less than a day
        (H100, replace(USE, unobserved_us=12 * HOUR_US)),
    ],
)
def test_what_is_not_known_is_no_advice(model: str, use: Use) -> None:
    assert fit(model, use) is None


def test_an_a30_has_four_slices() -> None:
    found = fit(A30, replace(USE, busiest_permille=200))
    assert found is not None
    assert (found.profile, found.slices, found.of, found.bytes) == ("1g.6gb", 1, 4, 6 * GIGABYTE)


@pytest.mark.parametrize(
    ("model", "profiles"),
    [
        ("NVIDIA A100-SXM4-40GB", "1g.5gb 1g.10gb 2g.10gb 3g.20gb 4g.20gb"),
        ("NVIDIA A100-PCIE-40GB", "1g.5gb 1g.10gb 2g.10gb 3g.20gb 4g.20gb"),
        ("NVIDIA A100 80GB PCIe", "1g.10gb 1g.20gb 2g.20gb 3g.40gb 4g.40gb"),
        ("NVIDIA H100 NVL", "1g.12gb 1g.24gb 2g.24gb 3g.47gb 4g.47gb"),
        ("NVIDIA H200", "1g.18gb 1g.35gb 2g.35gb 3g.71gb 4g.71gb"),
        ("NVIDIA B200", "1g.23gb 1g.45gb 2g.45gb 3g.90gb 4g.90gb"),
    ],
)
def test_models_have_the_profiles_of_the_guide(model: str, profiles: str) -> None:
    board = board_of(model)
    assert board is not None
    assert (board.slices, " ".join(one.name for one in board.profiles)) == (7, profiles)


_USES = st.builds(
    Use,
    st.integers(0, 200 * HOUR_US),
    st.integers(0, 200 * HOUR_US),
    st.integers(0, 20 * HOUR_US),
    st.integers(0, 1000),
    st.one_of(st.none(), st.integers(0, 80 * GIGABYTE)),
)


@given(_USES, _USES)
def test_who_uses_more_never_fits_a_smaller_one(one: Use, other: Use) -> None:
    """Several GPUs of a workload are told of together, so none of them needs more than the profile that is named."""
    both = fit(H100, one.plus(other))
    for use in (one, other):
        alone = fit(H100, use)
        if both is not None:
            assert use.peak_bytes is not None
            assert max(use.peak_bytes * 100, 0) <= both.bytes * 80
            assert alone is None or (alone.slices, alone.bytes) <= (both.slices, both.bytes)
