"""A run is accounted for: latency, modes, drops, and what does not add up."""

import io
import math

import pytest

from cmdfusion_ros.cli.runs.record import RunRecord
from cmdfusion_ros.cli.runs.terminal import LiveLine, progress

LABELLED, STATUS = "/cmdfusion/points_labeled", "/cmdfusion/status"
MS = 1_000_000


def record_of(num_clouds=3, labelled=(0, 1, 2), status=True, **values):
    """A run of clouds 100 ms apart, each labelled 20 ms later (the last one 40 ms)."""
    record = RunRecord(LABELLED, STATUS, num_clouds)
    for index in range(num_clouds):
        record.take({"event": "cloud", "stamp": index, "wall": index * 100 * MS})
    for index in labelled:
        late = 40 if index == num_clouds - 1 else 20
        record.take(
            {
                "event": "message",
                "topic": LABELLED,
                "stamp": index,
                "wall": (index * 100 + late) * MS,
            }
        )
        if status:
            record.take(
                {
                    "event": "message",
                    "topic": STATUS,
                    "stamp": index,
                    "wall": 0,
                    "mode": "PARTIAL" if index == 1 else "FUSED",
                }
            )
    values = {"received": str(num_clouds), "labelled": str(len(labelled)), **values}
    parts = {
        "cmdfusion: pipeline": values,
        "cmdfusion: sync": {
            "released.FUSED": "2",
            "released.PARTIAL": "0",
            "released.LIDAR_ONLY": "1",
        },
        "other: pipeline ": {"received": "99"},
    }
    record.take(
        {"event": "message", "topic": "/diagnostics", "stamp": 0, "wall": 0, "parts": parts}
    )
    return record


def test_the_summary_has_the_figures_of_the_run():
    assert record_of().summary(0.25) == {
        "received": 3,
        "labelled": 3,
        "dropped": {},
        "reasons": {},
        "placement": "",
        "modes": {"FUSED": 2, "PARTIAL": 1, "LIDAR_ONLY": 0},
        "cameras": {},
        "rate_hz": 9.09,  # two intervals in 220 ms
        "latency_ms": {"p50": 20.0, "p95": 38.0, "max": 40.0},
        "miou": 0.25,
    }


def test_drops_are_named_and_everything_is_accounted_for():
    record = record_of(
        labelled=(0, 2), **{"dropped": "1", "dropped.busy": "1", "dropped.stale": "0"}
    )
    assert record.dropped == {"busy": 1} and record.settled and record.problems() == []


def test_what_does_not_add_up_is_said():
    lost = record_of()
    lost.num_clouds = 4
    assert lost.problems() == ["the node received 3 of the bag's 4 clouds"]
    vanished = record_of(labelled=(0, 1))
    assert not vanished.settled and vanished.problems() == [
        "3 clouds received, but 2 labelled or dropped by name"
    ]
    unrecorded = record_of()
    del unrecorded.returned[2]
    assert not unrecorded.settled and unrecorded.problems() == ["3 clouds labelled, but 2 recorded"]


def test_a_camera_that_did_not_serve_every_cloud_is_told_with_the_first_reason():
    record = RunRecord(LABELLED, STATUS, 4)
    for front, why in (("FUSED", ""), ("OFFLINE", "no image for 1.1 s"), ("OFFLINE", "1.2 s")):
        record.take({"event": "cameras", "cameras": {"front": (front, why), "left": ("FUSED", "")}})
    record.take({"event": "cameras", "cameras": {"front": ("NO_POINTS", "")}})
    assert record.camera_lines() == [
        "camera front: used for 2 of 4 clouds; 2 OFFLINE (no image for 1.1 s); no point fell into "
        "1 of its images: is its frame really the optical one (z forward)?"
    ]
    assert record.summary(None)["cameras"] == {
        "front": {"FUSED": 1, "OFFLINE": 2, "NO_POINTS": 1},
        "left": {"FUSED": 3},
    }


def test_a_live_run_knows_its_cameras_by_the_status_and_their_reasons_by_the_diagnostics():
    record = RunRecord(LABELLED, STATUS, 3)
    said = {"last_status": "OFFLINE", "reason": "no image for 1.1 s"}
    for stamp, status in enumerate((0, 3, 0)):
        event = {"event": "message", "topic": STATUS, "stamp": stamp, "wall": 0, "mode": "FUSED"}
        record.take({**event, "cameras": {"front": status}})
    parts = {"cmdfusion: camera/front": said}
    record.take({"event": "message", "topic": "/diagnostics", "stamp": 0, "parts": parts})
    assert record.summary(None)["cameras"] == {"front": {"FUSED": 2, "OFFLINE": 1}}
    assert record.camera_lines() == [
        "camera front: used for 2 of 3 clouds; 1 OFFLINE (no image for 1.1 s)"
    ]


def test_clouds_of_which_none_has_a_point_to_label_are_not_as_they_should_be():
    record = record_of()
    for _ in range(3):
        assert record.problems() == []
        record.take({"event": "pointless", "why": "no return (0, 0, 0)"})
    (problem,) = record.problems()
    assert problem.startswith("no cloud has a point that can be labelled: no return (0, 0, 0);")


def test_without_status_the_modes_are_those_of_the_diagnostics():
    assert record_of(status=False).mode_counts() == {"FUSED": 2, "PARTIAL": 0, "LIDAR_ONLY": 1}


def test_a_run_without_labels_has_no_figures_but_a_summary():
    record = RunRecord(LABELLED, STATUS, 3)
    summary = record.summary(math.nan)
    assert (
        summary["rate_hz"] is None
        and summary["miou"] is None
        and summary["latency_ms"] == {"p50": None, "p95": None, "max": None}
    )
    assert "0/3 clouds" in progress(record) and "waiting" in progress(record)


def test_the_progress_line_shows_bar_rate_mode_latency_and_drops():
    line = progress(record_of(labelled=(0, 2), **{"dropped.busy": "1"}))
    assert line.startswith(f"[{28 * '█'}] 3/3 clouds")
    assert "FUSED" in line and "latency     40 ms" in line and "dropped 1 busy" in line


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    "stream, shown",
    [(Terminal(), "\rlong line\rhi       \rbye\n"), (io.StringIO(), "long line\nbye\n")],
)
def test_the_line_is_rewritten_in_a_terminal_and_rare_in_a_file(stream, shown):
    line = LiveLine(stream)
    line.show("long line")
    line.show("hi")
    line.finish("bye")
    assert stream.getvalue() == shown


def test_the_first_reason_of_each_loss_is_told():
    record = RunRecord("/labelled", "", 2)
    for why in ("field 'x' has datatype 3", "another"):
        record.take({"event": "unlabelled", "stamp": 1, "reason": "malformed", "why": why})
    record.take({"event": "counts", "counts": {"received": 2, "dropped.malformed": 2}})
    assert record.problems() == [
        "not one cloud was labelled",
        "2 malformed, the first: field 'x' has datatype 3",
    ]
    assert record.summary(None)["reasons"] == {"malformed": "field 'x' has datatype 3"}
