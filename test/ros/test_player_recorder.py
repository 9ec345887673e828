"""Player and recorder as processes of their own, over real Fast DDS: what was in the bag
arrives, bit for bit.
"""

import json
import os
import signal
import subprocess
import sys

import pytest

from cmdfusion_ros.data.bags.bag import Bag
from cmdfusion_ros.data.bags.bag_layout import inspect_bag

pytest.importorskip(
    "rclpy", reason="ROS 2 (rclpy) is not installed: player and recorder are not tested"
)

CLOUD, IMAGE = "/lidar/points", "/front/image_raw"


@pytest.fixture
def environment(ros_domain):
    return {
        **os.environ,
        "ROS_DOMAIN_ID": str(ros_domain),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "PYTHONUNBUFFERED": "1",
    }


def start(module, environment, *arguments):
    command = [sys.executable, "-m", f"cmdfusion_ros.ros.{module}", *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, env=environment, text=True, preexec_fn=_ignore_interrupts
    )


def _ignore_interrupts():
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in a background job of a shell


def events_of(process):
    return [json.loads(line) for line in process.stdout]


@pytest.fixture
def played(small_bag, tmp_path, environment):
    """play(*player arguments) -> (player events, recorder events, folder): the bag played into a
    recorder of cloud and image.
    """

    def play(*arguments):
        recorder = start(
            "recorder", environment, tmp_path / "out", "--topic", CLOUD, "--topic", IMAGE
        )
        try:
            assert json.loads(recorder.stdout.readline())["event"] == "started"
            player = start(
                "player",
                environment,
                small_bag,
                "--wait-for",
                CLOUD,
                "--wait-for",
                IMAGE,
                "--tail",
                0.2,
                *arguments,
            )
            player_events = events_of(player)
            assert player.wait(20) == 0
            recorder.send_signal(signal.SIGINT)
            return player_events, events_of(recorder), tmp_path / "out"
        finally:
            recorder.send_signal(signal.SIGTERM)
            assert recorder.wait(20) == 0

    return play


def test_what_is_played_is_recorded_bit_for_bit_with_bag_time(small_bag, played):
    player_events, recorder_events, out = played("--rate", 2)
    with Bag(small_bag) as sent, Bag(out) as received:
        for topic in (CLOUD, IMAGE):
            before, after = list(sent.messages([topic])), list(received.messages([topic]))
            for sent_one, received_one in zip(before, after, strict=True):
                # DDS pads to whole words
                assert received_one.data.rstrip(b"\0") == sent_one.data.rstrip(b"\0")
                assert 0 <= len(received_one.data) - len(sent_one.data) < 4
            delays = [(b.time - a.time) / 1e9 for a, b in zip(before, after, strict=True)]
            # recorded in simulated time, a little later
            assert all(-0.02 < delay < 5 for delay in delays)
    clouds = [event for event in player_events if event["event"] == "cloud"]
    returned = [
        event
        for event in recorder_events
        if event["event"] == "message" and event["topic"] == CLOUD
    ]
    assert [event["stamp"] for event in clouds] == [event["stamp"] for event in returned] and len(
        clouds
    ) == 8
    # one clock for both processes
    assert all(back["wall"] > out["wall"] for out, back in zip(clouds, returned, strict=True))
    assert player_events[-1]["published"][CLOUD] == 8


def test_a_silenced_camera_is_silent_from_that_time_and_the_rest_goes_on(small_bag, played):
    player_events, _, out = played("--rate", 4, "--silence", "front@0.35")
    with Bag(out) as bag:
        assert bag.topics[CLOUD].count == 8
        assert bag.topics[IMAGE].count == player_events[-1]["published"][IMAGE] == 4
    silent = inspect_bag(small_bag).silences(["front@0.35"])[IMAGE]
    with Bag(small_bag) as bag:
        assert sum(message.time < silent for message in bag.messages([IMAGE])) == 4


def test_waiting_for_nobody_ends_with_the_topics_that_nobody_took(small_bag, environment):
    player = start("player", environment, small_bag, "--wait-for", CLOUD, "--wait-timeout", 0.5)
    events = events_of(player)
    assert player.wait(20) == 1
    assert (
        events[-1]["event"] == "failed"
        and f"nobody subscribed to {CLOUD} within 0.5 s" in events[-1]["why"]
    )


def test_a_player_that_is_interrupted_ends_cleanly(small_bag, environment):
    for number in (signal.SIGINT, signal.SIGTERM):
        player = start("player", environment, small_bag, "--rate", 0.01)
        while json.loads(player.stdout.readline())["event"] != "started":
            pass
        player.send_signal(number)
        assert events_of(player)[-1]["event"] == "interrupted" and player.wait(20) == 0
