"""The collector's flags: one for each setting, and every mistake at once."""

import pytest

from gputally.collector.command_line import read_settings
from gputally.collector.settings import Address, CollectorSettings, SettingsError, flag


@pytest.fixture(autouse=True)
def no_timezone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of whoever runs the tests."""
    monkeypatch.delenv("GPUTALLY_TIMEZONE", raising=False)


def mistakes(*argv: str) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        read_settings(argv)
    return caught.value.mistakes


def test_flags_are_read_in_both_spellings() -> None:
    settings = read_settings(["--http-listen", "127.0.0.1:0", "--writer-queue=5"])
    assert (settings.http_listen, settings.writer_queue) == (Address("127.0.0.1", 0), 5)


def test_a_switch_needs_no_value() -> None:
    assert read_settings(["--insecure-plaintext", "--grpc-listen", "0.0.0.0:1"]).insecure_plaintext
    assert not read_settings(["--insecure-plaintext", "false"]).insecure_plaintext


def test_an_unknown_flag_is_told_with_the_nearest_known_one_beside_all_other_mistakes() -> None:
    assert mistakes("--databse-url", "sqlite:////x", "--writer-queue", "no", "stray", "--timezone", "Mars") == (
        "unknown argument --databse-url: did you mean --database-url?",
        "unknown argument stray",
        "--timezone: expected an IANA time zone, such as UTC or Europe/Berlin (got 'Mars')",
        "--writer-queue: Input should be a valid integer, unable to parse string as an integer (got 'no')",
    )


def test_a_flag_is_never_guessed_from_its_beginning() -> None:
    assert mistakes("--time", "UTC") == ("unknown argument --time: did you mean --timezone?",)


def test_a_flag_without_its_value_is_a_mistake() -> None:
    assert "expected one argument" in mistakes("--timezone")[0]


def test_help_names_every_setting_and_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        read_settings(["--help"])
    text = capsys.readouterr().out
    assert caught.value.code == 0
    assert all(flag(name) in text for name in CollectorSettings.model_fields)
    assert "GPUTALLY_DATABASE_URL" in text
    assert "examples:" in text
