"""Names of models and profiles: one key for every spelling that people meet."""

import pytest

from gputally.collector.rates.card import Card, exact, model_key, profile_key


@pytest.mark.parametrize(
    "name",
    [
        "NVIDIA H100 80GB HBM3",
        "NVIDIA-H100-80GB-HBM3",
        "nvidia-h100-80gb-hbm3-SHARED",
        "NVIDIA-H100-80GB-HBM3-MIG-1g.10gb",
        "H100 80GB HBM3",
    ],
)
def test_nvml_and_the_node_label_spell_one_model(name: str) -> None:
    assert model_key(name) == "h100-80gb-hbm3"


def test_models_that_differ_keep_different_keys() -> None:
    names = ["NVIDIA A100-SXM4-40GB", "NVIDIA A100-SXM4-80GB", "NVIDIA A100 80GB PCIe", "Tesla T4", "NVIDIA"]
    assert len({model_key(name) for name in names}) == len(names)


def test_a_card_gives_its_own_name_or_the_key() -> None:
    card = Card("EUR", {"h100-80gb-hbm3": "h100"}, ())
    assert card.model("NVIDIA H100 80GB HBM3") == "h100"
    assert card.model("Tesla T4") == "tesla-t4"


def test_a_profile_is_one_however_it_is_prefixed() -> None:
    assert {profile_key(name) for name in ("1g.10gb", "MIG 1g.10gb", "mig-1G.10gb")} == {"1g.10gb"}


def test_values_are_printed_exactly() -> None:
    assert [exact(value) for value in (0, 1, 2_500_000_000, 3_000_000_000)] == ["0", "0.000000001", "2.5", "3"]
