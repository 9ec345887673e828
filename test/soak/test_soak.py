"""The soak's short form: every fault alone, all mixed, ended and gone on with; and it sees what it
is to see.
"""

import dataclasses
import json
import signal
import subprocess
import sys
import time

import pytest

from cmdfusion_ros.cli.main import main
from cmdfusion_ros.messages.transforms import MOST_FRAMES
from cmdfusion_ros.soak.faulty_drive import FAULTS
from cmdfusion_ros.soak.run import LOG, Episode, memory_slope, read_log, soak, verdict
from cmdfusion_ros.soak.soak_messages import stamped
from cmdfusion_ros.soak.soak_report import figures, write_report
from cmdfusion_ros.soak.soaked_node import SoakNode

CAUSES = {  # {fault: the reason that its clouds are counted under}
    "cloud_malformed": "malformed", "cloud_odd": "malformed", "cloud_twice": "duplicate",
    "cloud_disorder": "out_of_order", "cloud_wild": "wild_stamp", "cloud_burst": "busy",
    "clock_stands": "duplicate", "network_slow": "busy", "network_raises": "model_error",
    "network_nan": "model_error", "network_hangs": "stuck", "paused": "paused",
    "deactivated": "inactive",
}  # fmt: skip


def played(out, clouds=2000, seed=0, faults=tuple(FAULTS)):
    return soak(out, clouds, seed, faults)


def what_happened(episodes):
    kept = ("number", "faults", "clouds", "wrong")  # who is at work when a burst comes is chance
    return [{name: getattr(episode, name) for name in kept} for episode in episodes]


@pytest.mark.parametrize("fault", FAULTS)
def test_no_fault_alone_loses_a_cloud_without_its_name(fault, tmp_path):
    episodes = played(tmp_path, 30, 1, (fault,))
    assert verdict(episodes) == []
    found = figures(episodes, 1)
    assert found["unaccounted"] == 0 and found["labelled"] > 0
    reason = CAUSES.get(fault)
    assert (reason in found["dropped"]) if reason else not found["dropped"]


def test_thousands_of_clouds_of_mixed_faults_are_all_accounted_for(tmp_path):
    episodes = played(tmp_path, 6000)
    assert verdict(episodes) == []
    found = write_report(tmp_path, episodes, 0)
    assert found["unaccounted"] == 0 and found["most_frames"] <= 2 * MOST_FRAMES + 5
    assert json.loads((tmp_path / "soak.json").read_text()) == found
    assert (tmp_path / "soak.png").stat().st_size > 10_000
    page = (tmp_path / "soak.html").read_text()
    assert "nothing went wrong" in page and "data:image/png" in page


def test_a_soak_that_is_killed_goes_on_as_if_it_had_not_been(tmp_path):
    whole = played(tmp_path / "whole", 2000)
    command = [sys.executable, "-m", "cmdfusion_ros", "soak", "--out", str(tmp_path / "cut")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while time.monotonic() < end and len(read_log(tmp_path / "cut", 0)) < 5:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with open(tmp_path / "cut" / LOG, "a") as stream:
        stream.write('{"number": 99, "sess')  # what a kill leaves
    before = len(read_log(tmp_path / "cut", 0))
    assert before >= 5
    episodes = played(tmp_path / "cut", 2000)
    assert {episode.session for episode in episodes} == {0, 1} or before >= len(whole)
    assert [e.faults for e in episodes[: len(whole)]] == [e.faults for e in whole]
    assert verdict(episodes) == [] and read_log(tmp_path / "cut", 0) == episodes
    with pytest.raises(ValueError, match="expected a soak with seed 3, got 0"):
        read_log(tmp_path / "cut", 3)


def test_the_same_seed_gives_the_same_soak(tmp_path):
    once, twice = (played(tmp_path / name, 800, 5) for name in ("a", "b"))
    assert what_happened(once) == what_happened(twice)


def test_a_cloud_that_vanishes_comes_twice_or_out_of_order_is_seen(tmp_path, monkeypatch):
    on_cloud, publish = SoakNode.on_cloud, SoakNode.publish_labelled
    calls = []

    def lose(self, data):
        calls.append(data)
        if len(calls) != 10:
            on_cloud(self, data)

    monkeypatch.setattr(SoakNode, "on_cloud", lose)
    assert "received" in " ".join(verdict(played(tmp_path / "lost", 30, 1, ("camera_dies",))))
    monkeypatch.undo()

    def twice(self, labelled, prediction):
        publish(self, labelled, prediction)
        publish(self, labelled, prediction)

    monkeypatch.setattr(SoakNode, "publish_labelled", twice)
    wrong = " ".join(verdict(played(tmp_path / "twice", 30, 1, ("camera_dies",))))
    assert "out of order or twice" in wrong and "counted" in wrong


def test_a_node_that_does_not_recover_is_seen(tmp_path, monkeypatch):
    on_image = SoakNode.on_image

    def refuse(self, camera, data):
        if camera != "left":
            on_image(self, camera, data)

    monkeypatch.setattr(SoakNode, "on_image", refuse)
    assert "no cloud with every camera" in verdict(played(tmp_path, 30, 1, ("pause",)))[0]


def made_up(number, **changes):
    values = dict(
        number=number, session=0, faults=(), clouds=1000, labelled=1000, dropped={},
        recovery_s=0.0, errors=0, rss_mb=100.0, fds=20, threads=6, frames=3,
    )  # fmt: skip
    return Episode(**{**values, **changes})


def test_memory_that_grows_is_seen_by_its_slope():
    """Of 0.1 MB in 1000 clouds: 20 MB in 200,000, of a mean of 114."""
    steady = [made_up(number) for number in range(200)]
    growing = [dataclasses.replace(e, rss_mb=100 + 0.1 * e.number) for e in steady]
    mean = 100 + 0.1 * (40 + 199) / 2
    assert memory_slope(growing) == pytest.approx(100 * 20 / mean)
    assert memory_slope(steady) == pytest.approx(0, abs=1e-9)
    assert verdict(steady) == [] and "memory grows by 17.87 %" in verdict(growing)[0]
    leaking = [dataclasses.replace(e, fds=20 + e.number // 50) for e in steady]
    assert verdict(leaking) == ["fds: at most 21 at first, 23 at last"]


def test_a_stamp_is_put_into_bytes_as_the_message_has_it():
    assert stamped(bytes(12), 3 * 10**9 + 7)[4:] == bytes([3, 0, 0, 0, 7, 0, 0, 0])


def test_the_verb_says_what_it_found(tmp_path, capsys):
    words = ["soak", "--clouds", "60", "--fault", "camera_dies", "--out", str(tmp_path)]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "unaccounted 0" in said and "nothing went wrong" in said and "soak.html" in said
