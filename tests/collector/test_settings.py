"""Settings: flags before environment before defaults, and every mistake at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputally.collector.address import Address, parse_address
from gputally.collector.settings import (
    CollectorSettings,
    DatabaseSettings,
    ReadSettings,
    SettingsError,
    default_database_url,
    load,
    shown,
    sqlite_file,
)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of whoever runs the tests."""
    import os

    for name in [name for name in os.environ if name.startswith("GPUTALLY_")]:
        monkeypatch.delenv(name)


def mistakes(model: type[DatabaseSettings], **flags: str) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load(model, flags)
    return caught.value.mistakes


def test_every_command_has_the_same_default_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    urls = {load(model, {}).database_url for model in (DatabaseSettings, ReadSettings, CollectorSettings)}
    assert urls == {"sqlite:////state/gputally/gputally.sqlite"}


def test_a_relative_state_home_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    expected = "sqlite:////home/ann/.local/state/gputally/gputally.sqlite"
    assert default_database_url({"XDG_STATE_HOME": "state"}) == default_database_url({}) == expected


def test_a_flag_wins_over_the_environment_and_that_over_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUTALLY_TIMEZONE", "Asia/Kolkata")
    monkeypatch.setenv("GPUTALLY_WRITER_QUEUE", "7")
    settings = load(CollectorSettings, {"timezone": "Europe/Berlin"})
    assert (settings.timezone, settings.writer_queue, settings.line_retention_days) == ("Europe/Berlin", 7, 14)


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUTALLY_TIMEZONE", "")
    assert load(ReadSettings, {}).timezone == "UTC"


def test_an_address_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUTALLY_HTTP_LISTEN", "[::1]:80")
    assert load(CollectorSettings, {}).http_listen == Address("::1", 80)


def test_all_mistakes_are_told_at_once_with_their_flags() -> None:
    found = mistakes(
        CollectorSettings, database_url="mysql://u:pw@h/d", timezone="Europe", grpc_listen="x", writer_queue="0"
    )
    assert [text.partition(":")[0] for text in found] == [
        "--database-url",
        "--timezone",
        "--grpc-listen",
        "--writer-queue",
    ]


def test_the_last_newline_of_a_secrets_file_is_no_part_of_the_databases_name() -> None:
    url = "postgresql://u:secret@h/d"
    assert load(DatabaseSettings, {"database_url": f"{url}\n"}).database_url == url


def test_a_mistake_in_a_database_url_never_repeats_its_password() -> None:
    assert "secret" not in "".join(mistakes(DatabaseSettings, database_url="mysql://u:secret@h/d"))
    assert "secret" not in shown("postgresql://u:secret@h/d")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_webhooks_url_where_its_file_belongs_is_a_mistake_that_does_not_repeat_it(scheme: str) -> None:
    """The name of the file stands in logs."""
    (mistake,) = mistakes(CollectorSettings, webhook_url_file=f"{scheme}://hooks.example.com/services/secret")
    assert mistake.startswith("--webhook-url-file: expected a file that holds the URL")
    assert "secret" not in mistake
    assert "services" not in mistake


@pytest.mark.parametrize(
    "text", ["nonsense", "mysql://h/d", "sqlite://", "sqlite:///:memory:", "postgresql+asyncpg://h/d"]
)
def test_a_database_that_cannot_be_used_is_a_mistake(text: str) -> None:
    assert mistakes(DatabaseSettings, database_url=text)[0].startswith("--database-url: ")


def test_a_variable_that_is_nearly_one_of_ours_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUTALLY_DATABSE_URL", "sqlite:////x")
    assert mistakes(CollectorSettings) == (
        "unknown variable GPUTALLY_DATABSE_URL: did you mean GPUTALLY_DATABASE_URL?",
    )


@pytest.mark.parametrize("name", ["COLLECTOR", "SPOOL_DIR", "COLLECTOR_SERVICE_HOST", "PORT_9856_TCP", "NODE"])
def test_variables_of_the_agent_and_of_kubernetes_are_none_of_ours(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = load(CollectorSettings, {})
    monkeypatch.setenv(f"GPUTALLY_{name}", "x")
    assert load(CollectorSettings, {}) == before


def test_plain_text_on_another_host_needs_to_be_asked_for() -> None:
    assert "--insecure-plaintext" in mistakes(CollectorSettings, grpc_listen="0.0.0.0:9856")[0]
    settings = load(CollectorSettings, {"grpc_listen": "0.0.0.0:9856", "insecure_plaintext": "true"})
    assert settings.grpc_listen == Address("0.0.0.0", 9856)


@pytest.mark.parametrize("text", ["", "x", "x:", "x:-1", "x:65536", "::1:80", "x:٣", "x:8 0"])
def test_what_is_not_host_and_port_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        parse_address(text)


@given(st.sampled_from(["127.0.0.1", "localhost", "::", "fe80::1", "db.example"]), st.integers(0, 65535))
def test_an_address_reads_back_as_it_is_written(host: str, port: int) -> None:
    address = Address(host, port)
    assert parse_address(address.text) == address


def test_an_address_without_host_is_every_interface() -> None:
    assert parse_address(":80") == Address("::", 80)
    assert not parse_address(":80").loopback


def test_the_file_of_a_database_is_known_only_for_sqlite() -> None:
    assert str(sqlite_file("sqlite:////a/b")) == "/a/b"
    assert sqlite_file("postgresql://h/d") is None


def test_every_setting_says_what_it_is_and_its_default() -> None:
    for field in CollectorSettings.model_fields.values():
        assert "Default: " in (field.description or "")
