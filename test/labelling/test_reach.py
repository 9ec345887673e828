"""Points beyond the reach of the network's grid: unlabelled, counted, and no cost to the others."""

import numpy as np
import pytest
from builders.messages import make_cloud, make_paired
from builders.paths import REPOSITORY

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.config import LiveSettings, ModelConfig, load_yaml
from cmdfusion_ros.frame import Prediction
from cmdfusion_ros.geometry.transforms import rigid
from cmdfusion_ros.labelling.pipeline import Pipeline
from cmdfusion_ros.labelling.settings import node_settings
from cmdfusion_ros.messages.labelled_clouds import write_labelled_cloud
from cmdfusion_ros.messages.transforms import TransformError
from cmdfusion_ros.sparse.voxelise import HIGHEST, LOWEST, voxelise, within_reach

LEVEL_OFF = LiveSettings(node_settings({"points.leveling": "off"}))
PRESETS = sorted(
    {
        load_yaml(path).get("model", {}).get("voxel_size", ModelConfig().voxel_size)
        for path in (REPOSITORY / "config" / "train").glob("*.yaml")
    }
)


class Grid:
    """A network that has a grid, fails as one does beyond it, and labels everything 1."""

    def __init__(self, voxel_size):
        self.voxel_size = voxel_size

    def within_reach(self, points):
        return within_reach(points, self.voxel_size)

    def segment(self, frame):
        voxelise(frame.points, np.zeros(frame.num_points, np.int64), self.voxel_size)
        ones = np.ones(frame.num_points)
        return Prediction(ones.astype(np.uint8), ones.astype(np.float32), np.zeros(len(ones), "u4"))


class Place:
    """Extrinsics without cameras; `frame_from_lidar` as given."""

    transforms = None  # for leveling, which is off here

    def __init__(self, frame_from_lidar=None):
        self._transform = frame_from_lidar

    def frame_from_lidar(self, frame_id, stamp):
        return self._transform

    def geometry(self, camera):
        raise TransformError(camera)


def labelled(points, voxel_size=0.1, frame_from_lidar=None, **parameters):
    message = make_cloud(np.array(points, np.float32))
    pipeline = Pipeline(
        Grid(voxel_size),
        Place(frame_from_lidar),
        LiveSettings(node_settings({"points.leveling": "off", **parameters})),
        lambda payload, kind: payload,
    )
    try:
        return pipeline(make_paired(message))
    finally:
        pipeline.close()


@pytest.mark.parametrize("voxel_size", PRESETS)
def test_the_limit_of_each_preset_is_where_the_voxels_end(voxel_size):
    """On either side of both ends of each axis, found with the voxeliser itself."""
    size = np.float32(voxel_size)
    for axis in range(3):
        for limit, outward in ((HIGHEST[axis + 1], 1), (LOWEST[axis + 1], -1)):
            points = np.zeros((9, 3), np.float32)
            points[:, axis] = (limit + outward * np.arange(-3, 6) + 0.5).astype(np.float32) * size
            inside = within_reach(points, voxel_size)
            assert inside.any() and not inside.all()
            for point, is_inside in zip(points, inside, strict=True):
                if is_inside:
                    voxelise(point[None], np.zeros(1, np.int64), voxel_size)
                else:
                    with pytest.raises(ValueError, match="must lie in"):
                        voxelise(point[None], np.zeros(1, np.int64), voxel_size)


@pytest.mark.parametrize("voxel_size", PRESETS)
@pytest.mark.parametrize("far", [(0, 0, 6000), (0, 0, -6000), (9000, 0, 0), (0, -9000, 0)])
def test_one_far_point_stays_unlabelled_and_the_others_do_not(voxel_size, far):
    points = [(1, 2, 0), far, (5, 5, 1)]
    result = labelled(points, voxel_size)
    reached = within_reach(np.array(points, np.float32), voxel_size)
    assert result.num_beyond_reach == (~reached).sum()
    np.testing.assert_array_equal(result.rows, reached)
    payload = write_labelled_cloud(
        result.cloud, result.prediction, result.rows, load_class_map("street"), "minimal"
    )
    labels = np.frombuffer(payload.data, "<u4").reshape(-1, 4)[:, 3]
    assert ((labels == 0) == ~reached).all() and payload.width == 3


def test_a_cloud_wholly_beyond_reach_is_labelled_with_nothing():
    result = labelled([(0, 0, 9000), (0, 0, 8000)])
    assert result.num_beyond_reach == 2 and not result.rows.any()
    assert len(result.prediction.labels) == 0


@pytest.mark.parametrize("shift", [20_000.0, 1e12, 1e300])
def test_a_transform_that_throws_the_cloud_away_costs_its_labels_alone(shift):
    moved = rigid(np.eye(3), (shift, 0.0, 0.0))
    result = labelled([(1, 0, 0), (2, 0, 0)], frame_from_lidar=moved)
    assert result.num_beyond_reach == 2 and not result.rows.any()


def test_points_are_looked_at_where_the_network_sees_them():
    """7 km up in the LiDAR's frame, and near after the transform to points.frame; and the other
    way round.
    """
    down = rigid(np.eye(3), (0.0, 0.0, -7000.0))
    result = labelled([(0, 0, 7000), (0, 0, 1)], frame_from_lidar=down)
    np.testing.assert_array_equal(result.rows, [True, False])
    np.testing.assert_allclose(result.frame.points, [[0, 0, 0]])


def test_a_network_whose_confidence_is_no_number_is_an_error():
    class Broken(Grid):
        def segment(self, frame):
            nothing = np.full(frame.num_points, np.nan, np.float32)
            return Prediction(np.zeros(len(nothing), "u1"), nothing, np.zeros(len(nothing), "u4"))

    pipeline = Pipeline(Broken(0.1), Place(), LEVEL_OFF, lambda payload, kind: payload)
    with pytest.raises(FloatingPointError, match="1 of 1 points a confidence that is no number"):
        pipeline(make_paired(make_cloud(np.ones((1, 3), np.float32))))
    pipeline.close()
