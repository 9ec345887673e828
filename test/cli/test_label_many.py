"""`cmdfusion label BAG BAG ... --processes N --resume`: many bags over the cores."""

import fcntl
import io
import json
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
from builders.commands import cmdfusion
from builders.drives import write_lane_bag

from cmdfusion_ros.cli.runs import terminal
from cmdfusion_ros.cli.runs.bag_workers import LocalWorkers
from cmdfusion_ros.cli.runs.many_bags import BagJob, run_jobs
from cmdfusion_ros.cli.runs.record import RunRecord

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
    return BagJob("bag", {"weights": "a"}, ("-c", DIES_ONCE, str(tries)), 1000)


def python(number):
    """Workers that are given Python's words in the place of cmdfusion's."""
    return LocalWorkers(number, (sys.executable,))


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
    assert run_jobs([dying(tmp_path, 1)], tmp_path / "out", python(1), False)[0] == 0
    assert "killed by signal 9; again" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "out" / "bag").iterdir()] == ["whole"]
    assert json.loads((tmp_path / "out" / "bag.json").read_text())["settings"] == {"weights": "a"}
    assert not list((tmp_path / "out").glob(".partial*"))


def test_half_bags_of_a_killed_run_are_removed_and_those_of_a_living_one_kept(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for pid in (gone.pid, os.getppid()):
        (tmp_path / f".partial.{pid}").mkdir()
    assert run_jobs([dying(tmp_path, 0)], tmp_path, python(1), True)[0] == 0
    assert [path.name for path in tmp_path.glob(".partial*")] == [f".partial.{os.getppid()}"]


def test_a_worker_that_always_dies_is_named_and_left_for_resume(tmp_path, capsys):
    assert run_jobs([dying(tmp_path, 3)], tmp_path / "out", python(1), False)[0] == 1
    assert "NOT DONE: its worker was killed 3 times" in capsys.readouterr().out
    assert not (tmp_path / "out" / "bag").exists()
    assert run_jobs([dying(tmp_path, 3)], tmp_path / "out", python(1), True)[0] == 0


def test_a_worker_that_leaves_nothing_is_not_taken_for_done(tmp_path, capsys):
    """As on a node of a cluster that has another file system."""
    job = BagJob("bag", {}, ("-c", "print('all well')"))
    assert run_jobs([job], tmp_path / "out", python(1), False)[0] == 1
    assert "do all nodes share the file system of --out?" in capsys.readouterr().out
    assert not (tmp_path / "out" / "bag.json").exists()


def test_progress_tells_clouds_a_second_and_the_time_to_go_by_bytes(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    told = io.StringIO()
    line = terminal.BagsProgress({"a": 1000, "b": 3000}, told)
    line.show({"a": None})
    now[0] += 10  # half of the first: 500 of 4000 bytes; the rest takes seven times as long
    line.show({"a": (20, 40)})
    now[0] += 10
    line.done("a", (40, 40))  # a quarter after 20 s
    line.say("a: done")
    now[0] += 10
    line.show({"b": (30, 60)})  # 1000 + 1500 of 4000
    line.done("b", (60, 60))
    line.finish()
    words = [text[text.index("] ") + 2 :] for text in told.getvalue().splitlines() if "]" in text]
    assert words == [
        "0/2 bags  0 clouds  0.00 a second  - to go",
        "0/2 bags  20 clouds  2.00 a second  70 s to go",
        "1/2 bags  70 clouds  2.33 a second  18 s to go",
        "2/2 bags  100 clouds  3.33 a second  in 30 s",
    ]
    assert "a: done" in told.getvalue()
    assert [terminal.duration(s) for s in (119.6, 130, 5400, 9000)] == [
        *("120 s", "2 min", "90 min", "2.5 h"),
    ]


def test_what_a_worker_says_of_its_clouds_is_understood(bags, done):
    assert terminal.clouds_done((done / "two.log").read_text()) == (3, 3)
    record = RunRecord("", "", 7)
    record.take({"event": "counts", "counts": {"labelled": 2, "dropped.busy": 1}})
    assert terminal.clouds_done(f"before\n{terminal.progress(record)}") == (3, 7)
    assert terminal.clouds_done("clouds /points: 20 at 10.0 Hz") is None


def test_two_bags_end_with_their_clouds_and_the_rate(bags, tmp_path, capsys):
    assert label(bags, tmp_path / "out", "--processes", 2, "--backend", "fake") == 0
    said = capsys.readouterr().out
    assert re.search(r"2/2 bags  5 clouds  [\d.]+ a second  in \d+ s\n2 of 2 bags", said), said


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


def test_two_runs_into_one_folder_are_refused(tmp_path):
    workers = SimpleNamespace(number=1)
    place = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(place, fcntl.LOCK_EX)  # as the other run has it
    try:
        with pytest.raises(FileExistsError, match="another run labels into it"):
            run_jobs([], tmp_path, workers, resume=True)
    finally:
        os.close(place)
    assert run_jobs([], tmp_path, workers, resume=True)[0] == 0
