"""The namespace that a user is: two users are never one, and a name divides nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputally.accounting.keys import is_user, user_namespace

NAMES = st.text(st.characters(exclude_categories=("Cs",)), max_size=30)


@pytest.mark.parametrize(
    ("login", "expected"),
    [
        ("alice", "user:alice"),
        ("alice@corp.example", "user:alice@corp.example"),
        ("CORP\\alice", "user:CORP\\alice"),
        ("jörg", "user:jörg"),
        ("CORP/alice", "user:CORP%2Falice"),
        ("a:b c", "user:a%3Ab%20c"),
        ("100%", "user:100%25"),
        ("x\u202ey\n", "user:x%E2%80%AEy%0A"),
    ],
)
def test_a_login_name_is_a_namespace_of_signs_that_can_be_seen_and_divide_nothing(login: str, expected: str) -> None:
    assert user_namespace(login) == expected
    assert is_user(expected)


@given(NAMES, NAMES)
def test_two_users_are_two_namespaces(one: str, other: str) -> None:
    assert (user_namespace(one) == user_namespace(other)) == (one == other)


@given(NAMES)
def test_a_users_namespace_has_one_colon_no_slash_and_nothing_invisible(login: str) -> None:
    namespace = user_namespace(login)
    assert namespace.count(":") == 1
    assert namespace.isprintable()
    assert not {"/", " "} & set(namespace)
