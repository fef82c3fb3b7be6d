"""Slurm's jobs and their GPUs, from the folder that its Prolog and Epilog keep."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputally.accounting.keys import Holding, Owner, user_namespace
from gputally.accounting.states import OwnerKind
from gputally.agent.held import NOBODY, Held
from gputally.agent.reservations.grants import GrantBook, ReservationPoller
from gputally.agent.sample import DeviceInfo
from gputally.agent.slurm_jobs import MOST_BYTES, BadJob, Job, JobsUnreadable, SlurmJobs, parse_job

ROOT = Path(__file__).parents[2]
ENVIRONMENTS = json.loads((ROOT / "tests/data/cgroup/slurm-22.05/environments.json").read_text())
GPUS = tuple(DeviceInfo(f"GPU-0000000{n}-0000-4000-8000-000000000000", n, "H100", minor=n) for n in range(2))


def jobs_of(folder: Path) -> SlurmJobs:
    return SlurmJobs(folder, lambda: 7, (os.geteuid(),))


def write(folder: Path, job: int, user: str, gpus: str, began_us: int = 5_000_000) -> None:
    path = folder / str(job)
    path.write_text(f"SLURM_JOB_ID={job}\nSLURM_JOB_UID=1000\nSLURM_JOB_USER={user}\nSLURM_JOB_GPUS={gpus}\n")
    path.chmod(0o644)
    os.utime(path, ns=(began_us * 1000, began_us * 1000))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)
    return tmp_path


def holders(folder: Path) -> dict[str, Held]:
    """Who holds the two GPUs, by all that lies between the folder and attribution."""
    jobs = jobs_of(folder)
    poller = ReservationPoller(jobs, GrantBook(jobs.of_name, lambda: 9), 1_000_000, lambda: 7)
    poller.poll()
    [(_, placement)] = poller.take()
    return placement(GPUS)


def owner(job: int, user: str) -> Owner:
    return Owner(OwnerKind.POD, f"user:{user}", f"job_{job}", pod_uid=f"job_{job}")


def test_a_job_holds_the_gpus_that_its_prolog_names_and_the_rest_is_free(folder: Path) -> None:
    write(folder, 42, "alice", "1")
    held = holders(folder)
    assert held[GPUS[0].uuid] == NOBODY
    assert held[GPUS[1].uuid] == Held((Holding(owner(42, "alice")),))


def test_of_two_jobs_with_one_gpu_the_later_counts(folder: Path) -> None:
    """The file of a job whose Epilog never ran stands in nobody's way."""
    write(folder, 42, "alice", "0", began_us=5)
    write(folder, 7, "bob", "0", began_us=6)
    assert holders(folder)[GPUS[0].uuid] == Held((Holding(owner(7, "bob")),))


def test_gpus_may_be_named_by_uuid_and_a_name_that_means_nothing_makes_no_gpu_free(folder: Path) -> None:
    write(folder, 1, "alice", GPUS[0].uuid)
    assert holders(folder)[GPUS[0].uuid] == Held((Holding(owner(1, "alice")),))
    write(folder, 2, "bob", "?")
    assert holders(folder)[GPUS[0].uuid].known
    assert not holders(folder)[GPUS[1].uuid].known


def test_a_job_without_a_gpu_holds_nothing_and_is_known_all_the_same(folder: Path) -> None:
    write(folder, 3, "carol", "")
    jobs = jobs_of(folder)
    assert jobs.poll().containers == ()
    pod = jobs.of_uid("job_3")
    assert pod is not None
    assert (pod.namespace, pod.name, pod.started_us, pod.ended) == ("user:carol", "job_3", 5_000_000, False)
    assert jobs.of_name("user:carol", "job_3") == pod
    assert jobs.of_name("user:mallory", "job_3") is None
    assert [(made.kind, made.name) for made in pod.owners] == [("SlurmJob", "3")]


def test_a_job_ends_with_its_file(folder: Path) -> None:
    write(folder, 42, "alice", "0")
    jobs = jobs_of(folder)
    assert jobs.poll().containers
    (folder / "42").unlink()
    assert jobs.poll().containers == ()


def test_what_a_job_left_running_is_its_users_for_ten_minutes(folder: Path) -> None:
    """Whoever it runs as: root's process of Alice's job does not become root's by the job's end."""
    write(folder, 42, "alice", "0")
    cgroups = Cgroups(folder)
    cgroups.held()
    (folder / "42").unlink()
    for later_us, known in ((0, True), (9 * MINUTE_US, True), (2 * MINUTE_US, False)):
        assert cgroups.held(later_us) == []
        assert (cgroups.jobs.of_uid("job_42") is not None) is known


def test_an_id_that_is_given_again_is_the_new_jobs(folder: Path) -> None:
    """Slurm counts anew after a reset, and from its largest id."""
    write(folder, 42, "alice", "0")
    cgroups = Cgroups(folder)
    cgroups.held()
    (folder / "42").unlink()
    cgroups.held()
    write(folder, 42, "bob", "0")
    [held] = cgroups.jobs.poll().containers
    again = cgroups.jobs.of_uid("job_42")
    assert again is not None
    assert held.namespace == again.namespace == "user:bob"


class Cgroups:
    """The cgroups of jobs, and a clock."""

    def __init__(self, folder: Path) -> None:
        self.living: set[str] | None = set()
        self.now_us = 0
        self.jobs = SlurmJobs(folder, lambda: self.now_us, (os.geteuid(),), lambda: self.living)

    def held(self, later_us: int = 0) -> list[str]:
        self.now_us += later_us
        found = self.jobs.poll()
        self.problem = found.problem
        return [held.pod for held in found.containers]


MINUTE_US = 60_000_000


def test_a_job_whose_epilog_never_ran_does_not_hold_its_gpu_for_ever(folder: Path) -> None:
    """Its user would pay for idle time from then on, and nobody would know."""
    write(folder, 42, "alice", "0")
    write(folder, 43, "bob", "1")
    cgroups = Cgroups(folder)
    cgroups.living = {"job_42", "job_43"}
    assert (cgroups.held(), cgroups.held(20 * MINUTE_US)) == (["job_42", "job_43"],) * 2
    cgroups.living = {"job_43"}
    assert cgroups.held() == cgroups.held(9 * MINUTE_US) == ["job_42", "job_43"]
    assert cgroups.problem == ""
    assert cgroups.held(MINUTE_US) == ["job_43"]
    assert "jobs that are over have files, as job_42" in cgroups.problem
    assert cgroups.jobs.of_uid("job_42") is not None, "what still runs of it is its user's"


def test_jobs_that_run_without_a_file_are_said(folder: Path) -> None:
    """A Prolog that slurm.conf does not name: nobody would hold a GPU, and nothing would be idle."""
    write(folder, 42, "alice", "0")
    cgroups = Cgroups(folder)
    cgroups.living = {"job_42", "job_7"}
    cgroups.held()
    cgroups.held(9 * MINUTE_US)
    assert cgroups.problem == "", "an Epilog may be at work"
    assert cgroups.held(MINUTE_US) == ["job_42"]
    assert "jobs that run have no file, as job_7" in cgroups.problem
    cgroups.living = {"job_42"}
    cgroups.held()
    assert cgroups.problem == ""


def test_a_job_whose_prolog_is_at_work_or_whose_cgroup_cannot_be_seen_holds_its_gpu(folder: Path) -> None:
    write(folder, 42, "alice", "0")
    cgroups = Cgroups(folder)
    assert cgroups.held() == cgroups.held(9 * MINUTE_US) == ["job_42"]
    cgroups.living = {"job_42"}
    assert cgroups.held(9 * MINUTE_US) == ["job_42"]
    cgroups.living = None
    assert cgroups.held(60 * MINUTE_US) == ["job_42"]
    cgroups.living = set()
    assert cgroups.held() == ["job_42"], "counted from now on"


def test_a_gpu_that_two_jobs_share_is_held_by_neither(folder: Path) -> None:
    """Slurm's shards and MPS: the Prolog of each names the whole GPU. The later one would pay for the earlier one's."""
    write(folder, 42, "alice", "0,1")
    write(folder, 43, "bob", "0", began_us=6_000_000)
    cgroups = Cgroups(folder)
    cgroups.living = {"job_42"}
    assert cgroups.held() == ["job_42"], "the other one's Prolog is at work"
    cgroups.living = {"job_42", "job_43"}
    [held] = cgroups.jobs.poll().containers
    assert (held.pod, held.device_ids) == ("job_42", ("nvidia1",))
    assert cgroups.jobs.poll().problem == ""
    (folder / "42").unlink()
    assert cgroups.held() == ["job_43"]


def test_a_job_that_ended_shares_nothing_while_its_epilog_is_at_work(folder: Path) -> None:
    write(folder, 42, "alice", "0")
    cgroups = Cgroups(folder)
    cgroups.living = {"job_42"}
    cgroups.held()
    write(folder, 43, "bob", "0", began_us=6_000_000)
    cgroups.living = {"job_43"}
    assert cgroups.held() == ["job_42", "job_43"], "who came later counts"


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda path: path.chmod(0o666), "others than its owner may write"),
        (lambda path: path.write_text("x" * (MOST_BYTES + 1)), "longer than"),
        (lambda path: path.write_text("SLURM_JOB_GPUS=0\n"), "name no user"),
        (lambda path: path.write_text(f"SLURM_JOB_USER={'/' * 100}\n"), "name no user"),
        (lambda path: path.rename(path.with_name("4x")), "no number"),
        (lambda path: (path.unlink(), path.symlink_to("/etc/passwd")), "symbolic link"),
        (lambda path: (path.unlink(), os.mkfifo(path, 0o644)), "name no user"),
    ],
)
def test_a_file_that_is_no_job_is_said_and_the_others_count(folder: Path, break_it: object, words: str) -> None:
    write(folder, 4, "alice", "0")
    write(folder, 5, "bob", "1")
    break_it(folder / "4")  # type: ignore[operator]
    found = jobs_of(folder).poll()
    assert [held.pod for held in found.containers] == ["job_5"]
    assert words in found.problem


def test_files_of_others_than_root_are_not_believed(folder: Path) -> None:
    write(folder, 4, "alice", "0")
    with pytest.raises(JobsUnreadable, match="not to root"):
        SlurmJobs(folder, lambda: 7, (os.geteuid() + 1,)).poll()


def test_a_folder_that_anybody_may_write_to_is_not_believed(folder: Path) -> None:
    folder.chmod(0o777)
    with pytest.raises(JobsUnreadable, match="others than its owner may write"):
        jobs_of(folder).poll()


def test_a_folder_that_is_not_there_says_who_should_have_made_it(folder: Path) -> None:
    with pytest.raises(JobsUnreadable, match="does Slurm's Prolog write there"):
        jobs_of(folder / "jobs").poll()


def test_a_file_that_is_being_written_is_no_job_yet(folder: Path) -> None:
    (folder / ".42").write_text("SLURM_JOB_ID=42\n")
    assert (jobs_of(folder).poll().containers, jobs_of(folder).poll().problem) == ((), "")


def run_hook(name: str, folder: Path, **environ: str) -> None:
    """As slurmd runs it: no search path, the Prolog's own variables."""
    command = ["/bin/sh", str(ROOT / "deploy/slurm" / name)]
    subprocess.run(command, env={**environ, "GPUTALLY_SLURM_JOBS": str(folder)}, check=True, timeout=60)


def test_the_prolog_and_epilog_that_we_ship_write_and_remove_a_job(tmp_path: Path) -> None:
    """With the variables that Slurm 22.05 gave its Prolog."""
    folder = tmp_path / "gputally/jobs"
    run_hook("prolog.sh", folder, **ENVIRONMENTS["prolog"])
    assert jobs_of(folder).poll().problem == ""
    assert holders(folder)[GPUS[1].uuid] == Held((Holding(owner(2, "gpu_alice")),))
    assert [path.name for path in folder.iterdir()] == ["2"]
    run_hook("epilog.sh", folder, **ENVIRONMENTS["prolog"])
    assert list(folder.iterdir()) == []
    run_hook("epilog.sh", folder, **ENVIRONMENTS["prolog"])


@pytest.mark.parametrize(
    ("numbers", "seen", "expected"),
    [
        ("8,9", "MIG-1111,MIG-2222", ("MIG-1111", "MIG-2222")),
        ("0", "GPU-1111", ("GPU-1111",)),
        ("0,3", "0,1", ("nvidia0", "nvidia3")),
        ("0", "", ("nvidia0",)),
        ("", "MIG-1111", ()),
        ("", "NoDevFiles", ()),
    ],
)
def test_the_prolog_takes_uuids_where_slurm_knows_them(
    numbers: str, seen: str, expected: tuple[str, ...], folder: Path
) -> None:
    """The number of a MIG device is Slurm's own: taken for a minor number it would be another GPU."""
    environ = {**ENVIRONMENTS["prolog"], "SLURM_JOB_GPUS": numbers, "CUDA_VISIBLE_DEVICES": seen}
    run_hook("prolog.sh", folder, **environ)
    found = jobs_of(folder).poll()
    assert found.problem == ""
    assert tuple(device_id for held in found.containers for device_id in held.device_ids) == expected


def test_what_a_task_sees_is_not_what_its_job_holds() -> None:
    """Why the environment of processes is not read: it counts from 0 within the job, and the job may change it."""
    assert ENVIRONMENTS["prolog"]["SLURM_JOB_GPUS"] == "1"
    assert ENVIRONMENTS["task"]["CUDA_VISIBLE_DEVICES"] == "0"


@pytest.mark.parametrize("name", ["CORP\\alice", "CORP/alice smith", "jörg@corp", "a:b"])
def test_a_user_of_any_directory_has_the_namespace_that_his_processes_have(folder: Path, name: str) -> None:
    write(folder, 42, name, "0")
    [held] = jobs_of(folder).poll().containers
    assert held.namespace == user_namespace(name)


@pytest.mark.parametrize(
    ("named", "uid", "expected"),
    [
        ("alice", "1000", "alice"),
        ("1000", "1000", "bob"),
        ("nobody", "1000", "bob"),
        ("", "1000", "bob"),
        ("nobody", "", "nobody"),
    ],
)
def test_a_user_whom_slurm_could_not_name_is_named_by_his_uid(
    named: str, uid: str, expected: str, folder: Path
) -> None:
    """The directory was away when the job began. Old Slurms say "nobody" then, who would pay for all such jobs."""
    (folder / "42").write_text(f"SLURM_JOB_UID={uid}\nSLURM_JOB_USER={named}\nSLURM_JOB_GPUS=0\n")
    (folder / "42").chmod(0o644)
    names = {1000: "bob"}
    jobs = SlurmJobs(folder, lambda: 7, (os.geteuid(),), lambda: None, names.__getitem__)
    assert [held.namespace for held in jobs.poll().containers] == [f"user:{expected}"]


@given(st.text(max_size=20), st.text(max_size=200))
def test_any_file_is_a_job_or_refused(name: str, text: str) -> None:
    try:
        job = parse_job(name, text, 5)
    except BadJob:
        return
    assert isinstance(job, Job)
    assert job.id.isdecimal()
    assert job.user
