"""Changed images still show each point at its pixel."""

import dataclasses

import numpy as np
import pytest
from builders.scan_changes import augment

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.data.augment.camera_views import (
    change_brightness,
    change_colours,
    crop,
    drop_views,
    mirror,
    misplace,
    random_crop,
    shuffle_parts,
)
from cmdfusion_ros.data.augment.random_changes import AugmentSettings
from cmdfusion_ros.frame import CameraView, Distortion, Frame
from cmdfusion_ros.geometry.projection import project_points

INTRINSIC = np.array([[30.0, 0, 15.5], [0, 30, 11.5], [0, 0, 1]])
POINTS = np.random.default_rng(0).uniform((-2, -2, 2), (2, 2, 5), (200, 3)).astype(np.float32)


def make_view(name="front"):
    """Every pixel holds its own column and line; the lens bends rays."""
    lines, columns = np.mgrid[:24, :32]
    return CameraView(
        name,
        np.stack([columns, lines, 0 * lines], 2).astype(np.uint8),
        INTRINSIC,
        np.eye(4),
        Distortion("plumb_bob", (0.1, 0.02)),
    )


def pixel_values(view, points=POINTS):
    """What a view shows at each point; -1 where it does not see it."""
    pixels, visible = project_points(
        points, view.intrinsic, view.camera_from_lidar, view.image_size, view.distortion
    )
    values = np.full((len(points), 2), -1)
    columns, lines = np.rint(pixels[visible]).astype(int).T
    values[visible] = view.image[lines, columns, :2]
    return values


CHANGES = {
    "mirror": mirror,
    "crop": lambda view: crop(view, 5, 3, (20, 16)),
    "both": lambda view: mirror(crop(mirror(view), 2, 1, (25, 20))),
    "random": lambda view: random_crop(view, 0.5, np.random.default_rng(1)),
}


def images_of(frame, settings, count):
    """The first image of `frame` after a random change, by `count` seeds."""
    street = load_class_map("street")
    rngs = map(np.random.default_rng, range(count))
    return [augment(frame, settings, rng, street).views[0].image for rng in rngs]


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_point_finds_the_same_pixel_after_crop_and_mirror(change):
    before, after = pixel_values(make_view()), pixel_values(change(make_view()))
    both = (before[:, 0] >= 0) & (after[:, 0] >= 0)
    # a pixel's half may round the other way
    assert both.sum() > 20 and np.abs(before[both] - after[both]).max() <= 1
    assert (before[both] == after[both]).mean() > 0.98


def test_colours_by_hand_and_the_image_given_stays():
    view = make_view()
    image = view.image.copy()
    plain = change_colours(view, (1, 1, 1), 1)
    np.testing.assert_array_equal(plain.image, image)
    flat = change_colours(view, (2, 2, 2), 0)
    assert (flat.image == round(2 * image.mean())).all()
    assert change_colours(view, (100, 0, 1), 1).image[0, 31].tolist() == [255, 0, 0]
    np.testing.assert_array_equal(view.image, image)


def test_cameras_are_dropped_as_often_as_asked():
    views, rng = tuple(make_view(name) for name in "abc"), np.random.default_rng(0)
    left = [drop_views(views, 0.4, rng) for _ in range(1000)]
    assert abs(sum(map(len, left)) / 3000 - 0.6) < 0.03 and {len(some) for some in left} == {
        0,
        1,
        2,
        3,
    }
    assert drop_views(views, 0.0, rng) == views and drop_views(views, 1.0, rng) == ()


def test_a_blackout_takes_all_cameras_or_none():
    frame = Frame(
        POINTS,
        np.zeros(200, np.float32),
        views=tuple(make_view(name) for name in "abc"),
        labels=np.zeros(200, np.uint8),
    )
    left = [
        len(
            augment(
                frame,
                AugmentSettings(camera_blackout=0.4),
                np.random.default_rng(seed),
                load_class_map("street"),
            ).views
        )
        for seed in range(400)
    ]
    assert set(left) == {0, 3} and abs(left.count(0) / 400 - 0.4) < 0.1


def test_augment_changes_views_and_not_the_points_they_show():
    """The scan is turned and mirrored, its image cropped, mirrored and recoloured: measured
    points still find the pixels of the untouched view.
    """
    frame = Frame(
        POINTS, np.zeros(200, np.float32), views=(make_view(),), labels=np.zeros(200, np.uint8)
    )
    settings = AugmentSettings(yaw=180.0, flip=1.0, image_crop=0.3, image_mirror=1.0)
    changed = augment(frame, settings, np.random.default_rng(0), load_class_map("street"))
    assert changed.views[0].intrinsic[0, 0] < 0 and not np.allclose(changed.points, POINTS)
    before, after = (
        pixel_values(frame.views[0]),
        pixel_values(changed.views[0], changed.measured_points),
    )
    both = (before[:, 0] >= 0) & (after[:, 0] >= 0)
    assert both.sum() > 20 and np.abs(before[both] - after[both]).max() <= 1
    recoloured = augment(
        frame,
        dataclasses.replace(settings, image_gain=2.0),
        np.random.default_rng(0),
        load_class_map("street"),
    )
    assert not np.array_equal(recoloured.views[0].image, changed.views[0].image)
    blanks = images_of(frame, AugmentSettings(image_blank=1.0), 30)
    assert all(
        len(np.unique(image)) == 1 and image.shape == frame.views[0].image.shape for image in blanks
    )
    assert min(image.min() for image in blanks) < 50 and max(image.max() for image in blanks) > 200
    (gamma,) = images_of(frame, AugmentSettings(image_gamma=3.0), 1)
    order = np.argsort(frame.views[0].image.ravel(), kind="stable")
    # brighter stays brighter
    assert (
        not np.array_equal(gamma, frame.views[0].image)
        and (np.diff(gamma.ravel()[order].astype(int)) >= 0).all()
    )
    assert (
        augment(
            frame,
            AugmentSettings(camera_dropout=1.0),
            np.random.default_rng(0),
            load_class_map("street"),
        ).views
        == ()
    )


def test_shuffled_parts_are_the_image_in_another_order():
    # parts of 10 x 10; a row and two columns are left over
    image = np.random.default_rng(0).integers(0, 256, (31, 62, 3), np.uint8)
    view = dataclasses.replace(make_view(), image=image)
    shuffled = shuffle_parts(view, np.random.default_rng(1))
    assert np.array_equal(shuffled.image[30:], image[30:]) and np.array_equal(
        shuffled.image[:, 60:], image[:, 60:]
    )

    def tiles(picture):
        corners = [(x, y) for y in (0, 10, 20) for x in range(0, 60, 10)]
        return [picture[y : y + 10, x : x + 10].tobytes() for x, y in corners]

    assert (
        sorted(tiles(shuffled.image)) == sorted(tiles(image))
        and sum(a != b for a, b in zip(tiles(shuffled.image), tiles(image), strict=True)) > 12
    )
    assert np.array_equal(shuffled.intrinsic, view.intrinsic) and np.array_equal(view.image, image)
    tiny = dataclasses.replace(view, image=image[:2, :4])
    # too small to have parts
    assert np.array_equal(shuffle_parts(tiny, np.random.default_rng(1)).image, tiny.image)
    frame = Frame(POINTS, np.zeros(200, np.float32), views=(view,), labels=np.zeros(200, np.uint8))
    changed = images_of(frame, AugmentSettings(image_shuffle=0.5), 200)
    assert abs(sum(not np.array_equal(each, image) for each in changed) / 200 - 0.5) < 0.12


def test_black_and_white_stay_when_the_brightness_changes():
    view = dataclasses.replace(make_view(), image=np.array([[[0, 128, 255]]], np.uint8))
    assert (
        change_brightness(view, 2.0).image.tolist() == [[[0, 64, 255]]]
        and change_brightness(view, 0.5).image[0, 0, 1] == 181
    )


def test_cameras_that_see_none_of_the_sector_are_left_out():
    # the camera looks along z: it sees the first fifty
    points = np.repeat([[1.0, 0, 5], [-1, 0, -5]], 50, axis=0).astype(np.float32)
    frame = Frame(
        points, np.zeros(100, np.float32), views=(make_view(),), labels=np.zeros(100, np.uint8)
    )
    street = load_class_map("street")
    changed = [
        augment(frame, AugmentSettings(sector=90.0), np.random.default_rng(seed), street)
        for seed in range(40)
    ]
    sees = [bool((each.points[:, 2] > 0).any()) for each in changed]
    assert [len(each.views) for each in changed] == sees and set(sees) == {False, True}
    behind = dataclasses.replace(frame, points=-np.abs(points))
    # whole scans keep theirs
    assert (
        len(augment(behind, AugmentSettings(yaw=90.0), np.random.default_rng(0), street).views) == 1
    )


def test_a_misplaced_camera_sees_points_elsewhere_and_none_is_misplaced_by_nothing():
    view = make_view()
    assert np.allclose(
        misplace(view, np.zeros(3), np.zeros(3)).camera_from_lidar, view.camera_from_lidar
    )
    moved = misplace(view, np.zeros(3), np.array([0.2, 0, 0]))
    assert np.allclose(moved.camera_from_lidar[:3, 3], [0.2, 0, 0])
    turned = misplace(view, np.array([0, 0.1, 0]), np.zeros(3)).camera_from_lidar[:3, :3]
    assert (
        np.allclose(turned @ turned.T, np.eye(3))
        and np.allclose(turned @ [0, 1, 0], [0, 1, 0])
        and np.arccos(turned[0, 0]) == pytest.approx(0.1)
    )
    frame = Frame(
        POINTS,
        np.zeros(200, np.float32),
        views=tuple(dataclasses.replace(view, name=str(i)) for i in range(400)),
        labels=np.zeros(200, np.uint8),
    )
    settings = AugmentSettings(camera_turn=1.0, camera_shift=0.3)
    changed = augment(frame, settings, np.random.default_rng(0), load_class_map("street")).views
    shifts = np.array([each.camera_from_lidar[:3, 3] for each in changed])
    angles = np.degrees(
        [np.arccos((np.trace(each.camera_from_lidar[:3, :3]) - 1) / 2) for each in changed]
    )
    assert np.allclose(shifts.std(0), 0.3, rtol=0.15) and np.sqrt(
        (angles**2).mean()
    ) == pytest.approx(np.sqrt(3), rel=0.1)
    assert all(each.image is view.image for each in changed)
