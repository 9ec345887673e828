"""What /diagnostics says of how clouds lie, and of points that cannot be labelled."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from cmdfusion_ros.labelling.diagnostics.facts import OK, WARN
from cmdfusion_ros.labelling.diagnostics.placement_diagnostics import PlacementDiagnostics
from cmdfusion_ros.labelling.lost_points import lost_points
from cmdfusion_ros.labelling.placement import Placement
from cmdfusion_ros.labelling.sections import PointsSettings

ACTIVE = SimpleNamespace(state="active")
SETTINGS = PointsSettings()


def told(labelled, settings=SETTINGS, facts=ACTIVE, **changes):
    diagnostics = PlacementDiagnostics()
    diagnostics.take(dataclasses.replace(labelled, **changes), settings, 0.0)
    return diagnostics.part(facts)


def test_nothing_is_said_before_the_first_cloud():
    part = PlacementDiagnostics().part(ACTIVE)
    assert part.level == OK and "no cloud" in part.message


def test_what_leveling_found_is_told(labelled):
    placement = Placement(
        True, scale=0.001, found_height=1.7, tilt_deg=180.0, words="origin of lidar, upside down"
    )
    part = told(labelled, placement=placement)
    assert part.level == OK and part.message == "origin of lidar, upside down"
    assert part.values["unit"] == "millimetres" and part.values["height_m"] == 1.7
    assert part.values["tilt_deg"] == 180.0 and part.values["usable_ratio"] == 0.8


def test_a_placement_that_is_not_sure_is_a_warning_with_what_to_do(labelled):
    part = told(labelled, placement=Placement(False, words="no ground seen in it"))
    assert part.level == WARN and part.message.startswith("no ground seen in it; points.frame")
    paused = told(labelled, facts=SimpleNamespace(state="inactive"), placement=Placement(False))
    assert paused.level == OK


def test_where_the_user_says_how_clouds_lie_nothing_is_doubted(labelled):
    assert told(labelled, placement=None).message == "as points.leveling says"
    part = told(labelled, PointsSettings(frame="base_link"), placement=None)
    assert part.level == OK and part.message == "as points.frame says"


def emptied(labelled, points):
    """A cloud of these points, of which the network saw none."""
    return {
        "cloud": dataclasses.replace(labelled.cloud, points=points),
        "frame": dataclasses.replace(
            labelled.frame,
            points=np.empty((0, 3), np.float32),
            intensity=np.empty(0, np.float32),
        ),
    }


@pytest.mark.parametrize(
    ("row", "settings", "cause"),
    [
        ((500_000.0, 4_649_776.0, 30.0), SETTINGS, "100 % beyond 10 km, as coordinates of UTM"),
        ((np.nan, 0.0, 0.0), SETTINGS, "100 % not finite"),
        ((0.0, 0.0, 0.0), SETTINGS, "100 % no return (0, 0, 0)"),
        ((0.2, 0.0, 0.0), SETTINGS, "100 % nearer than 0.5 m"),
        ((90.0, 0.0, 0.0), PointsSettings(max_range=60.0), "100 % farther than 60 m"),
    ],
)
def test_a_cloud_without_a_usable_point_is_a_warning_with_the_cause(labelled, row, settings, cause):
    points = np.tile(np.float32(row), (5, 1))
    part = told(labelled, settings, **emptied(labelled, points), placement=Placement(True))
    assert part.level == WARN and cause in part.message
    assert part.values["usable_ratio"] == 0.0


def test_points_that_the_grid_cannot_hold_are_named(labelled):
    points = np.tile(np.float32((9_000.0, 0.0, 0.0)), (5, 1))
    part = told(labelled, **emptied(labelled, points), num_beyond_reach=5)
    assert part.level == WARN and "100 % beyond the network's grid" in part.message


def test_causes_are_counted_once_a_second_at_most(labelled):
    diagnostics, nothing = PlacementDiagnostics(), emptied(labelled, np.zeros((5, 3), np.float32))
    diagnostics.take(dataclasses.replace(labelled, **nothing), SETTINGS, 0.0)
    far = emptied(labelled, np.full((5, 3), np.nan, np.float32))
    diagnostics.take(dataclasses.replace(labelled, **far), SETTINGS, 0.5)
    assert "no return" in diagnostics.part(ACTIVE).message
    diagnostics.take(dataclasses.replace(labelled, **far), SETTINGS, 1.5)
    assert "not finite" in diagnostics.part(ACTIVE).message
    diagnostics.take(labelled, SETTINGS, 1.6)
    assert diagnostics.part(ACTIVE).values["lost"] == ""


def test_each_row_is_lost_for_one_cause():
    rng = np.random.default_rng(0)
    points = rng.uniform(-20, 20, (1000, 3)).astype(np.float32)
    points[:100], points[100:300], points[300:350] = np.inf, 0.0, (1e5, 0, 0)
    points[350:390] = (0.1, 0.1, 0.0)
    found = lost_points(points, 1.0, 0.5)
    near = int((np.linalg.norm(points[390:], axis=1) < 0.5).sum())
    assert list(found.values()) == [200, 100, 50, 40 + near]
    # in millimetres nothing of it is near, and 100 km are 100 m
    scaled = lost_points(points * np.float32(1000), 0.001, 0.5)
    assert scaled == found
    assert lost_points(np.empty((0, 3), np.float32), 1.0, 0.5) == {}
