"""From a paired cloud to labels: what goes to the network, and what each failure costs. No ROS."""

import numpy as np
import pytest

from cmdfusion_ros.config import LiveSettings
from cmdfusion_ros.frame import Prediction
from cmdfusion_ros.geometry.projection import project_points
from cmdfusion_ros.geometry.transforms import rigid, yaw_rotation
from cmdfusion_ros.labelling.extrinsics import Extrinsics
from cmdfusion_ros.labelling.pipeline import Pipeline, in_range, visible_ratio
from cmdfusion_ros.labelling.settings import node_settings
from cmdfusion_ros.messages.clouds import MessageError
from cmdfusion_ros.messages.transforms import TransformBuffer, TransformError
from cmdfusion_ros.pairing.paired_cloud import CameraStatus, Mode

# 2 ahead, behind, near, none, far
POINTS = np.array(
    [[10, 0, 0], [10, 1, 0], [-10, 0, 0], [0.1, 0, 0], [np.nan, 0, 0], [300, 0, 0]], np.float32
)


class Recorder:
    """A Segmenter that remembers its frames: label 3 for all, and says of each view which points
    lie ahead of the LiDAR.
    """

    def __init__(self, fails_with_views=False, fails=False):
        self.frames = []
        self.fails_with_views, self.fails = fails_with_views, fails

    def segment(self, frame):
        self.frames.append(frame)
        if self.fails or (self.fails_with_views and frame.views):
            raise RuntimeError("out of memory")
        ahead = (frame.points[:, 0] > 0).astype(np.uint32)
        mask = sum(
            (ahead << np.uint32(bit) for bit in range(len(frame.views))),
            np.zeros(frame.num_points, np.uint32),
        )
        return Prediction(
            np.full(frame.num_points, 3, np.uint8),
            np.full(frame.num_points, 0.75, np.float32),
            mask,
        )


class Known(Extrinsics):
    """Extrinsics with every camera placed at the LiDAR, looking ahead; `missing` ones have no
    transform.
    """

    def __init__(self, settings, camera_info, matrix, missing=()):
        super().__init__(TransformBuffer(), settings)
        self.matrix, self.missing = matrix, missing
        for camera in settings.current.cameras:
            self.take_camera_info(camera, camera_info)

    def camera_from_lidar(self, camera, frame_id, cloud_stamp, image_stamp):
        if camera in self.missing:
            raise TransformError(f"no transform from {frame_id}")
        return self.matrix


@pytest.fixture
def build(messages):
    """build(segmenter, cameras, missing, live, **settings) -> Pipeline; `live`, where it is given,
    is the LiveSettings that hold them.
    """
    made = []

    def make(segmenter, cameras=("front", "left"), missing=(), live=None, **values):
        settings = live or LiveSettings(None)
        settings.current = node_settings(
            {
                "cameras": list(cameras),
                **{name.replace("__", "."): value for name, value in values.items()},
            }
        )
        extrinsics = Known(settings, messages.camera_info(), messages.camera_from_lidar, missing)
        made.append(Pipeline(segmenter, extrinsics, settings, lambda payload, kind: payload))
        return made[-1]

    yield make
    for pipeline in made:
        pipeline.close()


def both(messages):
    return {"front": messages.jpeg(), "left": messages.jpeg()}


def status_of(labelled):
    return {report.name: report.status for report in labelled.cameras}


def test_all_cameras_reach_the_network_in_order(build, messages):
    segmenter = Recorder()
    labelled = build(segmenter)(messages.paired(messages.cloud(POINTS), both(messages)))
    frame = segmenter.frames[0]
    assert [view.name for view in frame.views] == ["front", "left"]
    assert frame.views[0].image.shape == (48, 64, 3) and frame.frame_id == "lidar"
    assert labelled.mode is Mode.FUSED
    assert status_of(labelled) == {"front": CameraStatus.FUSED, "left": CameraStatus.FUSED}
    assert labelled.cameras[0].offset_ns == 2_000_000 and labelled.timings.wait == 5.0


def test_images_that_the_network_does_not_read_make_no_mode(build, messages):
    """They are paired, and serve the overlay; the labels are those of the LiDAR alone."""
    segmenter = Recorder()
    segmenter.uses_images = False
    labelled = build(segmenter)(messages.paired(messages.cloud(POINTS), both(messages)))
    assert labelled.mode is Mode.LIDAR_ONLY
    assert set(status_of(labelled).values()) == {CameraStatus.NOT_LOOKED_AT}
    assert not any(report.used for report in labelled.cameras)
    assert [view.name for view in labelled.frame.views] == ["front", "left"]


def test_images_that_nobody_looks_at_are_not_decoded(build, messages):
    segmenter = Recorder()
    segmenter.uses_images = False
    pipeline = build(segmenter)
    pipeline.wants_images = lambda: False
    pipeline._decode = lambda *values: pytest.fail("an image was decoded")
    labelled = pipeline(messages.paired(messages.cloud(POINTS), both(messages)))
    assert labelled.mode is Mode.LIDAR_ONLY and labelled.frame.views == ()
    assert set(status_of(labelled).values()) == {CameraStatus.NOT_LOOKED_AT}


def test_points_that_are_none_or_out_of_range_are_left_out_and_keep_their_rows(build, messages):
    segmenter = Recorder()
    labelled = build(segmenter, points__max_range=100.0)(messages.paired(messages.cloud(POINTS)))
    np.testing.assert_array_equal(labelled.rows, [True, True, True, False, False, False])
    np.testing.assert_array_equal(segmenter.frames[0].points, POINTS[:3])
    assert len(labelled.prediction.labels) == 3 and labelled.cloud.num_points == 6


def test_bits_of_the_mask_count_cameras_not_views(build, messages):
    states = {"front": CameraStatus.NO_IMAGE}
    labelled = build(Recorder())(
        messages.paired(messages.cloud(POINTS), {"left": messages.jpeg()}, states)
    )
    # left is the second camera; the point behind has none
    np.testing.assert_array_equal(labelled.prediction.camera_mask, [2, 2, 0, 2])
    assert {report.name: report.num_points for report in labelled.cameras} == {
        "front": 0,
        "left": 3,
    }
    assert labelled.mode is Mode.PARTIAL


def test_an_image_that_cannot_be_decoded_costs_its_camera_this_cloud(build, messages):
    broken = messages.jpeg()
    broken.data = b"not a jpeg"
    segmenter = Recorder()
    labelled = build(segmenter)(
        messages.paired(messages.cloud(POINTS), {"front": broken, "left": messages.jpeg()})
    )
    assert status_of(labelled) == {"front": CameraStatus.DECODE_ERROR, "left": CameraStatus.FUSED}
    assert labelled.mode is Mode.PARTIAL and [view.name for view in segmenter.frames[0].views] == [
        "left"
    ]
    assert labelled.cameras[0].reason


def test_a_missing_transform_costs_its_camera_this_cloud(build, messages):
    labelled = build(Recorder(), missing=("left",))(
        messages.paired(messages.cloud(POINTS), both(messages))
    )
    assert status_of(labelled) == {"front": CameraStatus.FUSED, "left": CameraStatus.NO_TRANSFORM}
    assert labelled.cameras[1].reason == "no transform from lidar"


def test_images_of_another_size_than_the_calibration_are_not_used(build, messages):
    images = {"front": messages.jpeg(width=128, height=96), "left": messages.jpeg()}
    labelled = build(Recorder())(messages.paired(messages.cloud(POINTS), images))
    assert status_of(labelled)["front"] is CameraStatus.NO_CALIBRATION
    assert "(64, 48)" in labelled.cameras[0].reason and "(128, 96)" in labelled.cameras[0].reason


def test_fewer_images_than_min_cameras_means_lidar_alone(build, messages):
    segmenter = Recorder()
    pipeline = build(segmenter, missing=("left",), sync__min_cameras=2)
    labelled = pipeline(messages.paired(messages.cloud(POINTS), both(messages)))
    assert labelled.mode is Mode.LIDAR_ONLY and segmenter.frames[0].views == ()
    assert (
        status_of(labelled)["front"] is CameraStatus.NO_IMAGE
        and "min_cameras" in labelled.cameras[0].reason
    )


def test_a_camera_that_sees_no_point_is_said_so(build, messages):
    behind = np.array([[-10, 0, 0], [-5, 1, 0]], np.float32)
    labelled = build(Recorder(), cameras=("front",))(
        messages.paired(messages.cloud(behind), {"front": messages.jpeg()})
    )
    assert (
        status_of(labelled) == {"front": CameraStatus.NO_POINTS}
        and labelled.cameras[0].visible_ratio == 0
    )
    assert labelled.mode is Mode.FUSED


def test_a_network_that_fails_with_images_is_tried_without(build, messages):
    segmenter = Recorder(fails_with_views=True)
    labelled = build(segmenter)(messages.paired(messages.cloud(POINTS), both(messages)))
    assert [len(frame.views) for frame in segmenter.frames] == [2, 0]
    assert labelled.mode is Mode.LIDAR_ONLY and "out of memory" in labelled.retried
    assert not labelled.prediction.camera_mask.any() and len(labelled.prediction.labels) == 4


def test_a_network_that_fails_without_images_raises(build, messages):
    with pytest.raises(RuntimeError, match="out of memory"):
        build(Recorder(fails=True))(messages.paired(messages.cloud(POINTS), both(messages)))


def test_a_malformed_cloud_raises_and_the_next_one_works(build, messages):
    pipeline = build(Recorder())
    broken = messages.cloud(POINTS)
    broken.data = broken.data[:20]
    with pytest.raises(MessageError, match="cut off"):
        pipeline(messages.paired(broken, both(messages)))
    assert pipeline(messages.paired(messages.cloud(POINTS), both(messages))).mode is Mode.FUSED


def test_an_empty_cloud_has_an_empty_answer(build, messages):
    labelled = build(Recorder())(
        messages.paired(messages.cloud(np.zeros((0, 3), np.float32)), both(messages))
    )
    assert len(labelled.prediction.labels) == 0 and labelled.mode is Mode.FUSED


def test_the_scale_of_an_intensity_stays_what_it_was_over_a_dark_scan(build, messages):
    segmenter = Recorder()
    pipeline = build(segmenter, cameras=())
    pipeline(messages.paired(messages.cloud(POINTS, intensity=200.0)))
    pipeline(messages.paired(messages.cloud(POINTS, intensity=0.9)))
    assert segmenter.frames[0].intensity[0] == pytest.approx(200 / 255)
    assert segmenter.frames[1].intensity[0] == pytest.approx(0.9 / 255)


def test_a_scale_that_the_user_gave_is_gone_when_he_takes_it_back(build, messages):
    segmenter = Recorder()
    live = LiveSettings(None)
    pipeline = build(segmenter, cameras=(), live=live)
    for scale in (0.0, 65535.0, 0.0):
        live.current = node_settings({"points.intensity_scale": scale})
        pipeline(messages.paired(messages.cloud(POINTS, intensity=200.0)))
    assert [frame.intensity[0] for frame in segmenter.frames] == pytest.approx(
        [200 / 255, 200 / 65535, 200 / 255]
    )


def test_a_new_time_line_guesses_the_scale_of_its_intensity_anew(build, messages):
    segmenter = Recorder()
    pipeline = build(segmenter, cameras=())
    pipeline(messages.paired(messages.cloud(POINTS, intensity=200.0)))
    pipeline(messages.paired(messages.cloud(POINTS, intensity=0.9), epoch=1))
    assert segmenter.frames[1].intensity[0] == pytest.approx(0.9)


def test_a_cloud_without_stamp_is_placed_at_the_time_of_its_arrival(build, messages):
    asked = []
    segmenter = Recorder()
    pipeline = build(segmenter, cameras=("front",), points__frame="base")
    pipeline._extrinsics.frame_from_lidar = lambda frame_id, stamp: asked.append(stamp)
    pipeline._extrinsics.camera_from_lidar = lambda camera, frame_id, cloud_stamp, image_stamp: (
        asked.append(cloud_stamp) or messages.camera_from_lidar
    )
    pipeline(
        messages.paired(
            messages.cloud(POINTS, stamp=0), {"front": messages.jpeg()}, stamp=5 * 10**9
        )
    )
    assert asked == [5 * 10**9] * 2 and segmenter.frames[0].stamp == 5 * 10**9


def test_points_and_cameras_go_together_into_another_frame(build, messages):
    """The network sees points and views in the frame asked for; each point still falls on its
    own pixel.
    """
    segmenter = Recorder()
    pipeline = build(segmenter, cameras=("front",), points__frame="base")
    pipeline._extrinsics.frame_from_lidar = lambda frame_id, stamp: rigid(
        yaw_rotation(0.5), (1.0, 2.0, 3.0)
    )
    labelled = pipeline(messages.paired(messages.cloud(POINTS), {"front": messages.jpeg()}))
    frame, seen = segmenter.frames[0], POINTS[labelled.rows]
    assert frame.frame_id == "base" and not np.allclose(frame.points, seen)
    view = frame.views[0]
    moved = project_points(frame.points, view.intrinsic, view.camera_from_lidar, view.image_size)[0]
    np.testing.assert_allclose(
        moved,
        project_points(seen, view.intrinsic, messages.camera_from_lidar, view.image_size)[0],
        atol=1e-3,
    )


def test_states_of_cameras_without_image_pass_through(build, messages):
    states = {"front": CameraStatus.OFFLINE, "left": CameraStatus.DISABLED}
    labelled = build(Recorder())(messages.paired(messages.cloud(POINTS), {}, states))
    assert status_of(labelled) == states and labelled.mode is Mode.LIDAR_ONLY


def test_range_is_inclusive_and_nan_is_out_of_it():
    points = np.array(
        [[0.5, 0, 0], [0, 100, 0], [0, 0, 100.1], [np.nan, 1, 1], [0.4, 0, 0]], np.float32
    )
    np.testing.assert_array_equal(in_range(points, 0.5, 100.0), [True, True, False, False, False])
    np.testing.assert_array_equal(in_range(points, 0.5, 0.0), [True, True, True, False, False])


def test_the_visible_ratio_of_few_visible_points_is_not_lost_in_the_sample(build, messages):
    pipeline = build(Recorder(), cameras=("front",))
    points = np.tile(np.float32([-10, 0, 0]), (20_000, 1))
    points[7] = (10, 0, 0)  # not on the grid of the sample
    labelled = pipeline(messages.paired(messages.cloud(points), {"front": messages.jpeg()}))
    assert labelled.cameras[0].visible_ratio == pytest.approx(1 / 20_000)
    assert np.isnan(visible_ratio(points[:0], labelled.frame.views[0]))
