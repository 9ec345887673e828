"""CameraInfo and calibration files: what the published image sees, worked out by hand and
against OpenCV.
"""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmdfusion_ros.frame import Distortion
from cmdfusion_ros.geometry.projection import project_points
from cmdfusion_ros.messages.camera_info import read_calibration_file, read_camera_info
from cmdfusion_ros.messages.clouds import MessageError

K = (100.0, 0, 320, 0, 110, 240, 0, 0, 1)
P = (90.0, 0, 300, -45, 0, 90, 200, 0, 0, 0, 1, 0)
ROI = {"x_offset": 0, "y_offset": 0, "width": 0, "height": 0}


def info(roi=(), **changes):
    fields = {
        "width": 640,
        "height": 480,
        "k": K,
        "p": P,
        "d": (),
        "distortion_model": "",
        "binning_x": 0,
        "binning_y": 0,
    }
    return SimpleNamespace(**{**fields, **changes}, roi=SimpleNamespace(**{**ROI, **dict(roi)}))


def test_a_plain_camera_info_is_its_k_and_its_size():
    intrinsic, distortion, image_size = read_camera_info(info())
    np.testing.assert_array_equal(intrinsic, [[100, 0, 320], [0, 110, 240], [0, 0, 1]])
    assert distortion is None
    assert image_size == (640, 480)


def test_a_rectified_image_has_p_and_no_distortion():
    intrinsic, distortion, _ = read_camera_info(
        info(d=(0.1, 0, 0, 0, 0), distortion_model="plumb_bob"), rectified=True
    )
    np.testing.assert_array_equal(intrinsic, [[90, 0, 300], [0, 90, 200], [0, 0, 1]])
    assert distortion is None


def test_the_message_is_not_changed():
    message = info(k=np.array(K), roi={"x_offset": 10, "width": 100, "height": 100})
    read_camera_info(message)
    np.testing.assert_array_equal(message.k, K)


@pytest.mark.parametrize(
    ("model", "coefficients", "expected"),
    [
        (
            "plumb_bob",
            (0.1, 0.2, 0.3, 0.4, 0.5),
            Distortion("plumb_bob", (0.1, 0.2, 0.3, 0.4, 0.5)),
        ),
        ("plumb_bob", (0.1, 0.2, 0.3, 0.4), Distortion("plumb_bob", (0.1, 0.2, 0.3, 0.4))),
        ("plumb_bob", (0.0,) * 5, None),
        ("plumb_bob", (), None),
        ("", (), None),
        ("", (0.0,) * 5, None),
        ("rational_polynomial", (0.1,) * 8, Distortion("rational_polynomial", (0.1,) * 8)),
        (
            "rational_polynomial",
            (0.1,) * 8 + (0.0,) * 6,
            Distortion("rational_polynomial", (0.1,) * 8),
        ),
        (
            "plumb_bob",
            (0.1, 0.2, 0.3, 0.4, 0.5, 0.0, 0.0, 0.0),
            Distortion("plumb_bob", (0.1, 0.2, 0.3, 0.4, 0.5)),
        ),
        ("none", (0.0,) * 5, None),
        ("equidistant", (0.1, 0.2, 0.3, 0.4), Distortion("equidistant", (0.1, 0.2, 0.3, 0.4))),
        ("equidistant", (0.1, 0.2, 0.3, 0.4, 0.0), Distortion("equidistant", (0.1, 0.2, 0.3, 0.4))),
        ("equidistant", (0.0,) * 4, Distortion("equidistant", (0.0,) * 4)),
    ],
)
def test_lens_models_of_ros_are_read(model, coefficients, expected):
    assert read_camera_info(info(distortion_model=model, d=coefficients))[1] == expected


@pytest.mark.parametrize("binning", [(1, 1), (2, 2), (4, 2)])
@pytest.mark.parametrize("roi", [{}, {"x_offset": 40, "y_offset": 20, "width": 320, "height": 240}])
def test_a_cut_and_binned_image_shows_a_point_where_its_pixels_went(binning, roi):
    """The truth: give every pixel of the full image its own u and v, cut, average over each bin,
    and look where the point is.
    """
    v, u = np.mgrid[:480, :640].astype(float)
    window = {**ROI, "width": 640, "height": 480, **roi}
    cut = np.s_[
        window["y_offset"] : window["y_offset"] + window["height"],
        window["x_offset"] : window["x_offset"] + window["width"],
    ]
    bins = (window["height"] // binning[1], binning[1], window["width"] // binning[0], binning[0])
    u_of, v_of = (full[cut].reshape(bins).mean(axis=(1, 3)) for full in (u, v))
    intrinsic, _, image_size = read_camera_info(
        info(roi, binning_x=binning[0], binning_y=binning[1])
    )
    assert image_size == (u_of.shape[1], u_of.shape[0])
    points = np.array([[-0.2, -0.3, 1.0], [-0.7, -1.4, 1.0]])  # inside both windows
    for full, small in zip(points @ np.reshape(K, (3, 3)).T, points @ intrinsic.T, strict=True):
        column = np.interp(full[0], u_of[0], np.arange(image_size[0]))
        row = np.interp(full[1], v_of[:, 0], np.arange(image_size[1]))
        np.testing.assert_allclose(small, (column, row, 1), atol=1e-9)


@pytest.mark.parametrize(
    ("model", "coefficients"),
    [
        ("plumb_bob", (-0.2, 0.05, 0.001, -0.002, 0.01)),
        ("rational_polynomial", (0.1, 0.02, 0.001, 0, 0.01, 0.2, 0.03, 0)),
    ],
)
def test_what_is_read_projects_points_as_opencv_does(model, coefficients):
    points = np.random.default_rng(0).uniform((-1, -1, 3), (1, 1, 6), (50, 3)).astype(np.float32)
    intrinsic, distortion, image_size = read_camera_info(
        info(distortion_model=model, d=coefficients)
    )
    pixels, visible = project_points(points, intrinsic, np.eye(4), image_size, distortion)
    expected, _ = cv2.projectPoints(
        points.astype(float),
        np.zeros(3),
        np.zeros(3),
        np.reshape(K, (3, 3)),
        np.array(coefficients),
    )
    assert visible.all()
    np.testing.assert_allclose(pixels, expected[:, 0], atol=1e-3)


@pytest.mark.parametrize("coefficients", [(0.1, -0.02, 0.01, 0.001), (0.0, 0.0, 0.0, 0.0), ()])
def test_a_fisheye_projects_points_as_opencv_does_also_with_zeros(coefficients):
    points = np.random.default_rng(0).uniform((-2, -2, 1), (2, 2, 3), (50, 3))
    intrinsic, distortion, image_size = read_camera_info(
        info(distortion_model="equidistant", d=coefficients)
    )
    pixels, visible = project_points(
        points.astype(np.float32), intrinsic, np.eye(4), image_size, distortion
    )
    four = np.array(coefficients or (0.0,) * 4)
    expected, _ = cv2.fisheye.projectPoints(
        points[:, None], np.zeros(3), np.zeros(3), np.reshape(K, (3, 3)), four
    )
    assert visible.any()
    np.testing.assert_allclose(pixels[visible], expected[visible, 0], atol=2e-3)


@pytest.mark.parametrize(
    ("message", "rectified", "text"),
    [
        (
            info(k=(0.0,) * 9),
            False,
            r"K\[0\] is 0: the camera is uncalibrated; run camera_calibration, or give a "
            r"calibration_file",
        ),
        (info(p=(0.0,) * 12), True, r"P\[0\] is 0"),
        (info(k=(-5.0, *K[1:])), False, "K: expected finite values, positive focal lengths"),
        (info(k=(np.nan, *K[1:])), False, "K: expected finite values"),
        (info(k=(*K[:4], 0.0, *K[5:])), False, "positive focal lengths"),
        (info(k=(*K[:8], 0.0)), False, "a last row 0 0 1"),
        (info(k=K[:8]), False, "K: expected 9 numbers, got 8"),
        (info(width=0), False, "width and height: expected 1 to 65535 pixels, got 0 x 480"),
        (info(height=4_294_967_295), False, "got 640 x 4294967295"),
        (
            info({"x_offset": 600, "width": 100, "height": 10}),
            False,
            r"roi 100 x 10 at \(600, 0\): expected it inside the image of 640 x 480",
        ),
        (info(binning_x=1000), False, "binning 1000 x 1: expected less than the image"),
        (
            info(distortion_model="thin_prism", d=(0.1,)),
            False,
            "expected one of plumb_bob.*got 'thin_prism'; rectify the images",
        ),
        (info(distortion_model="", d=(0.1,)), False, "got ''"),
        (
            info(distortion_model="plumb_bob", d=(0.1,) * 6),
            False,
            "expected at most 5 coefficients, got 6",
        ),
        (
            info(distortion_model="rational_polynomial", d=(0.1,) * 14),
            False,
            "expected at most 8 coefficients, got 14",
        ),
        (info(distortion_model="plumb_bob", d=(np.nan,)), False, "NaN"),
    ],
)
def test_an_unusable_camera_info_says_why(message, rectified, text):
    with pytest.raises(MessageError, match=text):
        read_camera_info(message, rectified)


numbers = st.floats(width=64) | st.sampled_from([0.0, 1.0, 100.0])
sizes = st.integers(0, 700) | st.integers(0, 2**32 - 1)


@settings(max_examples=300, deadline=None)
@given(
    k=st.lists(numbers, min_size=9, max_size=9) | st.just(K),
    p=st.lists(numbers, min_size=12, max_size=12) | st.just(P),
    d=st.lists(numbers, max_size=15),
    model=st.sampled_from(["", "plumb_bob", "rational_polynomial", "equidistant", "other"]),
    rectified=st.booleans(),
    width=sizes,
    height=sizes,
    binning_x=sizes,
    binning_y=sizes,
    roi=st.fixed_dictionaries({name: sizes for name in ROI}),
)
def test_whatever_a_camera_info_holds_only_a_message_error_comes_out(
    k, p, d, model, rectified, width, height, binning_x, binning_y, roi
):
    message = info(
        roi,
        k=k,
        p=p,
        d=d,
        distortion_model=model,
        width=width,
        height=height,
        binning_x=binning_x,
        binning_y=binning_y,
    )
    try:
        intrinsic, _, image_size = read_camera_info(message, rectified)
    except MessageError:
        return
    assert np.isfinite(intrinsic).all() and intrinsic[0, 0] > 0 and min(image_size) > 0


FILE = """\
image_width: 640
image_height: 480
camera_name: front
camera_matrix:
  rows: 3
  cols: 3
  data: [100., 0., 320., 0., 110., 240., 0., 0., 1.]
distortion_model: plumb_bob
distortion_coefficients:
  rows: 1
  cols: 5
  data: [0.1, -0.2, 0, 0, 0]
rectification_matrix: {rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}
projection_matrix: {rows: 3, cols: 4, data: [90, 0, 300, 0, 0, 90, 200, 0, 0, 0, 1, 0]}
"""
EXTRINSIC = (
    "camera_from_lidar: {rows: 4, cols: 4, data: [0, -1, 0, 0.1, 0, 0, -1, 0.2, 1, 0, 0, 0.3, 0, "
    "0, 0, 1]}\n"
)


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "front.yaml"
        path.write_text(text)
        return path

    return write


def test_a_file_of_camera_calibration_is_read(write):
    found = read_calibration_file(write(FILE))
    np.testing.assert_array_equal(found.intrinsic, np.reshape(K, (3, 3)))
    assert (found.distortion, found.image_size, found.camera_name) == (
        Distortion("plumb_bob", (0.1, -0.2, 0, 0, 0)),
        (640, 480),
        "front",
    )
    assert found.camera_from_lidar is None
    np.testing.assert_array_equal(
        read_calibration_file(write(FILE), rectified=True).intrinsic,
        [[90, 0, 300], [0, 90, 200], [0, 0, 1]],
    )


def test_a_file_may_give_the_extrinsic_too(write):
    extrinsic = read_calibration_file(write(FILE + EXTRINSIC)).camera_from_lidar
    # 5 m ahead of the LiDAR is 5.3 m before the lens
    np.testing.assert_allclose(extrinsic @ (5, 0, 0, 1), (0.1, 0.2, 5.3, 1))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "",
            r"missing: \['camera_matrix', 'distortion_coefficients', 'distortion_model', "
            r"'image_height', 'image_width'\]",
        ),
        ("- 1\n- 2\n", "expected a mapping, got list"),
        ("a: [1\n", "not readable"),
        (FILE + "baseline: 3\n", r"unknown: \['baseline'\]"),
        (FILE + "image_width: 3\n", "'image_width' is given twice"),
        (FILE.replace("100.,", "0,"), "uncalibrated"),
        (FILE.replace("100.,", "fast,"), "could not convert"),
        (FILE.replace("data: [100.,", "data: ["), "K: expected 9 numbers, got 8"),
        (FILE.replace("image_width: 640", "image_width: null"), "front.yaml"),
        (FILE.replace("plumb_bob", "[1]"), "front.yaml"),
        (FILE + EXTRINSIC.replace("-1", "-2"), "camera_from_lidar: expected a rigid transform"),
        (FILE + "camera_from_lidar: [1, 2]\n", "camera_from_lidar: expected rows, cols and data"),
    ],
)
def test_an_unusable_file_is_named_with_what_is_wrong(write, text, expected):
    with pytest.raises(MessageError, match=expected) as caught:
        read_calibration_file(write(text))
    assert "front.yaml" in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(MessageError, match="calibration file .*nowhere.yaml: not readable"):
        read_calibration_file(tmp_path / "nowhere.yaml")


def test_rectified_images_need_the_projection_matrix(write):
    text = FILE[: FILE.index("projection_matrix")]
    read_calibration_file(write(text))
    with pytest.raises(MessageError, match=r"missing: \['projection_matrix'\]"):
        read_calibration_file(write(text), rectified=True)
