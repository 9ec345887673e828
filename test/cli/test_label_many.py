"""`cmdfusion label BAG BAG ... --processes N --resume`: many bags over the cores."""

import json
import os
import subprocess
import sys

import pytest
from builders.commands import cmdfusion
from builders.drives import write_lane_bag

from cmdfusion_ros.cli.runs.many_bags import BagJob, run_jobs

DIES_ONCE = (  # a worker that is killed in the middle of its first try
    "import os, pathlib, signal, sys\n"
    "out = pathlib.Path(sys.argv[2]); out.mkdir(); (out / 'half').write_text('x')\n"
    "tries = pathlib.Path(sys.argv[1]); tries.open('a').write('.')\n"
    "if len(tries.read_text()) <= int(tries.with_suffix('.deaths').read_text()):\n"
    "    os.kill(os.getpid(), signal.SIGKILL)\n"
    "(out / 'half').rename(out / 'whole')\n"
)


@pytest.fixture(scope="module")
def bags(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drives")
    return [write_lane_bag(folder / name, count) for name, count in (("one", 2), ("two", 3))]


def label(bags, out, *more):
    return cmdfusion("label", *bags, "--out", out, "--device", "cpu", *more)


def labels_of(out):
    return {path.relative_to(out): path.read_bytes() for path in sorted(out.glob("*/*"))}


@pytest.fixture(scope="module")
def done(bags, tmp_path_factory):
    out = tmp_path_factory.mktemp("labels") / "out"
    assert label(bags, out, "--processes", 1) == 0
    return out


def dying(folder, deaths):
    tries = folder / "tries"
    tries.with_suffix(".deaths").write_text(str(deaths))
    return BagJob("bag", {"weights": "a"}, (sys.executable, "-c", DIES_ONCE, str(tries)))


def test_two_workers_write_the_same_bytes_as_one(bags, done, tmp_path):
    assert label(bags, tmp_path / "out", "--processes", 2) == 0
    made = labels_of(tmp_path / "out")
    assert {path.parts[0] for path in made} == {"one", "two"} and len(made) >= 4
    assert made == labels_of(done)


def test_resume_does_what_is_missing_and_leaves_the_rest(bags, done, capsys):
    before = labels_of(done)
    times = {path: path.stat().st_mtime_ns for path in done.glob("one/*")}
    (done / "two.json").unlink()  # as after a kill before the second was done
    for path in (done / "two").iterdir():
        path.unlink()
    (done / "two").rmdir()
    assert label(bags, done, "--resume", "--processes", 1) == 0
    assert "one: done before" in capsys.readouterr().out
    assert labels_of(done) == before
    assert {path: path.stat().st_mtime_ns for path in done.glob("one/*")} == times


def test_a_bag_done_with_other_settings_is_done_again(bags, done, tmp_path, capsys):
    out = tmp_path / "out"
    assert label(bags[:1], out, "--processes", 1, "--backend", "fake") == 0
    assert label(bags[:1], out, "--processes", 1, "--resume") == 0
    assert "done before" not in capsys.readouterr().out
    assert labels_of(out) == {p: b for p, b in labels_of(done).items() if p.parts[0] == "one"}


def test_the_bag_of_a_killed_worker_is_done_again(tmp_path, capsys):
    assert run_jobs([dying(tmp_path, 1)], tmp_path / "out", 1, False)[0] == 0
    assert "killed by signal 9; again" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "out" / "bag").iterdir()] == ["whole"]
    assert json.loads((tmp_path / "out" / "bag.json").read_text())["settings"] == {"weights": "a"}
    assert not list((tmp_path / "out").glob(".partial*"))


def test_half_bags_of_a_killed_run_are_removed_and_those_of_a_living_one_kept(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for pid in (gone.pid, os.getppid()):
        (tmp_path / f".partial.{pid}").mkdir()
    assert run_jobs([dying(tmp_path, 0)], tmp_path, 1, True)[0] == 0
    assert [path.name for path in tmp_path.glob(".partial*")] == [f".partial.{os.getppid()}"]


def test_a_worker_that_always_dies_is_named_and_left_for_resume(tmp_path, capsys):
    assert run_jobs([dying(tmp_path, 3)], tmp_path / "out", 1, False)[0] == 1
    assert "NOT DONE: its worker was killed 3 times" in capsys.readouterr().out
    assert not (tmp_path / "out" / "bag").exists()
    assert run_jobs([dying(tmp_path, 3)], tmp_path / "out", 1, True)[0] == 0


def test_what_cannot_be_is_refused_with_the_reason(bags, tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("x")
    cases = [
        (bags, tmp_path / "full", (), "--resume"),
        (bags, tmp_path / "out", ("--processes", 0), "expected 1 or more"),
        (bags, tmp_path / "out", ("--page", tmp_path / "a.html"), "of one bag at a time"),
        ([bags[0], bags[0]], tmp_path / "out", (), "one twice"),
        ([bags[0], "nowhere"], tmp_path / "out", (), "nowhere: no such bag"),
    ]
    for given, out, more, says in cases:
        assert label(given, out, *more) == 2
        assert says in capsys.readouterr().err
    (tmp_path / "full" / "one").mkdir()
    assert label(bags[:1], tmp_path / "full", "--resume") == 2
    assert "was not made by such a run" in capsys.readouterr().err
