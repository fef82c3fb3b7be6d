"""Tokens in a file: hashes only, read again when they change, and nobody comes in by a mistake in it."""

import asyncio
import hashlib
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputally.collector.auth.errors import Forbidden, Unauthenticated, Undecided
from gputally.collector.auth.reader import Reader, Role
from gputally.collector.auth.static_tokens import MAX_FILE_BYTES, StaticTokens, TokenFileError, find, parse

NOWHERE = Path("tokens.toml")


def sha256(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def entry(name: str, token: str, role: str = "viewer", more: str = "") -> str:
    return f'[[token]]\nname = "{name}"\nsha256 = "{sha256(token)}"\nrole = "{role}"\n{more}\n'


ALL = (
    entry("root", "r00t", "admin")
    + entry("grafana", "g", "viewer")
    + entry("vision", "v", "viewer", 'namespaces = ["vision", "vision-dev"]\nclusters = ["prod"]')
    + entry("nothing", "n", "viewer", "namespaces = []")
)


def ask(tokens: StaticTokens, authorization: str | None) -> Reader:
    return asyncio.run(tokens.authenticate(authorization))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tokens.toml"
    path.write_text(ALL)
    return path


def test_a_token_is_its_reader(file: Path) -> None:
    tokens = StaticTokens(file)
    assert ask(tokens, "Bearer r00t") == Reader("root", Role.ADMIN, None)
    assert ask(tokens, "bearer g") == Reader("grafana", Role.VIEWER, None)
    vision = ask(tokens, "Bearer v")
    assert vision == Reader("vision", Role.VIEWER, frozenset({"vision", "vision-dev"}), frozenset({"prod"}))
    assert ask(tokens, "Basic YW55Ym9keTp2") == vision  # anybody:v, as a browser sends it


def test_no_namespaces_is_not_all_namespaces(file: Path) -> None:
    """Unknown is never all."""
    assert ask(StaticTokens(file), "Bearer n").namespaces == frozenset()


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer ", "Bearer x", "Basic", "Basic !", "Basic eA==", "Digest g", "g", "Bearer gg"],
)
def test_what_is_no_known_token_is_refused(file: Path, authorization: str | None) -> None:
    """Not even the hash of one lets in."""
    with pytest.raises(Unauthenticated):
        ask(StaticTokens(file), authorization)


@pytest.mark.parametrize("token", ["ü", "g" * 20_000, sha256("g"), "g\0"])
def test_what_cannot_be_a_token_is_refused(file: Path, token: str) -> None:
    with pytest.raises(Unauthenticated):
        ask(StaticTokens(file), f"Bearer {token}")


def test_a_token_that_is_taken_out_is_refused_at_once_and_a_new_one_is_taken(file: Path) -> None:
    tokens = StaticTokens(file)
    file.write_text(entry("new", "new"))
    with pytest.raises(Unauthenticated):
        ask(tokens, "Bearer g")
    assert ask(tokens, "Bearer new").name == "new"


def test_a_file_that_became_unusable_lets_nobody_in_until_it_is_repaired(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What is gone may be the line that took somebody's right away."""
    tokens = StaticTokens(file)
    for broken in ("[[token", ALL + entry("again", "g")):
        file.write_text(broken)
        for _ in range(2):
            with pytest.raises(Undecided, match="log says why"):
                ask(tokens, "Bearer g")
    file.unlink()
    with pytest.raises(Undecided):
        ask(tokens, "Bearer g")
    file.write_text(ALL)
    assert ask(tokens, "Bearer g").name == "grafana"
    assert len(caplog.records) == 3
    assert sha256("g") not in caplog.text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "nothing else"),
        ("token = []", "1 to 1000 tokens"),
        ("token = 7", "nothing else"),
        (ALL + "x = 1", "unknown field x"),
        ("x = 1\n" + ALL, "nothing else"),
        (entry("a", "t", "root"), "role must be admin or viewer"),
        (entry("a", "t", "admin", 'namespaces = ["x"]'), "an admin sees all"),
        (entry("a", "t", "viewer", 'namespaces = "x"'), "namespaces must be a list"),
        (entry("a", "t", "viewer", 'clusters = [""]'), "clusters must be a list"),
        (entry("", "t"), "name must be a text"),
        ('[[token]]\nname = "a"\nrole = "viewer"\nsha256 = "plain-token"', "not the token"),
        ('[[token]]\nname = "a"\nrole = "viewer"', "sha256 must be"),
        (entry("a", "t") + entry("a", "u"), "two tokens have the same name"),
        (entry("a", "t") + entry("b", "t"), "two tokens have the same sha256"),
        ("[[token]\n", "no TOML"),
    ],
)
def test_every_mistake_in_a_file_is_told(text: str, words: str) -> None:
    with pytest.raises(TokenFileError, match=words) as caught:
        parse(NOWHERE, text.encode())
    assert "plain-token" not in str(caught.value)
    assert sha256("t") not in str(caught.value)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(TokenFileError) as caught:
        parse(NOWHERE, b"[[token]]\n[[token]]\n")
    assert len(caught.value.mistakes) == 8


def test_a_file_that_is_missing_or_too_large_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(TokenFileError, match="No such file"):
        StaticTokens(tmp_path / "none")
    large = tmp_path / "large"
    large.write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    with pytest.raises(TokenFileError, match="larger than"):
        StaticTokens(large)


@given(st.binary(max_size=300) | st.text(max_size=200).map(str.encode))
def test_no_content_breaks_the_reader(content: bytes) -> None:
    """It is entries, or a refusal with a reason."""
    with suppress(TokenFileError):
        assert parse(NOWHERE, content)


@given(st.text(min_size=1, max_size=40))
def test_only_the_token_itself_is_found(token: str) -> None:
    tokens = parse(NOWHERE, ALL.encode())
    if token in ("r00t", "g", "v", "n"):
        assert find(tokens, token)
    else:
        with pytest.raises(Unauthenticated):
            find(tokens, token)


def test_a_viewer_may_not_change() -> None:
    Reader("a", Role.ADMIN, None).require_admin()
    with pytest.raises(Forbidden, match="needs the role admin"):
        Reader("v", Role.VIEWER, None).require_admin()


def test_whoever_sees_all_has_no_bounds() -> None:
    assert Reader("a", Role.VIEWER, None).sees_all
    assert not Reader("a", Role.VIEWER, frozenset()).sees_all
    assert not Reader("a", Role.VIEWER, None, frozenset({"prod"})).sees_all
