"""Files of rules: every mistake is told with its line, and no rule can say who pays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputally.collector.files.yaml_file import FileMistakes
from gputally.collector.workloads.parse import MOST_RULES, shipped_book
from gputally.collector.workloads.pod import VARIABLES, PodFacts
from gputally.collector.workloads.workload import CLAIMS, NUMBERS, TEXTS, Workload

TAKEN = (*TEXTS, *NUMBERS, *CLAIMS)
PLACES = "label KEY, annotation KEY, variable KEY, owner label KEY, owner annotation KEY, owner name, pod name"


def told(text: str) -> list[str]:
    """The mistakes of a user's file."""
    with pytest.raises(FileMistakes) as raised:
        shipped_book(f"version: 1\n{text}".encode())
    return [f"{mistake.line}: {mistake.text}" for mistake in raised.value.mistakes]


FACT = "facts:\n  - name: a\n    labels: {x: }\n    "
RULE = "before:\n  - "
MISTAKES = {
    "owners: []": ["2: unknown field owners: known are version, before, after, facts"],
    "before: 7": ["2: before: expected a list"],
    "before: [{}]": ["2: name is missing", "2: owner or claimed is missing"],
    f"{RULE}{{name: Big, owner: Job.batch}}": ["3: name Big: expected small letters, digits, dots and dashes"],
    f"{RULE}{{name: ray-job, owner: Job.batch}}": ["3: name ray-job: another rule has this name"],
    f"{RULE}{{name: pod, owner: Job.batch}}": ["3: name pod: another rule has this name"],
    f"{RULE}{{name: a, owner: Job.batch}}\nafter:\n  - {{name: a, owner: Job.batch}}": [
        "5: name a: another rule has this name"
    ],
    f"{RULE}{{name: a, owner: [Job.batch, batch/Job]}}": [
        "3: owner batch/Job: expected a kind and its API group, such as Job.batch"
    ],
    f"{RULE}{{name: a, claimed: {{above: nobody, name: pod name}}}}": [
        "3: kind is missing: an owner that is claimed has none of its own"
    ],
    f"{RULE}{{name: a, kind: Team, claimed: {{}}}}": ["3: above is missing", "3: name is missing"],
    f"{RULE}{{name: a, kind: Team, claimed: {{above: someone, name: pod name}}}}": [
        "3: above someone: expected a kind and its API group, such as Job.batch"
    ],
    f"{RULE}{{name: a, owner: Job.batch, labels: [x]}}": [
        "3: labels: expected keys and their texts (nothing: any text)"
    ],
    f"{RULE}{{name: a, owner: Job.batch, labels: {{x: {{like: y}}}}}}": [
        "3: pattern is missing",
        "3: unknown field like: known are pattern",
    ],
    f"{RULE}{{name: a, owner: Job.batch, labels: {{x: {{pattern: (a+)+}}}}}}": [
        "3: pattern (a+)+: + after ): neither a repetition nor a group can be repeated"
    ],
    f"{RULE}name: a\n    owner: Job.batch\n    variables: [AWS_SECRET_ACCESS_KEY]": [
        f"5: variable AWS_SECRET_ACCESS_KEY: looked at are only {', '.join(VARIABLES)}"
    ],
    "facts:\n  - {name: a}": ["3: a condition is missing (labels, annotations, variables)", "3: take is missing"],
    f"{FACT}take: {{run: variable PATH}}": [f"5: variable PATH: looked at are only {', '.join(VARIABLES)}"],
    f"{FACT}take:\n      run: lable x\n      step: []": [
        f"6: run: lable x says not where it is taken from; known are {PLACES}, service account, text KEY",
        "7: step: expected where it is taken from, such as label team",
    ],
    f"{FACT}take: {{run: {{pattern: a, without: pod name}}}}": ["5: from is missing"],
    f"{FACT}take: {{run: {{from: label a, pattern: (a)(b)}}}}": [
        "5: pattern (a)(b): more than one group: write (?:...) for those that are not taken"
    ],
}


@pytest.mark.parametrize("text", MISTAKES)
def test_every_mistake_is_told_with_its_line(text: str) -> None:
    assert told(text) == MISTAKES[text]


@pytest.mark.parametrize("field", ["namespace", "name", "uid", "evidence", "rule", "platform", "payer", "refused"])
def test_no_rule_takes_who_pays_from_anywhere(field: str) -> None:
    """What is paid rests on the namespace alone, which is the pod's own; and nothing can forge how a thing is known."""
    (mistake,) = told(f"facts:\n  - name: a\n    labels: {{x: }}\n    take: {{{field}: label x}}")
    assert mistake.startswith(f"5: unknown field {field}: ")


def test_what_can_be_taken_are_fields_of_a_workload() -> None:
    assert set(TAKEN) <= set(Workload.__slots__)
    assert "namespace" not in TAKEN


def test_the_number_of_rules_is_bounded() -> None:
    rules = "\n".join(f"  - {{name: r{i}, owner: Job.batch}}" for i in range(MOST_RULES + 1))
    assert told(f"before:\n{rules}") == [f"{MOST_RULES + 3}: more than {MOST_RULES} rules"]


def test_a_file_of_another_version_or_none_is_refused() -> None:
    for content, mistake in ((b"", "the file is empty"), (b"version: 2\n", "version 2: this program reads version 1")):
        with pytest.raises(FileMistakes, match=mistake):
            shipped_book(content)


def test_conditions_are_texts_presence_or_patterns() -> None:
    own = b"""
version: 1
facts:
  - {name: just, labels: {a: "1"}, take: {role: text just}}
  - {name: like, labels: {a: {pattern: "[0-9]+"}}, take: {role: text like}}
  - {name: any, labels: {a: }, take: {role: text any}}
"""
    book = shipped_book(own)
    roles = {value: book.resolve(PodFacts("n", "p", labels={"a": value})).role for value in ("1", "22", "x", " ", "")}
    assert roles == {"1": "just", "22": "like", "x": "any", " ": None, "": None}


def test_values_come_from_where_a_rule_says_and_the_first_that_is_there_counts() -> None:
    own = b"""
version: 1
facts:
  - name: all-places
    labels: {a: }
    take:
      role: [label none, annotation b]
      run: {from: pod name, pattern: "(.+)-[0-9]+"}
      step: {from: label a, without: annotation b}
      revision: service account
      user: {from: label a, pattern: "[a-z]+-.*"}
      rank: label a
"""
    pod = PodFacts("n", "run-7", labels={"a": "x-y"}, annotations={"b": "y"}, service_account="runner")
    found = shipped_book(own).resolve(pod)
    assert (found.role, found.run, found.step, found.revision, found.rank) == ("y", "run", "x", "runner", None)
    assert str(found.user) == "x-y"


_FIELDS = st.sampled_from(
    [
        *("name: a", "name: b", "name: A", "owner: Job.batch", "owner: []", "owner: {}", "kind: Team", "kind: [x]"),
        *("labels: {a: }", "labels: {a: [1]}", "labels: {a: {pattern: '('}}", "annotations: 7", "variables: [7]"),
        *("take: {run: label a}", "take: {rank: {from: 7}}", "take: [run]", "take: {run: [[label a]]}", "note: x"),
        *("claimed: {above: nobody, name: label a}", "claimed: {above: nobody}", "claimed: x", "x: 1"),
    ]
)
_RULES = st.lists(st.lists(_FIELDS, min_size=1, max_size=5, unique_by=lambda text: text.partition(":")[0]), max_size=3)


@given(_RULES, _RULES, _RULES)
def test_whatever_is_written_is_read_or_told(
    before: list[list[str]], after: list[list[str]], facts: list[list[str]]
) -> None:
    sections = {"before": before, "after": after, "facts": facts}
    text = "".join(
        f"{section}:\n" + "".join("  - " + "\n    ".join(rule) + "\n" for rule in rules)
        for section, rules in sections.items()
    )
    try:
        book = shipped_book(f"version: 1\n{text}".encode())
    except FileMistakes:
        return
    assert book.resolve(PodFacts("n", "p", labels={"a": "1"})).namespace == "n"
