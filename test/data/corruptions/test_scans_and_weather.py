"""Corrupted clouds: what the papers' formulas say by hand, and labels that stay with points."""

from dataclasses import replace

import numpy as np
import pytest

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.data.corruptions import points as point_corruptions
from cmdfusion_ros.data.corruptions.beams import beams_of
from cmdfusion_ros.data.corruptions.fog import fog, soft_response
from cmdfusion_ros.data.corruptions.snow import flake_field, rain_of, snow
from cmdfusion_ros.data.corruptions.suites import SUITES, corrupt
from cmdfusion_ros.data.corruptions.wet_ground import film_return, fresnel, wet_ground
from cmdfusion_ros.frame import IGNORE_LABEL, Frame

STREET = load_class_map("street")
ROAD, BUILDING, CAR = (STREET.label(name) for name in ("road", "building", "car"))
OF_CLOUDS = [
    f"{suite}/{name}"
    for suite, corruptions in SUITES.items()
    for name, corruption in corruptions.items()
    if not corruption.of_images
]


def rng():
    return np.random.default_rng(5)


def make_scan(num_beams=64, columns=200, order="rows"):
    """A sensor 1.8 m over flat road, walls from 8 to 60 m, and a car 6 m ahead. Beams from -24 to
    +2 degrees; rows: one beam after another, from straight ahead on; columns: firing by firing."""
    elevation = np.radians(np.linspace(-24, 2, num_beams))
    azimuth = (np.arange(columns) + 0.5) * 2 * np.pi / columns
    beam, column = np.meshgrid(np.arange(num_beams), np.arange(columns), indexing="ij")
    if order == "columns":
        beam, column = beam.T, column.T
    beam, column = beam.ravel(), column.ravel()
    up, around = elevation[beam], azimuth[column]
    to_ground = np.where(up < 0, 1.8 / np.maximum(np.sin(-up), 1e-6), np.inf)
    to_wall = (8 + 52 * (1 + np.sin(3 * around)) / 2) / np.cos(up)
    is_car = (np.abs((around + np.pi) % (2 * np.pi) - np.pi) < 0.2) & (up > np.radians(-14))
    distance = np.where(is_car, 6.0, np.minimum(to_ground, to_wall))
    labels = np.where(is_car, CAR, np.where(to_ground < to_wall, ROAD, BUILDING)).astype(np.uint8)
    flat = np.cos(up) * distance
    points = np.c_[flat * np.cos(around), flat * np.sin(around), np.sin(up) * distance]
    intensity = np.random.default_rng(0).uniform(0.05, 0.9, len(points)).astype(np.float32)
    ids = np.where(is_car, 7, 0).astype(np.uint16)
    origin = np.arange(len(points), dtype=np.int32)
    points = points.astype(np.float32)
    frame = Frame(
        points, intensity, labels=labels, instance_ids=ids, origin=origin, name="seq/000001"
    )
    return frame, beam


@pytest.mark.parametrize("order", ["rows", "columns", "shuffled"])
@pytest.mark.parametrize("num_beams", [16, 32, 64])
def test_beams_are_found_in_any_order_of_points(num_beams, order):
    frame, beam = make_scan(num_beams, order="rows" if order == "rows" else "columns")
    rows = np.arange(len(beam))
    if order == "shuffled":
        rows = rng().permutation(len(beam))
    found = beams_of(frame.points[rows])
    np.testing.assert_array_equal(found, beam[rows])


def test_where_no_beams_can_be_told_bands_of_equal_size_are_taken():
    points = rng().normal(0, 5, (6400, 3)).astype(np.float32)
    found = beams_of(points)
    np.testing.assert_array_equal(np.bincount(found), np.full(64, 100))
    elevation = np.arctan2(points[:, 2], np.hypot(points[:, 0], points[:, 1]))
    assert elevation[found == 3].max() <= elevation[found == 4].min()
    assert len(beams_of(points[:0])) == 0


@pytest.mark.parametrize("name", OF_CLOUDS)
def test_labels_stay_with_their_points_and_the_scan_is_untouched(name):
    frame, _ = make_scan()
    before = {key: np.copy(getattr(frame, key)) for key in ("points", "intensity", "labels")}
    earlier, _ = make_scan()
    for level in SUITES[name.split("/")[0]][name.split("/")[1]].levels:
        result = corrupt(frame, name, level, STREET, seed=1, before=earlier)
        own = result.origin >= 0
        assert own.mean() > 0.5 or "fog" in name
        np.testing.assert_array_equal(result.labels[own], frame.labels[result.origin[own]])
        np.testing.assert_array_equal(
            result.instance_ids[own], frame.instance_ids[result.origin[own]]
        )
        assert (result.labels[~own] == IGNORE_LABEL).all() and not result.instance_ids[~own].any()
        assert len(np.unique(result.origin[own])) == own.sum()
        assert 0 <= result.intensity.min() and result.intensity.max() <= 1
    for key, value in before.items():
        np.testing.assert_array_equal(getattr(frame, key), value)


@pytest.mark.parametrize("name", OF_CLOUDS)
def test_the_same_seed_gives_the_same_scan(name):
    frame, _ = make_scan(32, 60)
    level = list(SUITES[name.split("/")[0]][name.split("/")[1]].levels)[-1]
    one, two = (corrupt(frame, name, level, STREET, seed=3) for _ in range(2))
    np.testing.assert_array_equal(one.points, two.points)
    np.testing.assert_array_equal(one.labels, two.labels)


def test_frames_and_seeds_have_their_own_draws():
    frame, _ = make_scan(32, 60)
    points = {
        corrupt(each, "robo3d/motion_blur", "heavy", STREET, seed=seed).points.tobytes()
        for each in (frame, replace(frame, name="seq/000002"))
        for seed in (0, 1)
    }
    assert len(points) == 4


def test_missing_beams_are_whole_beams_and_inner_ones():
    frame, beam = make_scan()
    counts = []
    for level in ("light", "moderate", "heavy"):
        result = corrupt(frame, "robo3d/beam_missing", level, STREET, seed=4)
        left, size = np.unique(beam[result.origin], return_counts=True)
        assert (size == 200).all()  # of every beam that is left all points are
        gone = np.setdiff1d(np.arange(64), left)
        assert gone.min() >= 4 and gone.max() <= 58
        counts.append(len(gone))
    assert counts == sorted(counts) and counts[0] <= 16 and counts[2] <= 48
    draws = [len(np.unique(rng_draw)) for rng_draw in rng().choice(np.arange(4, 59), (2000, 16))]
    assert np.mean(draws) == pytest.approx(14.0, abs=0.1)  # with replacement: the published mean


def test_another_sensor_has_every_nth_beam_and_every_second_point():
    frame, beam = make_scan()
    result = point_corruptions.cross_sensor(frame, rng(), 2)
    left = np.unique(beam[result.origin])
    np.testing.assert_array_equal(left, np.arange(0, 64, 2))
    assert result.num_points == 32 * 200 // 2
    heavy = point_corruptions.cross_sensor(frame, rng(), 1.33)
    gone = np.setdiff1d(np.arange(64), np.unique(beam[heavy.origin]))
    np.testing.assert_array_equal(gone, np.arange(1, 64, 1.33).astype(int))


@pytest.mark.parametrize(("step", "kept"), [(2, 16), (4, 8), (8, 4)])
def test_reduced_beams_are_those_of_multicorrupt(step, kept):
    frame, beam = make_scan(32)
    result = point_corruptions.beams_reducing(frame, rng(), step)
    np.testing.assert_array_equal(np.unique(beam[result.origin]), np.arange(1, 32, step))
    assert result.num_points == kept * 200


def test_reduced_points_are_as_many_as_said():
    frame, _ = make_scan(32, 100)
    assert point_corruptions.points_reducing(frame, rng(), 0.9).num_points == 320


def test_crosstalk_hits_the_share_that_it_says_and_no_other_point():
    frame, _ = make_scan()
    result = point_corruptions.crosstalk(frame, rng(), 0.01, 1.0)
    hit = result.origin < 0
    assert hit.sum() == int(0.01 * frame.num_points)
    np.testing.assert_array_equal(result.points[~hit], frame.points[~hit])
    offsets = result.points[hit] - frame.points[hit]
    assert offsets.std() == pytest.approx(3.0, rel=0.15)


def test_motion_blur_is_one_shift_and_a_tenth_of_it_for_each_point():
    frame, _ = make_scan()
    result = point_corruptions.motion_blur(frame, rng(), 0.3)
    offsets = (result.points - frame.points).astype(np.float64)
    np.testing.assert_allclose(offsets.std(0), (0.03, 0.03, 0.015), rtol=0.1)
    shift = 0.3 * rng().standard_normal(3)
    np.testing.assert_allclose(offsets.mean(0), shift, atol=0.002)


def test_incomplete_echo_takes_from_vehicles_alone():
    frame, _ = make_scan()
    before = np.bincount(frame.labels, minlength=12)
    after = np.bincount(
        point_corruptions.incomplete_echo(frame, rng(), 0.75, STREET).labels, minlength=12
    )
    assert after[CAR] == before[CAR] - int(0.75 * before[CAR])
    assert after[ROAD] == before[ROAD] and after[BUILDING] == before[BUILDING]


def test_a_misaligned_cloud_is_turned_and_two_metres_ahead():
    frame = Frame(np.array([[10.0, 0, 0]], np.float32), np.ones(1, np.float32))
    result = point_corruptions.spatial_misalignment(frame, rng(), 1.0, 2.0)
    a = np.radians(2)
    # column x of Rx Ry Rz, and the shift
    x = 10 * np.cos(a) ** 2 + 2
    assert result.points[0, 0] == pytest.approx(x, abs=1e-4)
    assert point_corruptions.spatial_misalignment(frame, rng(), 0.0, 2.0) is frame


@pytest.mark.parametrize(
    ("alpha", "place", "strength", "light", "moderate", "heavy"),
    [
        (0.0, 4.702, 4.645e-9, 92.6, 37.0, 18.5),
        (0.005, 4.702, 4.568e-9, 66.8, 31.8, 17.1),
        (0.01, 4.702, 4.493e-9, 54.5, 28.4, 16.0),
        (0.02, 4.702, 4.347e-9, 41.6, 23.8, 14.4),
        (0.03, 4.702, 4.206e-9, 34.5, 20.8, 13.1),
        (0.06, 4.602, 3.816e-9, 24.1, 15.8, 10.7),
    ],
)
def test_fog_cuts_where_the_published_tables_do(alpha, place, strength, light, moderate, heavy):
    found, response = soft_response(alpha)
    assert found == pytest.approx(place, abs=0.11)  # the tables step by 0.1 m
    assert response == pytest.approx(strength, rel=5e-3)
    distance = np.arange(0.01, 100.0, 0.01, dtype=np.float32)
    row = Frame(distance[:, None] * np.float32([1, 0, 0]), np.ones_like(distance))
    row = replace(row, origin=np.arange(len(distance), dtype=np.int32))
    for beta, cut in ((0.008, light), (0.05, moderate), (0.2, heavy)):
        lost = fog(row, rng(), beta, (alpha,)).origin < 0
        assert distance[lost].min() == pytest.approx(cut, abs=0.15)
        assert lost[distance >= distance[lost].min()].all()


def test_fog_moves_far_points_on_their_rays_and_dims_near_ones():
    frame, _ = make_scan()
    alpha, beta = 0.02, 0.05
    result = fog(frame, rng(), beta, (alpha,))
    distance = np.linalg.norm(frame.points, axis=1)
    lost = result.origin < 0
    assert distance[lost].min() > 23.8 - 0.15 and distance[~lost].max() < 23.8 + 0.15
    np.testing.assert_array_equal(result.points[~lost], frame.points[~lost])
    np.testing.assert_allclose(
        result.intensity[~lost],
        frame.intensity[~lost] * np.exp(-2 * alpha * distance[~lost]),
        rtol=1e-4,
    )
    rays = (result.points[lost] * frame.points[lost]).sum(1)
    lengths = np.linalg.norm(result.points[lost], axis=1) * distance[lost]
    np.testing.assert_allclose(rays, lengths, rtol=1e-4)
    ratio = np.linalg.norm(result.points[lost], axis=1) / distance[lost]
    peak = soft_response(alpha)[0]
    assert (ratio >= peak / (distance[lost] + 10) - 1e-4).all()
    assert (ratio <= peak / (distance[lost] - 10) + 1e-4).all()


def test_heavier_weather_takes_more_points():
    frame, _ = make_scan()
    for name in ("fog", "snow"):
        own = []
        for level in ("light", "moderate", "heavy"):
            levels = SUITES["robo3d"][name].levels[level]
            if name == "fog":  # the same attenuation, so that only the level differs
                result = fog(frame, rng(), levels[0], (0.02,))
            else:
                result = snow(frame, rng(), *levels, STREET)
            own.append((result.origin >= 0).sum())
        assert own[0] >= own[1] >= own[2] and own[0] > own[2], (name, own)


def test_light_at_right_angles_is_reflected_as_fresnel_says():
    across, along = fresnel(np.zeros(1), 1.0, 1.33)
    assert across[0] == pytest.approx((0.33 / 2.33) ** 2) == along[0]
    brewster = np.array([np.arctan(1.33)])
    assert fresnel(brewster, 1.0, 1.33)[1][0] == pytest.approx(0, abs=1e-12)


def test_a_black_ground_gives_nothing_back_through_water_and_a_mirror_nearly_all():
    theta = np.zeros(2)
    back = film_return(theta, np.array([0.0, 1.0]))
    assert back[0] == 0
    reflected = ((1.33 - 1.0003) / (1.33 + 1.0003)) ** 2
    # in (1 - R), then 1 (1 - R) / (1 - R) summed over all bounces
    assert back[1] == pytest.approx(1 - reflected)


def test_water_dims_the_ground_alone_and_more_of_it_more():
    frame, _ = make_scan(64, 400)
    totals = []
    for water in (0.0002, 0.0006, 0.0012):
        result = wet_ground(frame, rng(), water, 0.0, STREET)
        ground = result.labels == ROAD
        np.testing.assert_array_equal(
            result.intensity[~ground], frame.intensity[result.origin[~ground]]
        )
        assert (result.intensity[ground] <= frame.intensity[result.origin[ground]]).all()
        totals.append(result.intensity[ground].sum())
        assert (result.labels == BUILDING).sum() == (frame.labels == BUILDING).sum()
    assert totals[0] > totals[1] > totals[2]


def test_too_little_ground_stays_dry():
    frame, _ = make_scan(16, 40)
    assert wet_ground(frame, rng(), 0.001, 0.3, STREET) is frame


def test_snowfall_becomes_rain_as_the_paper_says():
    rate, occupancy = rain_of(0.5, 2.0)
    assert rate == pytest.approx(2.238, abs=1e-3)
    assert occupancy == pytest.approx(6.94e-7, rel=1e-3)


def test_a_field_of_flakes_is_as_full_as_said():
    flakes = flake_field(3, 2.5, 1.6)
    area = (np.pi * flakes[:, 2] ** 2).sum() / (np.pi * 80**2)
    assert area == pytest.approx(rain_of(2.5, 1.6)[1], rel=0.02)
    assert flakes[:, 0].max() <= 80 and flakes[:, 2].max() <= 0.01
    np.testing.assert_array_equal(flakes, flake_field(3, 2.5, 1.6))


def test_snow_puts_flakes_on_the_ray_before_the_target():
    frame, _ = make_scan(64, 300)
    dim = replace(frame, intensity=frame.intensity * np.float32(0.02))
    result = snow(dim, rng(), 2.5, 1.6, STREET)
    flakes = result.origin < 0
    assert flakes.any() and (result.labels[flakes] == IGNORE_LABEL).all()
    far = np.linalg.norm(frame.points, axis=1)
    assert np.linalg.norm(result.points[flakes], axis=1).max() < far.max()
    np.testing.assert_array_equal(result.points[~flakes], frame.points[result.origin[~flakes]])


def test_a_wrong_name_or_level_is_named():
    frame, _ = make_scan(16, 40)
    with pytest.raises(ValueError, match="expected one of robo3d/fog, .*got 'fog'"):
        corrupt(frame, "fog", "light", STREET)
    with pytest.raises(ValueError, match="light, moderate, heavy, got 'easy'"):
        corrupt(frame, "robo3d/fog", "easy", STREET)
    with pytest.raises(ValueError, match="seq/000001: has no labels"):
        corrupt(replace(frame, labels=None), "robo3d/fog", "light", STREET)
    moved = replace(frame, measured_points=frame.points)
    with pytest.raises(ValueError, match="corrupt it first"):
        corrupt(moved, "robo3d/motion_blur", "light", STREET)


def test_no_points_are_no_trouble():
    empty = Frame(
        np.zeros((0, 3), np.float32), np.zeros(0, np.float32), labels=np.zeros(0, np.uint8)
    )
    for name in OF_CLOUDS:
        level = next(iter(SUITES[name.split("/")[0]][name.split("/")[1]].levels))
        assert corrupt(empty, name, level, STREET).num_points == 0
