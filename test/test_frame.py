"""Frames, views and predictions are checked where they are made."""

import numpy as np
import pytest

from cmdfusion_ros.frame import CameraView, Distortion, Frame, Prediction, require_rigid

POINTS = np.zeros((4, 3), np.float32)
INTENSITY = np.zeros(4, np.float32)
INTRINSIC = np.array([[100.0, 0, 32], [0, 100.0, 24], [0, 0, 1]])


def view(name="front", **changes):
    values = {
        "image": np.zeros((48, 64, 3), np.uint8),
        "intrinsic": INTRINSIC,
        "camera_from_lidar": np.eye(4),
    }
    return CameraView(name, **{**values, **changes})


def test_a_frame_may_have_no_points_and_no_views():
    frame = Frame(np.zeros((0, 3), np.float32), np.zeros(0, np.float32))
    assert frame.num_points == 0 and frame.views == () and frame.labels is None


def test_a_frame_keeps_the_order_of_its_views():
    assert [v.name for v in Frame(POINTS, INTENSITY, views=(view("b"), view("a"))).views] == [
        "b",
        "a",
    ]


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"points": np.zeros((4, 4), np.float32)},
            r"points: expected shape \(N, 3\), got \(4, 4\); drop intensity first",
        ),
        (
            {"points": np.zeros((4, 3))},
            r"points: expected dtype float32, got float64; use .astype\(np\.float32\)",
        ),
        ({"points": [[0, 0, 0]]}, "points: expected a numpy array, got list"),
        (
            {"views": (np.zeros((4, 4, 3), np.uint8),)},
            "views: expected a tuple of CameraView, got nda",
        ),
        ({"views": "front"}, "views: expected a tuple of CameraView, got str"),
        (
            {"points": np.full((4, 3), np.nan, np.float32)},
            "points: hold NaN or infinity; remove those points",
        ),
        ({"intensity": np.zeros(3, np.float32)}, r"intensity: expected shape \(4\), got \(3,\)"),
        (
            {"intensity": np.array([0, np.nan, np.inf, 1], np.float32)},
            "intensity: expected finite values, got 2 that are NaN or infinity; give 0",
        ),
        ({"labels": np.zeros(4, np.int64)}, "labels: expected dtype uint8, got int64"),
        (
            {"instance_ids": np.zeros(5, np.uint16)},
            r"instance_ids: expected shape \(4\), got \(5,\)",
        ),
        ({"world_from_lidar": np.eye(4) * 2}, "world_from_lidar: expected a rigid transform"),
        (
            {"views": (view(), view())},
            r"views: expected one view a camera, got \['front', 'front'\]",
        ),
    ],
)
def test_a_wrong_frame_is_refused_by_name(changes, message):
    with pytest.raises(ValueError, match=f"frame scan 7: {message}"):
        Frame(**{"points": POINTS, "intensity": INTENSITY, "name": "scan 7", **changes})


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"image": np.zeros((48, 64), np.uint8)},
            r"image: expected shape \(N, N, 3\), got \(48, 64\); give \(height, width, 3\) RGB",
        ),
        (
            {"intrinsic": np.zeros((3, 3))},
            "intrinsic: expected finite values and positive focal lengths, .* is it calibrated",
        ),
        (
            {"camera_from_lidar": np.diag([1.0, 1, -1, 1])},
            "camera_from_lidar: expected a rigid transform",
        ),
        (
            {"camera_from_lidar": np.full((4, 4), np.nan)},
            "camera_from_lidar: holds NaN or infinity",
        ),
    ],
)
def test_a_wrong_view_is_refused_by_name(changes, message):
    with pytest.raises(ValueError, match=f"camera front: {message}"):
        view(**changes)


def test_image_size_is_width_then_height():
    assert view().image_size == (64, 48)


def test_a_transform_with_a_filled_last_row_is_not_rigid():
    wrong = np.eye(4)
    wrong[3, 0] = 1
    with pytest.raises(ValueError, match="last row"):
        require_rigid("lidar", wrong)


@pytest.mark.parametrize(
    "model, coefficients, message",
    [
        (
            "fisheye",
            (),
            "expected one of plumb_bob, rational_polynomial, equidistant, got 'fisheye'",
        ),
        ("equidistant", (1, 2, 3, 4, 5), "equidistant: expected at most 4 coefficients, got 5"),
        ("plumb_bob", (np.nan,), "plumb_bob: coefficients hold NaN"),
    ],
)
def test_an_unknown_lens_is_refused(model, coefficients, message):
    with pytest.raises(ValueError, match=message):
        Distortion(model, coefficients)


def test_a_prediction_holds_one_answer_for_each_point():
    labels, confidence, mask = np.zeros(3, np.uint8), np.ones(3, np.float32), np.zeros(3, np.uint32)
    assert len(Prediction(labels, confidence, mask).labels) == 3
    with pytest.raises(ValueError, match=r"confidence: expected shape \(3\), got \(2,\)"):
        Prediction(labels, confidence[:2], mask)
    with pytest.raises(ValueError, match="camera_mask: expected dtype uint32"):
        Prediction(labels, confidence, mask.astype(np.int64))
