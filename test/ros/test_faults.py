"""The table of faults, each played on a node in a process of its own: no cloud unaccounted for,
none dropped for a reason that is not the fault's, and every camera in use again soon after.
`pytest -s` prints the table of docs/faults.md. Skips where rclpy is not installed.
"""

import os
import random
import textwrap
import time

import pytest

pytest.importorskip(
    "rclpy",
    reason="rclpy is not installed: the node's own tests need ROS 2 (apt, or pip wheels)",
)

import rclpy  # noqa: E402
from builders.robot import INTERFACES, Robot, environment  # noqa: E402
from builders.robot_faults import CAMERAS, CLOUDS, TIME, resident_mb  # noqa: E402

from cmdfusion_ros.cli.runs.domains import own_domain  # noqa: E402

pytestmark = pytest.mark.skipif(
    not INTERFACES.has("SegmentationStatus"),
    reason="cmdfusion_ros.msg is not built: run colcon build",
)
MINUTES = float(os.environ.get("CMDFUSION_FAULT_MINUTES", "0.25"))
SOON = 10.0  # seconds in which a robot is well again, on a machine that others use too


@pytest.fixture(scope="module")
def domain():
    with own_domain() as number, pytest.MonkeyPatch.context() as patch:
        for name, value in environment(number).items():
            patch.setenv(name, value)
        rclpy.init(domain_id=number)
        yield number
        rclpy.shutdown()


@pytest.fixture(scope="module")
def robot(domain, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    it = Robot({"ROS_HOME": str(home)}, cameras=("front", "left"))
    it.home = home
    it.get_ready()
    yield it
    assert it.close() == 0


@pytest.fixture(scope="module")
def simulated(domain):
    """A robot in a namespace, which lives by /clock."""
    it = Robot({}, namespace="/second", cameras=("front",), with_clock=True)
    it.get_ready()
    yield it
    assert it.close() == 0


def assert_survived(it, fault, expected=()):
    """Play a fault. Of the clouds none may be unaccounted for or lost, and none dropped but for the
    `expected` reasons.
    """
    before, sent = it.counts(), it.sent
    known = standing(it)
    it.complaints.clear()
    fault(it)
    after = it.recover()
    counts = {name: number - before.get(name, 0) for name, number in it.counts().items()}
    dropped = {k.removeprefix("dropped."): v for k, v in counts.items() if "." in k and v}
    print(
        f"| {fault.__name__.replace('_', ' ')} | {said_by(it, known)} | {it.sent - sent} | "
        f"{counts['labelled']} | "
        f"{', '.join(f'{v} {k}' for k, v in dropped.items()) or 'none'} | {after:.2f} s |"
    )
    assert counts["received"] + counts["lost"] == it.sent - sent
    assert counts["received"] == counts["labelled"] + counts["dropped"]
    assert set(dropped) <= set(expected) and counts["lost"] == 0
    assert after < SOON and it.process.poll() is None


def standing(it):
    """{part of the diagnostics: what it says} before the fault."""
    return {name: part["message"].split("; ") for name, part in it.parts.items()}


def said_by(it, before):
    """The worst that the diagnostics said of the fault and not `before` it, worst first; of the
    cameras, what one said.
    """
    words = {}
    for part, (_, message) in sorted(it.complaints.items(), key=lambda item: -item[1][0]):
        new = [word for word in message.split("; ") if word not in before.get(part, ())]
        if new:
            words.setdefault(part.split("/")[0], f"{part}: {'; '.join(new)}")
    return textwrap.shorten("; ".join(words.values()), 120, placeholder=" ...") or "nothing"


def named(fault):
    return fault.__name__


@pytest.mark.parametrize("fault", CAMERAS, ids=named)
def test_a_fault_of_cameras_costs_no_cloud_and_is_over_soon_after(robot, fault):
    assert_survived(robot, fault)


@pytest.mark.parametrize("fault", CLOUDS, ids=named)
def test_a_fault_of_clouds_costs_those_alone_and_is_over_soon_after(robot, fault):
    assert_survived(robot, fault, CLOUDS[fault])


@pytest.mark.parametrize("fault", TIME, ids=named)
def test_a_fault_of_time_costs_what_was_under_way_and_is_over_soon_after(simulated, fault):
    assert_survived(simulated, fault, TIME[fault])


def test_two_namespaces_share_nothing_but_the_topic_of_their_diagnostics(robot, simulated):
    before = {it: it.counts() for it in (robot, simulated)}
    for _ in range(10):
        robot.drive(1)
        simulated.drive(1)
    robot.drive(10)
    after = {it: it.counts() for it in (robot, simulated)}
    received = [after[it]["received"] - before[it]["received"] for it in (robot, simulated)]
    assert received == [20, 10]
    assert robot._prefix == "cmdfusion: " and simulated._prefix == "/second/cmdfusion: "
    names = {part for it in (robot, simulated) for part in it.parts}
    assert {"pipeline", "camera/front", "camera/left"} <= names


def test_faults_in_any_order_cost_what_they_cost_alone_and_memory_stays(robot):
    """CMDFUSION_FAULT_MINUTES=30 for as long; the seed is printed."""
    seed = int(os.environ.get("CMDFUSION_FAULT_SEED", str(time.time_ns() % 10**6)))
    rng, faults = random.Random(seed), {**dict.fromkeys(CAMERAS, ()), **CLOUDS}
    robot.recover()
    before, sent, end, played = resident_mb(robot), robot.sent, time.monotonic() + 60 * MINUTES, 0
    while time.monotonic() < end or not played:
        fault = rng.choice(list(faults))
        assert_survived(robot, fault, faults[fault])
        played += 1
    grown = resident_mb(robot) - before
    print(
        f"seed {seed}: {played} faults, {robot.sent - sent} clouds, {grown:+.1f} MB on {before:.0f}"
    )
    assert grown < 60  # junk frames of /tf are kept up to a bound, and only once
