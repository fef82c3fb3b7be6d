"""The overview's first line: what is held and idle at this moment, and nothing that nobody knows."""

import re
from html import unescape

from fastapi import FastAPI
from sqlalchemy import Engine
from tests.collector.now.test_pods import pricer
from tests.collector.top.facts import NOON_US, spell, standing
from tests.collector.web.fixtures import READERS, SILENT_US, pages, text

from gputally.collector.now.pods import by_pod
from gputally.collector.now.whose import Holder
from gputally.collector.web.idle import summary
from gputally.collector.web.waste import waste


def callout(page: str) -> str:
    """The line in words; empty where there is none."""
    found = re.search(r'<p class="callout">(.*?)</p>', page, re.DOTALL)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", "", found[1]))) if found else ""


def test_it_says_how_many_what_they_cost_and_who_has_the_most(app: FastAPI) -> None:
    """Eight idle H100 at 3.60, three sevenths of an A100 at 1.90; a silent node counts nowhere."""
    said = callout(text(app, "/"))
    assert said.startswith("8.43 of 15.86 GPUs that are held do nothing at this moment, for 29.61 EUR an hour: ")
    assert "jobset/pretrain-llm in research has 8, pod/demo-1 in playground has 0.43" in said
    assert "ada" not in said


def test_it_is_of_now_and_of_everybody(app: FastAPI) -> None:
    assert callout(text(app, "/", month="2026-10")) == ""
    assert callout(text(app, "/", team="language")) == ""


def test_a_reader_sees_what_is_theirs(guarded: FastAPI) -> None:
    assert callout(text(guarded, "/", "research")).startswith("8 of 8 GPUs")
    assert callout(text(guarded, "/", "nothing")) == ""


def test_a_sum_that_leaves_out_what_has_no_price_is_at_least_so_much() -> None:
    """A sum of some is not the cost of all."""
    some = [standing(idle=60), standing(idle=60, namespace="elsewhere")]
    found = [waste(standings, {}, pricer(), NOON_US) for standings in (some, some[:1], some[1:])]
    assert [one and one.rate for one in found] == ["at least 3.60 EUR", "3.60 EUR", "unpriced"]
    spells = [spell(some[0], 2, 7), spell(some[1], 2, None)]
    sums = [summary(by_pod(each, pricer(), NOON_US), "EUR")[1:] for each in (spells, spells[:1], spells[1:], [])]
    assert sums == [
        ("at least 7.00 EUR", "at least 3.60 EUR"),
        ("7.00 EUR", "3.60 EUR"),
        ("unpriced", "unpriced"),
        ("0.00 EUR", "0.00 EUR"),
    ]


def test_pods_of_one_name_in_two_clusters_are_two_holders() -> None:
    found = waste([standing(idle=60, cluster=cluster) for cluster in ("east", "west")], {}, pricer(), NOON_US)
    assert found is not None
    assert [(one.name, one.gpus) for one in found.most] == [("pod/train-0", "1")] * 2


def test_all_pods_of_a_workload_are_one_holder() -> None:
    ranks = [standing(idle=60, pod=f"train-{rank}") for rank in range(2)]
    labels = {Holder.of(one.part): "pytorchjob.kubeflow/train" for one in ranks}
    found = waste(ranks, labels, pricer(), NOON_US)
    assert found is not None
    assert [(one.name, one.namespace, one.gpus) for one in found.most] == [("pytorchjob.kubeflow/train", "vision", "2")]


def test_what_could_not_be_measured_is_not_said_to_be_in_use(filled: Engine) -> None:
    """Nobody measures one L40S of sandbox; a reader of research is not told of it."""
    said = "Whether 1 part of GPUs that pods hold is idle nobody can tell"
    with pages(filled, now_us=lambda: SILENT_US) as before_the_node_fell_silent:
        assert said in text(before_the_node_fell_silent, "/idle")
    with pages(filled, READERS, now_us=lambda: SILENT_US) as guarded:
        assert "nobody can tell" not in text(guarded, "/idle", "research")
