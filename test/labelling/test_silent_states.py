"""Nothing that is wrong is shown as OK: failed starts, hangs, resets, losses, failed callbacks."""

from types import SimpleNamespace

import pytest

from cmdfusion_ros.config import LiveSettings
from cmdfusion_ros.labelling.diagnostics.facts import (
    ERROR,
    OK,
    WARN,
    CameraFacts,
    GraphFacts,
    NodeFacts,
)
from cmdfusion_ros.labelling.diagnostics.node_diagnostics import NodeDiagnostics, text_of
from cmdfusion_ros.labelling.settings import node_settings
from cmdfusion_ros.labelling.worker import WorkerReport
from cmdfusion_ros.pairing.paired_cloud import Mode
from cmdfusion_ros.pairing.pairing import CloudAnchoredPairing

PLACE = CameraFacts(True, "", "front_optical", (64, 48), 1.0, 0)
SECOND = 10**9
QUIET = GraphFacts()


class World:
    """A clock, the diagnostics of a node with one camera, and a synchroniser to report on."""

    def __init__(self):
        self.now = 1000.0
        settings = node_settings({"cameras": ["front"]})
        self.diagnostics = NodeDiagnostics(LiveSettings(settings), lambda: self.now)
        self.pairing = CloudAnchoredPairing(
            LiveSettings(settings.pairing()), self, lambda paired: None
        )

    def now_ros(self):
        return int(self.now * SECOND)

    now_steady = now_ros

    def clouds(self, number):
        """`number` clouds at 10 Hz, each labelled at once."""
        cloud = SimpleNamespace(num_points=7, fields=[], frame_id="lidar")
        labelled = SimpleNamespace(
            mode=Mode.FUSED,
            cloud=cloud,
            cameras=[],
            retried="",
            placement=None,
            frame=SimpleNamespace(points=range(7)),
        )
        for _ in range(number):
            self.now += 0.1
            self.diagnostics.cloud_arrived(self.now_ros())
            self.diagnostics.cloud_labelled(labelled, 50.0, 60.0)


def facts_of(world, state="active", graph=QUIET, **changes):
    sync = world.pairing.report() if state == "active" else None
    return NodeFacts(state, True, graph, {}, sync, {"front": PLACE}, **changes)


def part(world, name, facts):
    return next(part for part in world.diagnostics.parts(facts) if part.name == name)


def test_a_failed_start_is_an_error_of_pipeline_and_model_until_one_succeeds():
    world = World()
    world.diagnostics.transition_failed("configure failed: model.checkpoint: no such file")
    for name in ("pipeline", "model"):
        shown = part(world, name, facts_of(world, "unconfigured"))
        assert shown.level == ERROR and "no such file" in shown.message
    world.diagnostics.transition_failed("")
    assert part(world, "pipeline", facts_of(world, "unconfigured")).level == OK


def test_a_worker_that_stands_at_one_cloud_is_named_even_when_no_cloud_comes():
    world = World()
    for seconds, level in ((0.5, OK), (3.0, WARN), (7.0, ERROR)):
        worker = WorkerReport(1, 0, 0, 1, {}, running_s=seconds)
        shown = part(world, "pipeline", facts_of(world, worker=worker))
        assert shown.level == level and (level == OK or f"{seconds:.1f} s" in shown.message)
    broken = WorkerReport(9, 0, 5, 0, {}, lost_threads=4, is_broken=True)
    assert "restart the node" in part(world, "pipeline", facts_of(world, worker=broken)).message


def test_two_publishers_of_clock_are_named():
    world = World()
    shown = part(world, "sync", facts_of(world, graph=GraphFacts(clock_publishers=2)))
    assert shown.level == WARN and "/clock has 2 publishers" in shown.message


def test_a_flood_of_resets_is_an_error_and_one_is_none():
    world = World()
    for number in range(5):
        world.now += 1
        assert part(world, "sync", facts_of(world)).level == (ERROR if number >= 3 else OK)
        world.pairing.reset("again")
    assert "time began anew" in part(world, "sync", facts_of(world)).message
    world.now += 20
    assert part(world, "sync", facts_of(world)).level == OK


def test_clouds_that_the_middleware_lost_are_counted_and_warned_of():
    world = World()
    world.clouds(10)
    world.diagnostics.clouds_lost(7)
    shown = part(world, "lidar", facts_of(world))
    assert (shown.level, shown.values["lost"]) == (WARN, 7) and "7 clouds" in shown.message


@pytest.mark.parametrize(
    ("reason", "level"),
    [("reset", WARN), ("out_of_order", WARN), ("malformed", WARN), ("busy", OK)],
)
def test_when_every_fifth_cloud_is_lost_for_a_reason_nobody_wished_that_is_said(reason, level):
    world = World()
    part(world, "pipeline", facts_of(world))
    world.clouds(40)
    for _ in range(10):
        world.diagnostics.cloud_arrived(world.now_ros())
        world.diagnostics.cloud_dropped(reason)
    shown = part(world, "pipeline", facts_of(world))
    assert shown.level == level and (level == OK or reason in shown.message)


def test_one_cloud_that_found_the_queue_full_is_warned_of():
    world = World()
    lost = NodeFacts(
        "active", True, GraphFacts(), {"queue_full": 1}, world.pairing.report(), {"front": PLACE}
    )
    part(world, "pipeline", facts_of(world))
    world.clouds(50)
    shown = part(world, "pipeline", lost)
    assert shown.level == WARN and "queue was full" in shown.message


def test_what_a_callback_raised_is_an_error_for_a_while():
    world = World()
    world.diagnostics.survived("points: RuntimeError: odd")
    assert "points: RuntimeError: odd" in part(world, "pipeline", facts_of(world)).message
    world.now += 20
    assert part(world, "pipeline", facts_of(world)).level == OK


def test_a_terminal_obeys_nothing_that_diagnostics_say():
    assert text_of("\x1b[2J") == "\\x1b[2J" and text_of(1.5) == "1.500"
