"""The books of random histories: every sharing mode, pods that come and go, drivers and probes that fail."""

import pytest
from tests.histories_gpu import mixes
from tests.histories_run import check, play

HISTORIES = 200


@pytest.mark.parametrize("seed", range(HISTORIES))
def test_the_books_of_a_history_balance_and_agree_with_what_happened(seed: int) -> None:
    node = play(seed)
    check(node)
    assert node.windows


def test_a_history_is_its_seed() -> None:
    """What fails once can be played again."""
    assert play(7).windows == play(7).windows


def test_histories_have_every_mix_of_mig_profiles_that_fits() -> None:
    """Placed as NVIDIA's user guide does: 297 ways (of 37 sets) on seven slices, 25 on four."""
    assert (len(mixes(7)), len(mixes(4))) == (297, 25)
    assert ((4, 0), (3, 4)) in mixes(7)
    assert ((3, 0), (4, 4)) not in mixes(7)
