"""Corrupted pictures and cameras: the formulas by hand, and a cloud that stays."""

import numpy as np
import pytest

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.data.corruptions import cameras, image_quality
from cmdfusion_ros.data.corruptions.suites import SUITES, corrupt
from cmdfusion_ros.frame import CameraView, Frame

STREET = load_class_map("street")
OF_IMAGES = [
    f"{suite}/{name}"
    for suite, corruptions in SUITES.items()
    for name, corruption in corruptions.items()
    if corruption.of_images
]


def rng():
    return np.random.default_rng(5)


def make_frame(num_cameras=6, seed=0, name="seq/000001"):
    draw = np.random.default_rng(seed)
    intrinsic = np.array([[40.0, 0, 31.5], [0, 40, 23.5], [0, 0, 1]])
    views = tuple(
        CameraView(
            f"cam{row}", draw.integers(1, 255, (48, 64, 3)).astype(np.uint8), intrinsic, np.eye(4)
        )
        for row in range(num_cameras)
    )
    points = draw.normal(0, 5, (50, 3)).astype(np.float32)
    labels = np.zeros(50, np.uint8)
    return Frame(points, np.zeros(50, np.float32), views=views, labels=labels, name=name)


@pytest.mark.parametrize("name", OF_IMAGES)
def test_the_cloud_stays_and_the_input_too(name):
    frame, before = make_frame(), make_frame(seed=1)
    kept = [view.image.copy() for view in frame.views]
    suite, _, rest = name.partition("/")
    for level in SUITES[suite][rest].levels:
        one, two = (corrupt(frame, name, level, STREET, 3, before) for _ in range(2))
        assert one.points is frame.points and one.labels is frame.labels
        assert [view.name for view in one.views] == [view.name for view in frame.views]
        for a, b in zip(one.views, two.views, strict=True):
            np.testing.assert_array_equal(a.image, b.image)
            np.testing.assert_array_equal(a.camera_from_lidar, b.camera_from_lidar)
    for view, image in zip(frame.views, kept, strict=True):
        np.testing.assert_array_equal(view.image, image)


@pytest.mark.parametrize("name", OF_IMAGES)
def test_no_cameras_are_no_trouble(name):
    suite, _, rest = name.partition("/")
    level = next(iter(SUITES[suite][rest].levels))
    assert corrupt(make_frame(0), name, level, STREET, 3, make_frame(0)).views == ()


def test_brightness_adds_to_the_value_of_a_colour():
    image = np.array([[[100, 50, 0], [0, 0, 0], [250, 250, 250]]], np.uint8)
    bright = image_quality.brightness(image, rng(), 0.2)
    # value 100 becomes 151 and the others with it; black becomes grey 51; white cannot grow
    np.testing.assert_array_equal(bright, [[[151, 76, 0], [51, 51, 51], [255, 255, 255]]])


def test_quantising_keeps_the_highest_bits():
    image = np.array([[[255, 129, 63]]], np.uint8)
    np.testing.assert_array_equal(image_quality.quantise(image, rng(), 2), [[[192, 128, 0]]])


def test_dark_pictures_are_squared_scaled_and_noisier_in_the_dark():
    image = np.zeros((50, 200, 3), np.uint8)
    image[:, 100:] = 255
    image[:, 50:100] = 128
    night = image_quality.dark(image, rng(), 0.4, 120, 0.0) / 255
    assert night[:, 150:].mean() == pytest.approx(0.4, abs=0.01)
    assert night[:, 50:100].mean() == pytest.approx(0.4 * (128 / 255) ** 2, abs=0.01)
    assert night[:, 150:].std() == pytest.approx(np.sqrt(0.4 / 120), rel=0.1)
    assert not night[:, :50].any()


def test_a_streak_keeps_the_light_and_a_level_one_the_rows():
    image = np.full((40, 60, 3), 90, np.uint8)
    np.testing.assert_array_equal(image_quality.streak(image, rng(), 10, 3), image)
    spot = np.zeros((41, 61, 3))
    spot[20, 30] = 1
    blurred = image_quality._streaked(spot, 5, 3, 0.0)
    assert blurred[20].sum() == pytest.approx(3) and blurred.sum() == pytest.approx(3, abs=1e-5)
    assert (blurred[20, :, 0] > 1e-6).sum() == 11


def test_plasma_fills_a_torus_from_0_to_1():
    clouds = image_quality.plasma(64, 2.0, rng())
    assert clouds.shape == (64, 64) and clouds.min() == 0 and clouds.max() == 1
    seam = np.abs(clouds[:, 0] - clouds[:, -1]).mean()
    assert seam < 3 * np.abs(np.diff(clouds, axis=1)).mean()


@pytest.mark.parametrize(
    ("change", "levels"),
    [
        (image_quality.mist, [(1.5, 2.0), (2.0, 2.0), (2.5, 1.7)]),
        (image_quality.haze, [(2, 0.0005), (3, 0.001), (4, 0.002)]),
        (image_quality.quantise, [(4,), (3,), (2,)]),
        (image_quality.dark, [(0.6, 250, 0.008), (0.4, 120, 0.018), (0.3, 50, 0.026)]),
        (image_quality.streak, [(10, 3), (15, 5), (15, 8)]),
    ],
)
def test_a_higher_level_leaves_less_of_the_picture(change, levels):
    """By the correlation of a checkerboard with what is made of it."""
    image = np.full((64, 128, 3), 60, np.uint8)
    image[(np.add.outer(np.arange(64) // 8, np.arange(128) // 8) % 2).astype(bool)] = 190
    image += rng().integers(0, 16, image.shape, np.uint8)
    left = []
    for numbers in levels:
        changed = change(image, np.random.default_rng(7), *numbers)
        left.append(np.corrcoef(image.ravel(), changed.ravel())[0, 1])
    assert left[0] > left[1] > left[2]


def test_brightness_grows_with_its_level():
    image = make_frame().views[0].image
    means = [image_quality.brightness(image, rng(), added).mean() for added in (0.1, 0.2, 0.3)]
    assert image.mean() < means[0] < means[1] < means[2]


def test_snow_is_white_on_a_dark_street():
    image = np.full((96, 128, 3), 40, np.uint8)
    snowy = image_quality.flakes(image, rng(), 0.3, 5, 0.9, 7, 7, 0.9, 0.9)
    assert snowy.shape == image.shape and (snowy > 100).any() and (snowy < 70).any()


def test_crashed_cameras_are_the_same_in_every_frame():
    dead = []
    for name in ("seq/000001", "seq/000002"):
        frame = corrupt(make_frame(name=name), "robobev/camera_crash", "hard", STREET, seed=2)
        dead.append([not view.image.any() for view in frame.views])
    assert dead[0] == dead[1] and 1 <= sum(dead[0]) <= 3


def test_lost_frames_come_as_often_as_said():
    number = sum(
        sum(not view.image.any() for view in cameras.missing_cameras(make_frame(), draw, 0.4).views)
        for draw in np.random.default_rng(0).spawn(200)
    )
    assert number / 1200 == pytest.approx(0.4, abs=0.05)


def test_late_pictures_are_those_of_the_same_camera_before():
    frame, before = make_frame(), make_frame(seed=1)
    late = cameras.late_pictures(frame, rng(), 1.0, before)
    for now, old in zip(late.views, before.views, strict=True):
        np.testing.assert_array_equal(now.image, old.image)
    for now, was in zip(
        cameras.late_pictures(frame, rng(), 1.0, None).views, frame.views, strict=True
    ):
        assert now.image is was.image


def test_a_late_cloud_brings_its_own_labels_to_the_views_of_now():
    frame, before = make_frame(), make_frame(seed=1, name="seq/000000")
    late = cameras.late_cloud(frame, rng(), 1.0, before)
    assert late.points is before.points and late.labels is before.labels
    assert late.views is frame.views and late.name == frame.name
    assert cameras.late_cloud(frame, rng(), 1.0, None) is frame


def test_misplaced_cameras_are_off_by_what_is_said():
    result = cameras.misplaced_cameras(make_frame(), rng(), 2.0, 0.0)
    turned = {view.camera_from_lidar[:3, :3].tobytes() for view in result.views}
    assert len(turned) == 6
    for view in result.views:
        angle = np.degrees(np.arccos((np.trace(view.camera_from_lidar[:3, :3]) - 1) / 2))
        assert angle == pytest.approx(2.0, abs=1e-6)
    shifted = cameras.misplaced_cameras(make_frame(), rng(), 0.0, 5.0)
    for view in shifted.views:
        assert np.linalg.norm(view.camera_from_lidar[:3, 3]) == pytest.approx(0.05)


def test_live_cameras_are_those_that_are_named():
    assert [view.name for view in cameras.live_cameras(make_frame(), (0, 4)).views] == [
        "cam0",
        "cam4",
    ]
