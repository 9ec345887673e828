"""How training scans are changed at random: the settings, and the changes that they ask for."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from cmdfusion_ros.class_map import ClassMap
from cmdfusion_ros.config import SettingsError, check_settings, setting
from cmdfusion_ros.data.augment import camera_views, mix, scans
from cmdfusion_ros.frame import IGNORE_LABEL, Frame

FEWEST_POINTS = 2000  # of a sector worth a step; of a scan with few, a quarter of its fair share
_SECTOR_DRAWS = 16


def _chance(description):
    """A probability; none by default."""
    return setting(0.0, description, minimum=0.0, maximum=1.0)


def _up_to(most, description, unit=""):
    """An amount from 0, the default, to `most`."""
    return setting(0.0, description, unit, minimum=0.0, maximum=most)


def _factor(most, description):
    """A factor from 1, the default, to `most`."""
    return setting(1.0, description, minimum=1.0, maximum=most)


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
    fill_chance: float = _chance("chance to fill the ground of a scan")
    fill_factor: float = setting(
        1.0, "add up to this many points for every ground point", above=0.0, maximum=20.0
    )
    laser_mix: float = _chance(
        "chance that every second band of elevations comes from another scan (LaserMix)"
    )
    polar_mix: float = _chance("chance that half of the azimuths come from another scan (PolarMix)")
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
    sector_around: str = setting(
        "anywhere",
        "where the sector lies: anywhere, or around a random labelled point, for scans of which "
        "few points have a label",
        choices=("anywhere", "labels"),
    )
    yaw: float = _up_to(180.0, "turn about z by up to this much, either way", "degrees")
    flip: float = _chance("chance to mirror x, and again y")
    tilt: float = _up_to(
        30.0,
        "standard deviation of a turn about x and about y, as of a sensor that is not level",
        "degrees",
    )
    scale: float = _up_to(0.5, "grow or shrink by up to this fraction")
    shift: float = _up_to(100.0, "standard deviation of a shift along x and y", "m")
    shift_z: tuple[float, float] = setting(
        (0.0, 0.0),
        "lowest and highest shift along z; stands for other sensor heights",
        "m",
        minimum=-5.0,
        maximum=5.0,
    )
    jitter: float = _up_to(
        1.0, "standard deviation of noise on every coordinate of every point", "m"
    )
    point_dropout: float = _up_to(0.99, "drop up to this fraction of the points")
    thin_chance: float = _chance("chance to take away whole beams, as a sensor with fewer has")
    intensity_dropout: float = _chance("chance that a scan has no intensity")
    intensity_part_dropout: float = _chance(
        "chance that a scan lacks either the values of its intensity or their ranks"
    )
    intensity_gain: float = _factor(100.0, "multiply intensity by up to this, or divide by it")
    intensity_gamma: float = _factor(
        10.0, "raise intensity to a power of up to this, or down to its inverse"
    )
    camera_dropout: float = _chance("chance that a camera is missing")
    camera_blackout: float = _chance(
        "chance that all cameras are missing, which dropping each of several hardly ever gives"
    )
    camera_turn: float = _up_to(
        30.0, "standard deviation of an error in how a camera is turned, about each axis", "degrees"
    )
    camera_shift: float = _up_to(
        10.0, "standard deviation of an error in where a camera is, along each axis", "m"
    )
    image_crop: float = _up_to(0.9, "cut away up to this fraction of each side of an image")
    image_mirror: float = _chance("chance to mirror an image")
    image_gain: float = _factor(
        10.0,
        "multiply red, green, blue and contrast by up to this, or divide by it, each for itself",
    )
    image_gamma: float = _factor(
        10.0, "raise the brightness of an image to a power of up to this, or down to its inverse"
    )
    image_blank: float = _chance(
        "chance that an image says nothing: one grey, black to white, as of a covered or dazzled "
        "lens"
    )
    image_shuffle: float = _chance(
        "chance that the parts of an image change places, so that it says what is elsewhere"
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if self.shift_z[0] > self.shift_z[1]:
            raise SettingsError(f"shift_z: expected lowest first, got {self.shift_z}")
        if self.instances and not self.instance_classes:
            raise SettingsError(
                "instances: expected classes of the things in instance_classes, got none"
            )
        if self.fill_chance and not self.fill:
            raise SettingsError("fill_chance: expected classes of flat ground in fill, got none")


def change_scene(
    frame: Frame,
    settings: AugmentSettings,
    rng: np.random.Generator,
    class_map: ClassMap,
    another: Callable[[], Frame] | None = None,
) -> Frame:
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
        frame = scans.paste_turned(
            frame, labels(settings.paste), rng.uniform(-np.pi, np.pi, settings.paste_copies)
        )
    if settings.fill and rng.random() < settings.fill_chance:
        frame = scans.fill_ground(
            frame, labels(settings.fill), rng.uniform(0.0, settings.fill_factor), rng
        )
    return frame


def change_view(
    frame: Frame,
    settings: AugmentSettings,
    rng: np.random.Generator,
    sector: tuple[float, float] | None = None,
) -> Frame:
    """What leaves points out, moves them or changes what the sensors say of them; adds none.

    Args:
        sector: (start, width) in radians of the sector that is kept; None = one is drawn, where the
            settings ask for it.
    """
    if sector is None and settings.sector < 360.0:
        sector = sector_start(frame, settings, rng), np.radians(settings.sector)
    if sector is not None:
        frame = scans.crop_sector(frame, *sector)
    if settings.thin_chance and rng.random() < settings.thin_chance:
        period = np.radians(rng.uniform(0.4, 1.6))
        frame = scans.thin_beams(frame, period, keep=rng.uniform(0.2, 0.7), phase=rng.random())
    if settings.point_dropout:
        frame = scans.drop_points(frame, rng.uniform(0.0, settings.point_dropout), rng)
    if settings.jitter:
        frame = scans.jitter(frame, settings.jitter, rng)
    if settings.flip:
        for axis in (0, 1):
            if rng.random() < settings.flip:
                frame = scans.flip(frame, axis)
    if settings.scale:
        frame = scans.scale(frame, rng.uniform(1 - settings.scale, 1 + settings.scale))
    if settings.yaw:
        frame = scans.rotate(frame, np.radians(rng.uniform(-settings.yaw, settings.yaw)))
    if settings.tilt:
        frame = scans.tilt(frame, *np.radians(rng.normal(0.0, settings.tilt, 2)))
    offset = np.array([*rng.normal(0.0, settings.shift, 2), rng.uniform(*settings.shift_z)])
    frame = scans.shift(frame, offset)
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


def sector_start(frame: Frame, settings: AugmentSettings, rng: np.random.Generator) -> float:
    """Azimuth, radians, at which the sector to keep begins. One with hardly a point (beside the
    view of a LiDAR that looks ahead) teaches nothing: it is drawn again, and the fullest is taken.
    """
    azimuth = np.arctan2(frame.points[:, 1], frame.points[:, 0])
    enough = min(FEWEST_POINTS, settings.sector / 360.0 * frame.num_points / 4)
    width, found = np.radians(settings.sector), []
    for _ in range(_SECTOR_DRAWS):
        start = _draw_sector(frame, settings, rng)
        found.append((np.count_nonzero((azimuth - start) % (2 * np.pi) < width), start))
        if found[-1][0] >= enough:
            return start
    return max(found)[1]


def _draw_sector(frame, settings, rng):
    start = rng.uniform(-np.pi, np.pi)
    if settings.sector_around == "labels":
        known = np.flatnonzero(frame.labels != IGNORE_LABEL)
        if len(known):
            x, y = frame.points[known[rng.integers(len(known))], :2]
            return np.arctan2(y, x) - np.radians(settings.sector) / 2
    return start


def _augment_intensity(frame, settings, rng):
    if settings.intensity_dropout and rng.random() < settings.intensity_dropout:
        return scans.without_intensity(frame)
    if settings.intensity_part_dropout and rng.random() < settings.intensity_part_dropout:
        if frame.intensity_rank is None or rng.random() < 0.5:
            return scans.without_intensity_rank(frame)
        return replace(frame, intensity=np.zeros_like(frame.intensity))
    gain = settings.intensity_gain ** rng.uniform(-1.0, 1.0)
    gamma = settings.intensity_gamma ** rng.uniform(-1.0, 1.0)
    return scans.change_intensity(frame, gain, gamma)


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
