"""YAML by hand: text stays text, every mistake has a line, and no file can hurt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputally.collector.files import yaml_file
from gputally.collector.files.yaml_file import Fields, Items, Mistakes, Node, Scalar, as_fields, as_text, parse_yaml


def read(text: str | bytes) -> tuple[Node | None, list[str]]:
    mistakes = Mistakes()
    node = parse_yaml(text if isinstance(text, bytes) else text.encode(), mistakes)
    return node, [f"{mistake.line}: {mistake.text}" for mistake in mistakes.all]


def test_what_is_written_stays_text_and_knows_its_line() -> None:
    """2.50 as a float would be 2.5, and 010 as a number would be 8."""
    node, mistakes = read("price: 2.50\nitems:\n  - 010\n  - 2026-11-01\n")
    assert mistakes == []
    assert node == Fields(
        1,
        (
            (Scalar(1, "price"), Scalar(1, "2.50")),
            (Scalar(2, "items"), Items(3, (Scalar(3, "010"), Scalar(4, "2026-11-01")))),
        ),
    )


def test_nothing_is_not_an_empty_text() -> None:
    node, _ = read('a:\nb: ~\nc: ""\n')
    assert isinstance(node, Fields)
    assert node.get("a") is None
    assert node.get("b") is None
    assert node.get("c") == Scalar(3, "")


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("a: &x [1]\nb: *x\n", "1: anchors and aliases (& and *) are not accepted: write the value out"),
        ("a: 1\nb: *x\n", "2: anchors and aliases (& and *) are not accepted: write the value out"),
        ("a: 1\n\na: 2\n", "3: a: this key is there already"),
        ("a: !!python/object:os.system 1\n", "1: tags are not accepted: tag:yaml.org,2002:python/object:os.system"),
        ("a: 1\n---\nb: 2\n", "2: a second document: one file is one document"),
        ("[a]: 1\n", "1: a key must be a plain text"),
        ("[[[[[[[[[[1]]]]]]]]]]\n", "1: nested more than 8 deep"),
    ],
)
def test_what_yaml_allows_and_nobody_needs_is_refused(text: str, mistake: str) -> None:
    assert read(text) == (None, [mistake])


def test_broken_yaml_is_told_with_its_line() -> None:
    node, (mistake,) = read("a: 1\nb: [1\nc: 2\n")
    assert node is None
    assert mistake.startswith("3: not YAML: ")
    assert read("a: [")[1][0].startswith("1: not YAML: ")
    assert read(b"a: 1\n\xff")[1] == ["2: the file is not UTF-8"]


def test_a_file_that_is_too_large_is_not_even_parsed() -> None:
    node, (mistake,) = read(b"x" * (yaml_file.MOST_BYTES + 1))
    assert node is None
    assert "accepted are at most 1048576" in mistake


def test_a_nest_of_any_depth_ends_in_a_mistake() -> None:
    """A recursive parser would end in a crash."""
    assert read("[" * 500_000)[0] is None
    assert read("{a: " * 100_000)[0] is None
    assert read("- " * 300_000)[0] is None


def test_more_values_than_accepted_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_file, "MOST_VALUES", 3)
    assert read("[1, 2, 3]")[1] == ["1: the file has more than 3 values"]


def test_mistakes_are_bounded_and_the_rest_is_counted() -> None:
    mistakes = Mistakes()
    for line in range(1, yaml_file.MOST_MISTAKES + 6):
        mistakes.add(line, "wrong")
    assert len(mistakes.all) == yaml_file.MOST_MISTAKES + 1
    assert mistakes.all[-1].text == "and 5 more mistakes"


def test_an_unknown_field_is_told_with_the_nearest_known_one() -> None:
    node, _ = read("curency: EUR\nzzz: 1\n")
    mistakes = Mistakes()
    as_fields(node, "a card", ("currency", "prices"), mistakes)
    assert [mistake.text for mistake in mistakes.all] == [
        "unknown field curency: did you mean currency?",
        "unknown field zzz: known are currency, prices",
    ]


def test_a_list_where_a_text_belongs_is_a_mistake() -> None:
    node, _ = read("a: [1]\n")
    mistakes = Mistakes()
    assert isinstance(node, Fields)
    assert as_text(node.get("a"), "a", mistakes) is None
    assert [mistake.text for mistake in mistakes.all] == ["a: expected a text"]


def test_a_text_is_one_printable_line() -> None:
    """It will stand in tables, files and a database, which take no NUL."""
    for text in ('a: "x\\0y"\n', 'a: "x\\ny"\n', "a: |\n  x\n  y\n"):
        node, _ = read(text)
        mistakes = Mistakes()
        assert isinstance(node, Fields)
        assert as_text(node.get("a"), "a", mistakes) is None
        assert [mistake.text for mistake in mistakes.all] == ["a: expected a text of one line"]


@given(content=st.binary(max_size=300) | st.text(alphabet="ab:-[]{}&*!|>#%@\n\t \"'~0.", max_size=200).map(str.encode))
def test_no_content_raises(content: bytes) -> None:
    """Either a node or a mistake."""
    node, mistakes = read(content)
    assert node is None or mistakes == []
