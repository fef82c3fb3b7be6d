"""The grammar of /proc/<pid>/cgroup, on every form that is known and on recordings of real nodes."""

import csv
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputally.agent.probe.cgroup import ContainerRef, JobRef, job, parse, slice_uid, unit

MOST_BYTES = 256  # of a text in a window, at the collector's door
DATA = Path(__file__).parents[1] / "data/cgroup"
NODES = ("v1-cgroupfs", "v1-cgroupfs-nested", "v2-cgroupfs", "v2-systemd")

POD_A = "2c48913c-b29f-11e7-9350-020968147796"
POD_B = "a2830d0d-b0f0-4ff0-81b5-0ee4e299cf80"
ID_A = "9bca8d63d5fa610783847915bcff0ecac1273e5b4bed3f6fa1b07350e0135961"
ID_B = "a55d9ac3b312d8a2627824b6d6dd8af66fbec439bf4e0ec22d6d9945ad337a38"
NODE = "93529524695bb00d91c1f6dba692ea8d3550c3b94fb2463af7bc9ec82f992d26"


def vectors() -> list[dict[str, str]]:
    with (DATA / "vectors.tsv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def meant(row: dict[str, str]) -> ContainerRef | None:
    """`-` is None, `unknown` stays, kind `none` is no container at all."""
    if row["kind"] == "none":
        return None
    values = {key: None if row[key] == "-" else row[key] for key in ("pod_uid", "container_id", "qos", "runtime")}
    return ContainerRef(**values, kind=row["kind"])


@pytest.mark.parametrize("row", vectors(), ids=lambda row: f"{row['source']}:{row['path'][-40:]}")
def test_every_known_form_of_a_path_is_read(row: dict[str, str]) -> None:
    assert parse(row["path"]) == meant(row)


@pytest.mark.parametrize("row", vectors(), ids=lambda row: f"{row['source']}:{row['path'][-40:]}")
def test_a_line_of_the_file_says_the_same_as_its_bare_path(row: dict[str, str]) -> None:
    path = row["path"]
    bare = path.split(":", 2)[2] if path[0].isdigit() else path
    whole = "".join(f"{number}:{name}:{bare}\n" for number, name in ((2, "cpu,cpuacct"), (1, "name=systemd"), (0, "")))
    assert parse(bare) == parse(f"0::{bare}\n") == parse(whole) == meant(row)


def v1(path: str, unified: str = "/") -> str:
    names = ("name=systemd", "pids", "memory", "cpu,cpuacct", "devices")
    return "".join(f"{number}:{name}:{path}\n" for number, name in enumerate(names, 1)) + f"0::{unified}\n"


def test_f1_the_unified_line_of_a_hybrid_node_does_not_win() -> None:
    text = v1(
        f"/docker/{NODE}/kubepods/besteffort/pod{POD_B}/{ID_A}", f"/docker/{NODE}/system.slice/containerd.service"
    )
    assert parse(text) == ContainerRef(POD_B, ID_A, "besteffort", "unknown", "pod")


def test_f2_the_node_that_is_a_container_itself_is_not_the_workload() -> None:
    path = f"/docker/{NODE}/kubelet/kubepods/besteffort/pod{POD_B}/{ID_A}"
    ref = parse(f"12:cpuset:{path}\n0::/docker/{NODE}/system.slice/containerd.service\n")
    assert ref == ContainerRef(POD_B, ID_A, "besteffort", "unknown", "pod")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("11:hugetlb:/\n7:cpuset:/\n4:memory:/user.slice/user-0.slice/session-14.scope\n", id="F3"),
        pytest.param("9:perf_event:/\n8:freezer:/\n3:devices:/system.slice/docker.service\n", id="F4"),
        pytest.param(f"2:memory:/kubepods/pod{POD_A}/{ID_A}\n1:pids:/kubepods/pod{POD_B}/{ID_A}\n", id="F7"),
        pytest.param("", id="F8-empty"),
        pytest.param("0::/\n", id="F8-root"),
    ],
)
def test_f3_f4_f7_f8_host_processes_contradictions_and_nothing_are_no_container(text: str) -> None:
    assert parse(text) is None


def test_f5_underscores_in_the_cgroupfs_form_are_canonicalised() -> None:
    ref = parse(f"2:memory:/user.slice\n1:pids:/kubepods/pod{POD_A.replace('-', '_')}/{ID_A}\n")
    assert ref == ContainerRef(POD_A, ID_A, "guaranteed", "unknown", "pod")


def test_f6_lines_that_agree_on_the_pod_only_give_the_pod_without_a_container() -> None:
    ref = parse(f"2:memory:/kubepods/burstable/pod{POD_A}/{ID_A}\n1:pids:/kubepods/burstable/pod{POD_A}/{ID_B}\n")
    assert ref == ContainerRef(POD_A, None, "burstable", None, "pod")


def test_outside_pods_lines_that_name_different_containers_are_refused() -> None:
    assert parse(f"2:memory:/docker/{ID_A}\n1:pids:/docker/{ID_B}\n") is None


def test_a_line_that_stops_at_the_pod_does_not_contradict_one_that_names_the_container() -> None:
    text = f"2:cpu:/kubepods/burstable/pod{POD_A}\n1:pids:/kubepods/burstable/pod{POD_A}/{ID_A}\n"
    assert parse(text) == ContainerRef(POD_A, ID_A, "burstable", "unknown", "pod")


NESTED = f"0::/kubepods/burstable/pod{POD_A}/{ID_A}/kubepods/besteffort/pod{POD_B}/{ID_B}\n"
OUTER = ContainerRef(POD_A, ID_A, "burstable", "unknown", "pod")
INNER = ContainerRef(POD_B, ID_B, "besteffort", "unknown", "pod")


@pytest.mark.parametrize(
    ("known", "expected"),
    [((), INNER), ({POD_A}, OUTER), ({POD_B}, INNER), ({POD_A, POD_B}, OUTER), ({"somebody-else"}, INNER)],
)
def test_of_several_pods_the_outermost_known_one_counts_else_the_innermost(
    known: set[str], expected: ContainerRef
) -> None:
    """A cluster inside a pod knows its own pods only; a cgroup made inside a pod must not charge a neighbour."""
    assert parse(NESTED, known) == expected


def test_an_outer_pod_does_not_take_the_container_of_the_inner_one() -> None:
    ref = parse(f"/kubepods/pod{POD_A}/kubepods/pod{POD_B}/{ID_B}", {POD_A})
    assert ref == ContainerRef(POD_A, None, "guaranteed", None, "pod")


def test_what_the_workload_made_below_its_container_is_ignored() -> None:
    assert parse(f"/kubepods/pod{POD_A}/{ID_A}/jobs/{ID_B}") == parse(f"/kubepods/pod{POD_A}/{ID_A}")


def test_a_removed_cgroup_still_names_its_container() -> None:
    path = f"0::/kubepods/pod{POD_A}/{ID_A}"
    assert parse(f"{path} (deleted)\n") == parse(path) is not None


@pytest.mark.parametrize(
    "segment",
    [
        f"pod{POD_A}x",
        f"pod{POD_A[:-1]}",
        "podruntime",
        "pod123",
        f"tripod-pod{POD_A}",
        f"pod{'a' * 33}",
        f"pod{POD_A.upper()}",
    ],
)
def test_only_a_uid_makes_a_pod(segment: str) -> None:
    assert parse(f"/{segment}") is None


RECORDINGS = [(node, view.stem) for node in NODES for view in sorted((DATA / node).glob("proc-*.json"))]


def recorded(node: str, view: str) -> list[tuple[dict, str]]:
    """(what is true of a process, the text of its cgroup file) in one view of one recorded node."""
    files = json.loads((DATA / node / f"{view}.json").read_text())
    rows = json.loads((DATA / node / "expected.json").read_text())
    return [(row, files[name]) for row in rows if (name := f"{row['pid']}/cgroup") in files]


@pytest.mark.parametrize(("node", "view"), RECORDINGS)
def test_every_process_of_a_recorded_node_is_put_into_its_container(node: str, view: str) -> None:
    for row, text in recorded(node, view):
        assert agrees(parse(text), row, text), (row, text)


@pytest.mark.parametrize(("node", "view"), RECORDINGS)
def test_host_processes_of_a_recorded_node_keep_their_unit(node: str, view: str) -> None:
    units = {row["comm"]: unit(text) for row, text in recorded(node, view) if row["kind"] == "host"}
    driver = node.removeprefix("v2-")
    if units:
        assert units == {
            "systemd": "init.scope",
            "containerd": f"containerd-{driver}.service",
            "kubelet": f"kubelet-{driver}.service",
        }


def agrees(ref: ContainerRef | None, row: dict, text: str) -> bool:
    if row["kind"] == "host" or text == "0::/\n":  # the reader's own container is the root that it sees
        return ref is None
    if ref is None or ref.container_id != row["container_id"]:
        return False
    if text.startswith("0::/../") and "pod" not in text:  # the reader's own pause process: a sibling without its pod
        return (ref.pod_uid, ref.kind, row["kind"]) == (None, "container", "sandbox")
    seen = {row["qos"].lower()} if "kubepods" in text else {row["qos"].lower(), "unknown"}
    return ref.pod_uid == row["cgroup_pod_uid"] and ref.kind == "pod" and ref.qos in seen


def test_every_recorded_view_is_read() -> None:
    assert [len(recorded(node, view)) for node, view in RECORDINGS] == [39, 39, 6, 6, *[27] * 10]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0::/system.slice/slurmd.service/job_7\n", "slurmd.service"),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/tmux.scope\n", "tmux.scope"),
        ("2:memory:/user.slice\n1:name=systemd:/user.slice/user-0.slice/session-14.scope\n0::/\n", "session-14.scope"),
        ("1:name=systemd:/\n0::/system.slice/ssh.service\n", "ssh.service"),
        ("3:cpu:/\n2:memory:/system.slice/cron.service\n1:name=systemd:/\n", "cron.service"),
        ("0::/system.slice/ssh.service (deleted)\n", "ssh.service"),
        ("/system.slice/ssh.service", "ssh.service"),
        ("0::/\n", ""),
        ("0::/lxc/box\n", ""),
        ("", ""),
    ],
)
def test_the_unit_is_the_innermost_one_and_systemds_own_hierarchy_is_asked_first(text: str, expected: str) -> None:
    assert unit(text) == expected


@pytest.mark.parametrize(
    ("segment", "expected"),
    [
        ("=SUM(A1).scope", "\\x3dSUM\\x28A1\\x29.scope"),
        ("\x1b[2J.scope", "\\x1b\\x5b2J.scope"),
        ("ä\ufffd.scope", "\\xc3\\xa4\\xef\\xbf\\xbd.scope"),
        ("a b\u2028,;.slice", "a\\x20b\\xe2\\x80\\xa8\\x2c\\x3b.slice"),
        ("\udc80.scope", "\\xed\\xb2\\x80.scope"),
        ("app-vte\\x2dspawn@1.service", "app-vte\\x2dspawn@1.service"),
    ],
)
def test_a_unit_that_a_user_named_has_signs_of_units_only(segment: str, expected: str) -> None:
    """It becomes a name in reports, files and terminals."""
    assert unit(f"0::/user.slice/user-1000.slice/user@1000.service/{segment}\n") == expected


@pytest.mark.parametrize("sign", ["a", "ä", "\ufffd", "\U0001f600"])
def test_a_unit_is_no_longer_than_a_collector_takes(sign: str) -> None:
    """255 bytes that are no UTF-8 are 765 once read; one such name would cost the window of the whole node."""
    assert len(unit(f"0::/user.slice/{sign * 249}.scope\n").encode()) <= 253 < MOST_BYTES


POD_LIKE = (
    f"kubepods.slice/kubepods-pod{POD_A.replace('-', '_')}.slice/cri-containerd-{ID_A}.scope",
    f"kubepods/burstable/pod{POD_A}/{ID_A}",
    f"app.slice/cri-containerd-{ID_A}.scope",
    f"docker-{ID_A}.scope",
)


@pytest.mark.parametrize("made", POD_LIKE)
@pytest.mark.parametrize(
    "home",
    [
        "/user.slice/user-1000.slice/user@1000.service",
        "/user.slice",
        "/../../user.slice/user-1000.slice/user@1000.service",
        "/../user-1000.slice/user@1000.service",
        "/../user@1000.service",
    ],
)
def test_what_a_user_made_below_his_slice_is_no_pod_whatever_he_calls_it(home: str, made: str) -> None:
    """Else whoever may log in to a node could have a neighbour's pod pay."""
    runtime = "unknown" if made.endswith(f"/{ID_A}") else "docker" if "docker" in made else "containerd"
    assert parse(f"0::{home}/{made}\n", {POD_A}) == ContainerRef(None, ID_A, None, runtime, "user")
    assert parse(f"2:memory:/user.slice\n1:name=systemd:{home}/{made}\n0::/\n", {POD_A}) == parse(f"{home}/{made}")


@pytest.mark.parametrize(
    ("text", "uid"),
    [
        ("0::/user.slice/user-1000.slice/session-3.scope\n", 1000),
        ("0::/../../user.slice/user-1000.slice/user@1000.service/a.scope\n", 1000),
        ("0::/../user-1000.slice/session-3.scope\n", 1000),
        ("2:memory:/user.slice\n1:name=systemd:/user.slice/user-1000.slice/session-3.scope\n0::/\n", 1000),
        ("0::/user.slice/user-1000.slice (deleted)\n", None),
        ("0::/system.slice/a.service/user.slice/user-1000.slice\n", None),
        ("0::/system.slice/user-1000.slice\n", None),
        ("0::/user.slice/user-x.slice\n", None),
        ("2:a:/user.slice/user-1.slice\n1:b:/user.slice/user-2.slice\n", None),
        ("0::/\n", None),
        ("", None),
    ],
)
def test_a_users_slice_is_the_one_that_root_made(text: str, uid: int | None) -> None:
    assert slice_uid(text) == uid


def test_a_pod_that_runs_systemd_has_a_user_slice_of_its_own() -> None:
    path = f"/kubepods/pod{POD_A}/{ID_A}"
    assert parse(f"0::{path}/user.slice/user-0.slice/session-1.scope\n") == parse(path)


def test_a_monitor_below_a_users_slice_is_his_own_process() -> None:
    assert parse(f"0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-conmon-{ID_A}.scope\n") is None


WORDS = ("pod", "kubepods", "burstable", ".slice", ".scope", "docker", "crio", "crio-conmon", "cri-containerd")
PIECES = st.sampled_from(
    [*WORDS, *"/:-_\n\x00", "..", "0::", "4:memory:", POD_A, POD_B.replace("-", "_"), ID_A, ID_B, " (deleted)"]
)
TEXTS = st.text() | st.lists(PIECES | st.text(max_size=3), max_size=30).map("".join)


@given(TEXTS)
def test_no_text_makes_it_raise(text: str) -> None:
    ref = parse(text, {POD_A})
    assert ref is None or (ref.kind in {"pod", "container", "monitor", "user"} and isinstance(unit(text), str))


@given(
    st.permutations(NESTED.splitlines() + v1(f"/kubepods/besteffort/pod{POD_B}/{ID_B}", f"/docker/{NODE}").splitlines())
)
def test_the_order_of_the_lines_does_not_matter(lines: list[str]) -> None:
    assert parse("\n".join(lines), {POD_B}) == parse("\n".join(reversed(lines)), {POD_B})


# Slurm.


def slurm_vectors() -> list[dict[str, str]]:
    with (DATA / "slurm.tsv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


@pytest.mark.parametrize("row", slurm_vectors(), ids=lambda row: f"{row['source']}:{row['text'][:60]}")
def test_every_known_form_of_a_job_is_read_and_no_likeness(row: dict[str, str]) -> None:
    """Where tenants may name cgroups (user.slice, services, containers) a job's name means nothing."""
    expected = None if row["job"] == "-" else JobRef(row["job"], None if row["uid"] == "-" else int(row["uid"]))
    assert job(row["text"]) == expected


def test_every_process_of_a_recorded_job_is_the_jobs() -> None:
    rows = json.loads((DATA / "slurm-22.05" / "processes.json").read_text())
    assert [job(row["text"]) for row in rows] == [JobRef("job_2", 5001)] * len(rows)
    assert [parse(row["text"]) for row in rows] == [None] * len(rows)


def test_lines_that_name_different_jobs_are_none() -> None:
    assert job("6:freezer:/slurm/uid_1/job_1\n5:devices:/slurm/uid_1/job_2/step_0\n") is None


def test_no_container_is_in_the_path_of_a_job() -> None:
    assert not [row for row in slurm_vectors() if row["job"] != "-" and parse(row["text"])]


@given(st.text(alphabet="/job_slurmtepd.cuiv0123456789:\n()", max_size=200))
def test_any_text_is_a_job_or_none(text: str) -> None:
    found = job(text)
    assert found is None or found.name.removeprefix("job_").isdecimal()
