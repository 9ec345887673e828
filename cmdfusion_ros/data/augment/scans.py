"""Changes of a training scan that leave its meaning: pure functions Frame -> Frame.

A flipped or scaled scan has no rigid `camera_from_lidar`. So a scan with camera views keeps where
its points were measured (`Frame.measured_points`), and those
are projected: three numbers a point, whatever the number of cameras and their lenses. Points that
were added have no place in any image.
"""

from dataclasses import dataclass, replace

import numpy as np

from cmdfusion_ros.config import SettingsError, check_settings, setting
from cmdfusion_ros.data.augment import camera_views, mix
from cmdfusion_ros.data.augment.mix import join, select
from cmdfusion_ros.geometry.transforms import invert, rigid, yaw_rotation


@dataclass(frozen=True)
class AugmentSettings:
    """How much a training scan is changed; every default is no change."""

    paste: tuple[str, ...] = setting(
        (), "classes whose points are also put at other azimuths, for those seen too seldom"
    )
    paste_copies: int = setting(2, "how many turned copies of them", minimum=1, maximum=16)
    fill: tuple[str, ...] = setting(
        (),
        "classes of flat ground to fill between the rings, as sensors with dense rings near the "
        "vehicle see it",
    )
    fill_chance: float = setting(
        0.0, "chance to fill the ground of a scan", minimum=0.0, maximum=1.0
    )
    fill_factor: float = setting(
        1.0, "add up to this many points for every ground point", above=0.0, maximum=20.0
    )
    laser_mix: float = setting(
        0.0,
        "chance that every second band of elevations comes from another scan (LaserMix)",
        minimum=0.0,
        maximum=1.0,
    )
    polar_mix: float = setting(
        0.0,
        "chance that half of the azimuths come from another scan (PolarMix)",
        minimum=0.0,
        maximum=1.0,
    )
    instances: int = setting(
        0, "put up to this many whole things of another scan onto the ground", minimum=0, maximum=50
    )
    instance_classes: tuple[str, ...] = setting(
        (), "classes of those things; their scans must have instance ids"
    )
    ground: tuple[str, ...] = setting(("road", "sidewalk"), "classes that they may stand on")
    sector: float = setting(
        360.0,
        "keep a random sector of the scan this wide; makes a step cheaper",
        "degrees",
        minimum=1.0,
        maximum=360.0,
    )
    yaw: float = setting(
        0.0, "turn about z by up to this much, either way", "degrees", minimum=0.0, maximum=180.0
    )
    flip: float = setting(0.0, "chance to mirror x, and again y", minimum=0.0, maximum=1.0)
    scale: float = setting(0.0, "grow or shrink by up to this fraction", minimum=0.0, maximum=0.5)
    shift: float = setting(
        0.0, "standard deviation of a shift along x and y", "m", minimum=0.0, maximum=100.0
    )
    shift_z: tuple[float, float] = setting(
        (0.0, 0.0),
        "lowest and highest shift along z; stands for other sensor heights",
        "m",
        minimum=-5.0,
        maximum=5.0,
    )
    jitter: float = setting(
        0.0,
        "standard deviation of noise on every coordinate of every point",
        "m",
        minimum=0.0,
        maximum=1.0,
    )
    point_dropout: float = setting(
        0.0, "drop up to this fraction of the points", minimum=0.0, maximum=0.99
    )
    thin_chance: float = setting(
        0.0, "chance to take away whole beams, as a sensor with fewer has", minimum=0.0, maximum=1.0
    )
    intensity_dropout: float = setting(
        0.0, "chance that a scan has no intensity (zeros)", minimum=0.0, maximum=1.0
    )
    intensity_gain: float = setting(
        1.0, "multiply intensity by up to this, or divide by it", minimum=1.0, maximum=100.0
    )
    intensity_gamma: float = setting(
        1.0,
        "raise intensity to a power of up to this, or down to its inverse",
        minimum=1.0,
        maximum=10.0,
    )
    camera_dropout: float = setting(
        0.0, "chance that a camera is missing", minimum=0.0, maximum=1.0
    )
    camera_blackout: float = setting(
        0.0,
        "chance that all cameras are missing, which dropping each of several hardly ever gives",
        minimum=0.0,
        maximum=1.0,
    )
    camera_turn: float = setting(
        0.0,
        "standard deviation of an error in how a camera is turned, about each axis",
        "degrees",
        minimum=0.0,
        maximum=30.0,
    )
    camera_shift: float = setting(
        0.0,
        "standard deviation of an error in where a camera is, along each axis",
        "m",
        minimum=0.0,
        maximum=10.0,
    )
    image_crop: float = setting(
        0.0, "cut away up to this fraction of each side of an image", minimum=0.0, maximum=0.9
    )
    image_mirror: float = setting(0.0, "chance to mirror an image", minimum=0.0, maximum=1.0)
    image_gain: float = setting(
        1.0,
        "multiply red, green, blue and contrast by up to this, or divide by it, each for itself",
        minimum=1.0,
        maximum=10.0,
    )
    image_gamma: float = setting(
        1.0,
        "raise the brightness of an image to a power of up to this, or down to its inverse",
        minimum=1.0,
        maximum=10.0,
    )
    image_blank: float = setting(
        0.0,
        "chance that an image says nothing: one grey, black to white, as of a covered or dazzled "
        "lens",
        minimum=0.0,
        maximum=1.0,
    )
    image_shuffle: float = setting(
        0.0,
        "chance that the parts of an image change places, so that it says what is elsewhere",
        minimum=0.0,
        maximum=1.0,
    )

    def __post_init__(self):
        check_settings(self)
        if self.shift_z[0] > self.shift_z[1]:
            raise SettingsError(f"shift_z: expected lowest first, got {self.shift_z}")
        if self.instances and not self.instance_classes:
            raise SettingsError(
                "instances: expected classes of the things in instance_classes, got none"
            )
        if self.fill_chance and not self.fill:
            raise SettingsError("fill_chance: expected classes of flat ground in fill, got none")


def augment(frame, settings, rng, class_map, another=None):
    """A random change of a labelled `frame` as `settings` say, drawn from the numpy Generator
    `rng`: `change_scene`, then `change_view`.

    The same generator state gives the same change.
    """
    return change_view(change_scene(frame, settings, rng, class_map, another), settings, rng)


def change_scene(frame, settings, rng, class_map, another=None):
    """What adds points: mixing, pasting, filling; while the sensor is still at the origin and the
    pose still holds.

    Args:
        another: function that gives another labelled Frame of the same class map; called only where
            one is mixed in.
    """

    def labels(names):
        return [class_map.label(name) for name in names]

    if settings.laser_mix and rng.random() < settings.laser_mix:
        frame = mix.laser_mix(frame, another(), int(rng.integers(3, 7)), rng)
    if settings.polar_mix and rng.random() < settings.polar_mix:
        frame = mix.polar_mix(frame, another(), rng.uniform(-np.pi, np.pi), np.pi)
    if settings.instances:
        frame = mix.paste_instances(
            frame,
            another(),
            labels(settings.instance_classes),
            labels(settings.ground),
            settings.instances,
            rng,
        )
    if settings.paste:
        frame = paste_turned(
            frame, labels(settings.paste), rng.uniform(-np.pi, np.pi, settings.paste_copies)
        )
    if settings.fill and rng.random() < settings.fill_chance:
        frame = fill_ground(
            frame, labels(settings.fill), rng.uniform(0.0, settings.fill_factor), rng
        )
    return frame


def change_view(frame, settings, rng):
    """What leaves points out, moves them or changes what the sensors say of them; adds none."""
    if settings.sector < 360.0:
        frame = crop_sector(frame, rng.uniform(-np.pi, np.pi), np.radians(settings.sector))
    if settings.thin_chance and rng.random() < settings.thin_chance:
        period = np.radians(rng.uniform(0.4, 1.6))
        frame = thin_beams(frame, period, keep=rng.uniform(0.3, 0.7), phase=rng.random())
    if settings.point_dropout:
        frame = drop_points(frame, rng.uniform(0.0, settings.point_dropout), rng)
    if settings.jitter:
        frame = jitter(frame, settings.jitter, rng)
    if settings.flip:
        for axis in (0, 1):
            if rng.random() < settings.flip:
                frame = flip(frame, axis)
    if settings.scale:
        frame = scale(frame, rng.uniform(1 - settings.scale, 1 + settings.scale))
    if settings.yaw:
        frame = rotate(frame, np.radians(rng.uniform(-settings.yaw, settings.yaw)))
    offset = np.array([*rng.normal(0.0, settings.shift, 2), rng.uniform(*settings.shift_z)])
    frame = shift(frame, offset)
    frame = _augment_intensity(frame, settings, rng)
    if not frame.views:
        return frame
    if settings.camera_blackout and rng.random() < settings.camera_blackout:
        return replace(frame, views=())
    views = camera_views.drop_views(frame.views, settings.camera_dropout, rng)
    # a camera that sees none of what is left costs time and teaches nothing
    if settings.sector < 360.0:
        measured = frame.points if frame.measured_points is None else frame.measured_points
        views = tuple(view for view in views if camera_views.sees_any(view, measured))
    return replace(frame, views=tuple(_augment_view(view, settings, rng) for view in views))


def _augment_intensity(frame, settings, rng):
    if settings.intensity_dropout and rng.random() < settings.intensity_dropout:
        return without_intensity(frame)
    gain = settings.intensity_gain ** rng.uniform(-1.0, 1.0)
    gamma = settings.intensity_gamma ** rng.uniform(-1.0, 1.0)
    return change_intensity(frame, gain, gamma)


def _augment_view(view, settings, rng):
    if settings.camera_turn or settings.camera_shift:
        turn, shift_by = (
            rng.normal(0.0, np.radians(settings.camera_turn), 3),
            rng.normal(0.0, settings.camera_shift, 3),
        )
        view = camera_views.misplace(view, turn, shift_by)
    if settings.image_crop:
        view = camera_views.random_crop(view, settings.image_crop, rng)
    if rng.random() < settings.image_mirror:
        view = camera_views.mirror(view)
    if settings.image_gain > 1.0:
        gains = settings.image_gain ** rng.uniform(-1.0, 1.0, 4)
        view = camera_views.change_colours(view, gains[:3], gains[3])
    if settings.image_gamma > 1.0:
        view = camera_views.change_brightness(view, settings.image_gamma ** rng.uniform(-1.0, 1.0))
    if settings.image_shuffle and rng.random() < settings.image_shuffle:
        view = camera_views.shuffle_parts(view, rng)
    if settings.image_blank and rng.random() < settings.image_blank:
        view = camera_views.blank(view, int(rng.integers(0, 256)))
    return view


def rotate(frame, angle):
    """Turn by `angle` radians about z; the pose turns back, so that the points stay where they
    are in the world.
    """
    return _move(frame, rigid(yaw_rotation(angle), np.zeros(3)))


def shift(frame, offset):
    """Shift by `offset` (3,) metres; the pose shifts back."""
    return _move(frame, rigid(np.eye(3), np.asarray(offset, np.float64)))


def _move(frame, new_from_old):
    points = (
        frame.points @ new_from_old[:3, :3].T.astype(np.float32)
        + new_from_old[:3, 3].astype(np.float32)
    ).astype(np.float32)
    pose = None if frame.world_from_lidar is None else frame.world_from_lidar @ invert(new_from_old)
    return _with_points(frame, points, pose)


def flip(frame, axis):
    """Mirror x (axis 0) or y (axis 1). A mirrored scan has no pose."""
    signs = np.ones(3, np.float32)
    signs[axis] = -1
    return _with_points(frame, frame.points * signs, None)


def scale(frame, factor):
    """Multiply all coordinates by `factor`. A scaled scan has no pose."""
    return _with_points(frame, frame.points * np.float32(factor), None)


def _with_points(frame, points, pose):
    measured = (
        frame.points if frame.views and frame.measured_points is None else frame.measured_points
    )
    return replace(frame, points=points, world_from_lidar=pose, measured_points=measured)


def _with_added(frame, rows, points):
    """`frame` and behind it `points` (M, 3), each with the other values of the point at its row
    of `rows`, seen by no camera.
    """
    return join(frame, replace(select(frame, rows), points=points))


def paste_turned(frame, labels, angles):
    """Add copies of the points that have one of `labels`, turned about z by each of `angles`
    (radians) (after PolarMix, Xiao et al. 2022).

    A copy keeps its distance, so it has the density of points that the sensor would give it there.
    What it would hide stays.
    """
    rows = np.flatnonzero(np.isin(frame.labels, labels))
    turned = [frame.points[rows] @ yaw_rotation(angle).T.astype(np.float32) for angle in angles]
    return _with_added(frame, np.tile(rows, len(angles)), np.concatenate(turned))


def fill_ground(frame, labels, factor, rng):
    """Add points between neighbouring points of the same one of `labels`: flat ground as a sensor
    with closer rings sees it.

    Rings of some sensors lie metres apart near the vehicle, those of others centimetres: a network
    that knows only the first takes dense ground for something else. Each new point lies on the line
    between two points of one label in one square of 4 m, with values between theirs.

    Args:
        labels: classes that are flat over 4 m.
        factor: new points for every point of these classes.
    """
    rows = np.flatnonzero(np.isin(frame.labels, labels))
    if not len(rows):
        return frame
    squares = np.floor(frame.points[rows, :2] / 4.0 + rng.random(2)).astype(np.int64)
    keys = (squares[:, 0] * 100_003 + squares[:, 1]) * 256 + frame.labels[rows]
    order = np.argsort(keys, kind="stable")
    rows, keys = rows[order], keys[order]
    first, last = np.searchsorted(keys, keys), np.searchsorted(keys, keys, side="right")
    one = rng.integers(0, len(rows), int(factor * len(rows)))
    other = rng.integers(first[one], last[one])  # any point of the same square and label
    part = rng.random(len(one), np.float32)
    points = frame.points[rows[one]] + part[:, None] * (
        frame.points[rows[other]] - frame.points[rows[one]]
    )
    return _with_added(frame, rows[one], points)


def crop_sector(frame, start, width):
    """Keep the points whose azimuth lies in the `width` radians counter-clockwise from `start`."""
    azimuth = np.arctan2(frame.points[:, 1], frame.points[:, 0])
    return select(frame, (azimuth - start) % (2 * np.pi) < width)


def jitter(frame, deviation, rng):
    """Normal noise of this standard deviation, metres, on every coordinate, cut at three
    deviations. A noisy scan keeps its pose.
    """
    noise = deviation * np.clip(rng.standard_normal(frame.points.shape, np.float32), -3, 3)
    return _with_points(frame, frame.points + noise.astype(np.float32), frame.world_from_lidar)


def drop_points(frame, ratio, rng):
    """Drop each point with probability `ratio`."""
    return select(frame, rng.random(frame.num_points) >= ratio)


def thin_beams(frame, period, keep, phase):
    """Keep only elevation bands as seen from the LiDAR origin, as if the beams between them did not
    exist.

    Args:
        period: angle from the start of one band to the start of the next, radians.
        keep: width of a band as a fraction of the period.
        phase: where the first band starts, as a fraction of the period.
    """
    elevation = np.arctan2(frame.points[:, 2], np.hypot(frame.points[:, 0], frame.points[:, 1]))
    return select(frame, (elevation / period + phase) % 1.0 < keep)


def without_intensity(frame):
    """All intensities zero, as from a sensor that gives none."""
    return replace(frame, intensity=np.zeros_like(frame.intensity))


def change_intensity(frame, gain, gamma):
    """gain * intensity ** gamma, cut at 1: sensors differ in full scale and in how they
    compress.
    """
    return replace(
        frame,
        intensity=np.minimum(
            np.float32(gain) * frame.intensity ** np.float32(gamma), np.float32(1.0)
        ),
    )
