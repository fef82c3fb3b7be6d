"""Walking a JSON document: every mistake is noted with its place, and the walk goes on."""

import pytest

from gputally.agent.simulated.json_field import Field, parse_json


def field(value: object) -> Field:
    return Field(value, "here", [])


@pytest.mark.parametrize(
    ("value", "reader", "words"),
    [
        (3, "text", "should be a text, is the number 3"),
        ("", "text", "should be a text, is the text ''"),
        (None, "flag", "should be true or false, is null"),
        (True, "number", "should be a number, is true or false"),
        ({}, "number", "should be a number, is an object"),
        (11, "number", "should be between 0 and 10, is 11"),
        (float("nan"), "number", "should be between 0 and 10, is nan"),
        (1.5, "whole", "should be a whole number, is 1.5"),
    ],
)
def test_a_wrong_value_is_noted_with_its_place(value: object, reader: str, words: str) -> None:
    it = field(value)
    bounds = (0, 10) if reader in {"number", "whole"} else ()
    getattr(it, reader)(*bounds)
    assert it.mistakes == [f"here: {words}"]


def test_good_values_come_through_unchanged() -> None:
    assert field("a").text() == "a"
    assert field(False).flag() is False
    assert field(2.5).number(0, 10) == 2.5
    assert field(10).whole(0, 10) == 10


def test_unknown_and_missing_names_are_both_told() -> None:
    it = field({"nmae": 1, "zzz": 2})
    assert it.object(["name"], ["size"]) == {}
    assert sorted(it.mistakes) == [
        "here.nmae: there is no such field; did you mean `name`?",
        "here.zzz: there is no such field; there are name, size",
        "here: `name` is missing",
    ]


def test_places_name_the_path() -> None:
    document = parse_json('{"a": [1, {"b": 2}]}', [])
    _, second = document.object(["a"])["a"].items()
    assert second.object(["b"])["b"].where == "a[1].b"


def test_an_object_or_a_list_that_is_none_is_one_mistake() -> None:
    mistakes: list[str] = []
    Field([], "x", mistakes).object(["name"])
    Field({}, "y", mistakes).items()
    assert mistakes == ["x: should be an object, is a list", "y: should be a list, is an object"]


def test_a_name_that_stands_twice_is_a_mistake() -> None:
    mistakes: list[str] = []
    parse_json('{"a": {"b": 1, "b": 2}}', mistakes)
    assert mistakes == ["the file: `b` stands twice in one object"]


def test_a_text_that_is_not_json_is_a_mistake() -> None:
    mistakes: list[str] = []
    parse_json("{", mistakes)
    assert mistakes[0].startswith("the file is not JSON: ")
