"""Made-up sequences are true: labels and images agree, poses chain, folders read back equal, and
a seed gives the same bytes however it is worked off.
"""

from functools import cache

import cv2
import numpy as np
import pytest

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.data.synthetic.camera import pixel_rays
from cmdfusion_ros.data.synthetic.lidar import beam_bias, lidar_pose
from cmdfusion_ros.data.synthetic.rays import ImageRays, cast
from cmdfusion_ros.data.synthetic.rigs import RIG_NAMES, load_rig, scaled
from cmdfusion_ros.data.synthetic.sequence import Sequence, SequenceSettings
from cmdfusion_ros.data.synthetic.world import World, WorldSettings
from cmdfusion_ros.frame import IGNORE_LABEL
from cmdfusion_ros.geometry.projection import distort, project_points
from cmdfusion_ros.geometry.transforms import apply

KITTI = load_class_map("semantic_kitti")
SMALL = SequenceSettings(image_scale=0.15, weather="overcast")


@cache
def sequence(**settings):
    """A short sequence; overcast, unless told, as shadows take seconds."""
    world = WorldSettings(**settings.pop("world", {"rare": 5.0, "speed": 10.0}))
    return Sequence(
        3,
        "00",
        12,
        SequenceSettings(**{"weather": "overcast", "image_scale": 0.2, **settings, "world": world}),
    )


@pytest.fixture(scope="module")
def clean():
    world = WorldSettings(rare=5.0, speed=10.0)
    return Sequence(3, "00", 12, SequenceSettings(weather="overcast", clean=True, world=world))


def test_labelled_points_fall_onto_pixels_of_their_class(clean):
    scan, photograph = clean.scan(6), clean.photograph(6, 0)
    view = photograph.view
    pixels, visible = project_points(
        scan.points, view.intrinsic, view.camera_from_lidar, view.image_size
    )
    u, v = np.rint(pixels[visible]).astype(int).T
    distance = np.linalg.norm(apply(view.camera_from_lidar, scan.points[visible]), axis=1)
    seen = (
        np.abs(photograph.depth[v, u] - distance) < 0.02 * distance + 0.05
    )  # the camera sees the surface that the LiDAR has hit
    still = (
        scan.raw[visible] < 250
    )  # what moves has moved between the firing of its column and the shutter
    assert (seen & still).sum() > 5000
    labels, pixel_labels = (
        KITTI.labels_from_raw(raw, "semantic_kitti")
        for raw in (scan.raw[visible], photograph.raw[v, u])
    )
    assert (pixel_labels == labels)[seen & still].mean() > 0.99
    # The rest lies on borders: a pixel has the class of its middle, the point lies up to half a
    # pixel from there.
    truth = KITTI.labels_from_raw(photograph.raw.reshape(-1), "semantic_kitti").reshape(
        photograph.raw.shape
    )
    around = cv2.copyMakeBorder(truth, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    touched = np.any(
        [around[v + down, u + right] == labels for down in range(3) for right in range(3)], axis=0
    )
    assert touched[seen & still].mean() > 0.999
    assert (photograph.instance_ids[v, u] == scan.instance_ids[visible])[seen & still].mean() > 0.99


def test_poses_chain_points_of_one_scan_are_what_rays_meet_from_the_place_of_another(clean):
    first, later = 1, 9
    scan = clean.scan(first)
    still = scan.points[
        (scan.raw < 250) & ~np.isin(scan.raw, [70, 51])
    ]  # leaves and fences may be met or passed
    there = apply(
        np.linalg.inv(clean.world_from_lidar(later)) @ clean.world_from_lidar(first),
        still.astype(np.float64),
    )
    ahead = there[(there[:, 0] > 3) & (np.abs(there[:, 1]) < 2 * there[:, 0])]
    pose = lidar_pose(clean.world, clean.rig, clean.seconds(later)) @ np.array(
        [[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]]
    )
    rays = ImageRays(
        pose, (-ahead[:, 1] / ahead[:, 0])[:, None], (-ahead[:, 2] / ahead[:, 0])[:, None]
    )
    rays.windows = lambda solids, reach: (
        (part, 0.0, 0, len(ahead), 0, 1) for part in np.flatnonzero(np.ones(len(solids)))
    )  # these rays are in no order
    near = np.linalg.norm(clean.world.static.world_from_local[:, :, 3] - pose[:3, 3], axis=1) < 70
    static = type(clean.world.static)(
        **{
            name: getattr(clean.world.static, name)[near]
            for name in clean.world.static.__dataclass_fields__
        }
    )
    keep = np.linalg.norm(ahead, axis=1) < 40
    hits = cast(rays, static, 60.0, clean.world.ground).distance[keep, 0]
    gap = hits - np.linalg.norm(ahead, axis=1)[keep]
    assert keep.sum() > 3000
    assert (gap > 0.05).mean() < 0.005  # nothing is where the first scan saw a surface: never
    assert (np.abs(gap) < 0.03).mean() > 0.5  # the rest is hidden from there
    assert (np.abs(gap[gap > -0.05]) < 0.01).mean() > 0.99


def test_points_are_compensated_to_the_stamp_or_left_as_measured():
    world = WorldSettings(speed=12.0)
    corrected, raw = (
        Sequence(5, "00", 4, SequenceSettings(clean=True, compensated=flag, world=world))
        for flag in (True, False)
    )
    a, b = corrected.scan(2), raw.scan(2)
    assert np.array_equal(a.raw, b.raw)
    velocity, yaw_rate = corrected.world.motion(corrected.seconds(2))
    velocity = lidar_pose(corrected.world, corrected.rig, corrected.seconds(2))[:3, :3].T @ velocity
    turn = yaw_rate * a.seconds
    x, y, z = b.points.T
    turned = np.stack(
        [np.cos(turn) * x - np.sin(turn) * y, np.sin(turn) * x + np.cos(turn) * y, z], axis=1
    )
    np.testing.assert_allclose(a.points, turned + a.seconds[:, None] * velocity, atol=2e-3)
    assert np.abs(a.points - b.points).max() > 0.4 and np.abs(a.seconds).max() == pytest.approx(
        0.05, abs=1e-3
    )


def test_the_sensor_adds_what_real_ones_have(clean):
    exact, noisy = clean.scan(4), sequence().scan(4)
    assert 0.85 * len(exact.points) < len(noisy.points) < len(exact.points)
    key = {
        (int(ring), float(second)): row
        for row, (ring, second) in enumerate(zip(exact.ring, exact.seconds, strict=True))
    }
    rows = [
        key[int(ring), float(second)]
        for ring, second in zip(noisy.ring, noisy.seconds, strict=True)
    ]
    error = np.linalg.norm(noisy.points, axis=1) - np.linalg.norm(exact.points[rows], axis=1)
    road = (noisy.raw == 40) & (np.abs(error) < 0.2)
    error_of_beam = error - beam_bias(clean.rig.lidar)[noisy.ring]
    assert (
        error_of_beam[road].std() == pytest.approx(0.018, rel=0.1)
        and abs(error_of_beam[road].mean()) < 0.002
    )
    grass = error[(noisy.raw == 72) & (error > -0.2)]
    assert grass.mean() < -0.01  # blades stand before the ground
    assert 0.001 < (np.abs(error[noisy.raw != 72]) > 0.2).mean() < 0.05  # mixed pixels
    assert ((noisy.intensity >= 0) & (noisy.intensity <= 1)).all()
    # Nothing is measured within 2.6 m; at 10 m/s a point is half a metre nearer at the stamp.
    assert np.linalg.norm(noisy.points, axis=1).min() > clean.rig.lidar.least - 10.0 * 0.05
    glass_and_paint, road = (
        noisy.intensity[noisy.raw == 10].mean(),
        noisy.intensity[noisy.raw == 40].mean(),
    )
    assert glass_and_paint < road < noisy.intensity[noisy.raw == 81].mean()


def test_a_thing_keeps_its_instance_and_its_class_through_a_sequence(clean):
    seen = {}
    for index in (0, 6, 11):
        scan = clean.scan(index)
        things = scan.instance_ids > 0
        for instance in np.unique(scan.instance_ids[things]):
            classes = set(np.unique(scan.raw[scan.instance_ids == instance]).tolist())
            assert len(classes) == 1 and seen.setdefault(int(instance), classes) == classes
        thing_labels = np.isin(
            KITTI.labels_from_raw(scan.raw, "semantic_kitti"), KITTI.thing_labels
        )
        assert np.array_equal(things, thing_labels)
    assert len(seen) > 5


def test_all_nineteen_classes_occur_and_rare_ones_can_be_made_common():
    def things_of(rare):
        raw, count = set(), 0
        for seed in range(4):
            world = World(np.random.default_rng(seed), 8.0, WorldSettings(rare=rare))
            solids = world.solids(0.0)
            raw |= set(solids.raw.tolist()) | {40, 44, 48, 49, 72} & set(_zone_raw(world))
            count += len(
                set(
                    solids.instance[
                        np.isin(solids.raw, (11, 15, 30, 31, 32, 253, 254, 255))
                    ].tolist()
                )
            )
        return raw, count

    raw, many = things_of(8.0)
    labels = set(KITTI.labels_from_raw(np.array(sorted(raw)), "semantic_kitti").tolist())
    assert (
        labels - {IGNORE_LABEL} == set(range(19)) and 99 in raw
    )  # dustbins and benches, which the benchmark ignores
    assert many > 4 * things_of(1.0)[1] > 0


def _zone_raw(world):
    from cmdfusion_ros.data.synthetic.ground import ZONES

    return [ZONES[zone].raw for zone in np.unique(world.ground.zones)]


def test_scans_may_be_many_turns_apart():
    world = WorldSettings(speed=10.0)
    near, far = (
        Sequence(5, "00", 3, SequenceSettings(spacing=spacing, world=world)) for spacing in (1, 25)
    )
    way = [np.linalg.norm(drive.world_from_lidar(1)[:3, 3]) for drive in (near, far)]
    assert way[0] == pytest.approx(1.0, rel=0.02) and way[1] == pytest.approx(25.0, rel=0.05)
    assert far.stamp(2) == 5_000_000_000
    assert np.abs(far.scan(1).seconds).max() == pytest.approx(
        0.05, abs=1e-3
    )  # the LiDAR turns as fast as ever


def test_each_lidar_reports_intensity_on_its_own_scale():
    def of_road(rig):  # every street's asphalt has a brightness of its own
        scans = [Sequence(s, "00", 3, SequenceSettings(rig=rig)).scan(1) for s in range(4)]
        return np.median(np.concatenate([scan.intensity[scan.raw == 40] for scan in scans]))

    assert 0.15 < of_road("kitti") < 0.4 and of_road("pandaset") < 0.08


def test_actors_move_as_their_velocity_says():
    world = World(np.random.default_rng(1), 8.0, WorldSettings(rare=6.0, traffic=3.0))
    now, soon = world.solids(1.0), world.solids(1.02)
    cars = np.flatnonzero(now.raw == 252)
    assert len(cars) > 10
    moved = (soon.world_from_local[cars, :, 3] - now.world_from_local[cars, :, 3])[:, :2] / 0.02
    speed = np.linalg.norm(now.velocity[cars], axis=1)
    assert speed.min() > 2
    ratio = np.linalg.norm(moved, axis=1) / speed
    assert (
        np.abs(ratio - 1).max() < 0.1
    )  # on the inside of a bend they cover less than the middle of the road does


@pytest.mark.parametrize("name", RIG_NAMES)
def test_pixel_rays_undo_the_lens(name):
    camera = scaled(load_rig(name), 0.3).cameras[-1]
    x, y = pixel_rays(camera)
    (bent_x, bent_y), valid = distort(x.reshape(-1), y.reshape(-1), camera.distortion)
    v, u = np.mgrid[: camera.size[1], : camera.size[0]].reshape(2, -1)
    assert valid.all()
    np.testing.assert_allclose(bent_x * camera.focal + camera.intrinsic[0, 2], u, atol=1e-6)
    np.testing.assert_allclose(bent_y * camera.focal + camera.intrinsic[1, 2], v, atol=1e-6)


def test_weather_changes_the_picture_and_nothing_else():
    pictures = {
        weather: sequence(weather=weather).photograph(2, 0)
        for weather in ("overcast", "glare", "night")
    }
    views = {weather: photograph.view.image.mean() for weather, photograph in pictures.items()}
    assert views["night"] < 0.8 * views["overcast"] and views["glare"] != views["overcast"]
    assert np.array_equal(pictures["night"].raw, pictures["overcast"].raw)
    assert np.array_equal(
        sequence(weather="night").scan(2).points, sequence(weather="overcast").scan(2).points
    )


def test_wrong_calibration_and_late_pictures_shift_the_image_but_not_what_the_view_says():
    plain = sequence().photograph(3, 0)
    for fault in (
        {"calibration_error_deg": 2.0},
        {"calibration_error_m": 0.3},
        {"time_offset_ms": 80.0},
    ):
        faulty = sequence(**fault).photograph(3, 0)
        assert (
            np.array_equal(faulty.view.camera_from_lidar, plain.view.camera_from_lidar)
            and faulty.view.stamp == plain.view.stamp
        )
        assert (faulty.raw != plain.raw).mean() > 0.02


def test_each_camera_of_a_ring_has_its_own_stamp_and_view():
    frame = Sequence(1, "00", 3, SequenceSettings(rig="demo", weather="overcast")).frame(
        1, load_class_map("street")
    )
    stamps = [view.stamp for view in frame.views]
    assert (
        len(frame.views) == 6
        and len(set(stamps)) == 6
        and max(abs(stamp - frame.stamp) for stamp in stamps) <= 50_000_000
    )
    by_name = {view.name: view for view in frame.views}
    assert (
        by_name["left"].stamp < by_name["front"].stamp == frame.stamp < by_name["right"].stamp
    )  # it turns clockwise, as seen from above
    seen = np.zeros(frame.num_points, bool)
    for view in frame.views:
        seen |= project_points(
            frame.points, view.intrinsic, view.camera_from_lidar, view.image_size, view.distortion
        )[1]
    assert seen.mean() > 0.6


def test_wrong_settings_are_refused():
    with pytest.raises(
        ValueError,
        match="rig: expected one of kitti, nuscenes, pandaset, demo, random, got 'waymo'",
    ):
        SequenceSettings(rig="waymo")
    with pytest.raises(ValueError, match="sequence 00: expected at least 1 scan, got 0"):
        Sequence(0, "00", 0, SMALL)
    with pytest.raises(ValueError, match="rig: expected one of"):
        load_rig("ouster")


def test_in_a_lane_walls_are_nearer_than_lorries():
    """Where near upright faces were lorries five times in six, networks called near walls so."""
    near = {}
    for seed in range(3):
        settings = SequenceSettings(world=WorldSettings(place="lane", rare=4.0))
        scan = Sequence(seed, "00", 1, settings).scan(0)
        close = np.hypot(*scan.points[:, :2].T) < 6
        for name, raw in (("building", (50,)), ("large", (18, 20, 13))):
            near[name] = near.get(name, 0) + int(np.isin(scan.raw[close], raw).sum())
    assert near["building"] > max(5 * near["large"], 500)
