"""The simulation, and the figures of docs/synchroniser.md within their spread; a real recording."""

import json
import os
import subprocess
import sys

import pytest
from builders import pairing_stories as stories
from builders import simulated
from builders.paths import DATA, REPOSITORY

from cmdfusion_ros.pairing.paired_cloud import Mode

simulation, Scenario = simulated.simulation, simulated.simulation.Scenario


@pytest.mark.parametrize(
    "scenario, cameras, wait_ms",
    [
        (Scenario("well"), (5.5, 6.0), (40, 60)),
        (Scenario("dead", dead=1), (4.5, 5.0), (40, 60)),
        (Scenario("lossy", drop=0.1), (4.9, 5.5), (45, 65)),
        (Scenario("late", late_ms=80), (4.6, 5.3), (35, 65)),
        (Scenario("all dead", dead=6), (0, 0), (0, 0)),
        (Scenario("triggered", triggered=True, tolerance=0.015), (5.9, 6.0), (20, 35)),
        (Scenario("no wait", max_wait=0.0), (1.5, 3.0), (0, 0)),
    ],
    ids=lambda value: value.name if isinstance(value, Scenario) else "",
)
def test_no_cloud_is_lost_and_the_figures_are_those_of_the_documentation(
    scenario, cameras, wait_ms
):
    figures = simulation.measure(scenario, seconds=20)
    assert figures["clouds_percent"] == 100
    assert cameras[0] <= figures["cameras"] <= cameras[1]
    assert wait_ms[0] <= figures["mean_wait_ms"] <= wait_ms[1]
    assert figures["p95_wait_ms"] <= scenario.max_wait * 1000 + 5  # a tick


def test_the_command_prints_json():
    command = [
        sys.executable,
        str(REPOSITORY / "benchmarks" / "pairing_simulation.py"),
        "--json",
        "--seconds",
        "5",
    ]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    rows = json.loads(
        subprocess.run(command, capture_output=True, check=True, text=True, env=environment).stdout
    )
    assert rows["1 of 6 dead"]["clouds_percent"] == 100 and len(rows) == 23


def recorded_arrivals(bag):
    """Arrivals of a bag as it was recorded; the steady clock begins 100 ms before the first."""
    from rosbags.highlevel import AnyReader

    with AnyReader([bag]) as reader:
        messages = []
        for connection, time, data in reader.messages():
            if connection.msgtype.endswith(("PointCloud2", "Image")):
                stamp = reader.deserialize(data, connection.msgtype).header.stamp
                camera = (
                    None
                    if connection.msgtype.endswith("PointCloud2")
                    else connection.topic.split("/")[1]
                )
                messages.append((time, camera, stamp.sec * 10**9 + stamp.nanosec))
    begin = min(time for time, _, _ in messages) - 100 * simulated.MS
    return [
        simulated.Arrival(time - begin, camera, stamp, index)
        for index, (time, camera, stamp) in enumerate(messages)
    ], begin


@pytest.fixture(scope="module")
def recording():
    bag = DATA / "bags" / "pandaset_002"
    if not bag.exists():
        pytest.skip(f"no recording at {bag}; set CMDFUSION_DATA")
    return recorded_arrivals(bag)


def play_recording(recording, keep=lambda arrival, begin: True):
    arrivals, begin = recording
    cameras = sorted({arrival.camera for arrival in arrivals if arrival.camera})
    clock = simulated.SimulatedClock(lambda steady: begin + steady)
    kept = [arrival for arrival in arrivals if arrival.camera is None or keep(arrival, begin)]
    return simulated.play(stories.settings(*cameras), kept, clock=clock)


def test_every_cloud_of_a_real_recording_gets_all_six_cameras(recording):
    """But the last: the recording ends with it, before three of its images."""
    played = play_recording(recording)
    assert stories.modes(played) == [Mode.FUSED] * 19 + [Mode.PARTIAL]
    offsets = {
        name: round(image.offset_ns / 1e6) for name, image in played.clouds[3].images.items()
    }
    assert offsets == {
        "back_camera": 0,
        "left_camera": 19,
        "front_left_camera": 39,
        "front_camera": -50,
        "front_right_camera": -39,
        "right_camera": -19,
    }


def test_one_camera_or_all_may_fall_silent_in_a_real_recording_without_costing_a_cloud(recording):
    """The first image of each camera is older than the first cloud."""

    def before_silence(arrival, begin):
        return arrival.time < 1100 * simulated.MS

    served = (
        sum(
            arrival.camera == "left_camera" and before_silence(arrival, 0)
            for arrival in recording[0]
        )
        - 1
    )
    one = play_recording(
        recording,
        lambda arrival, begin: arrival.camera != "left_camera" or before_silence(arrival, begin),
    )
    assert (
        stories.modes(one) == [Mode.FUSED] * served + [Mode.PARTIAL] * (20 - served)
        and 5 < served < 15
    )
    none = play_recording(recording, before_silence)
    assert stories.modes(none)[:served] == [Mode.FUSED] * served
    assert len(none.clouds) == 20 and stories.modes(none)[served + 1 :] == [Mode.LIDAR_ONLY] * (
        19 - served
    )
