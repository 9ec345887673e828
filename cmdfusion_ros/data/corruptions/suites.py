"""The published suites by name: every corruption with its levels, and one call for all of them.

Which numbers stand for a level, and where the originals leave one open, is said beside them.
`docs/robustness.md` has the table for readers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from zlib import crc32

import numpy as np

from cmdfusion_ros.class_map import ClassMap
from cmdfusion_ros.data.corruptions import cameras, image_quality, points
from cmdfusion_ros.data.corruptions.fog import fog
from cmdfusion_ros.data.corruptions.snow import snow
from cmdfusion_ros.data.corruptions.wet_ground import wet_ground
from cmdfusion_ros.frame import Frame

Change = Callable[["Case"], Frame]


@dataclass(frozen=True)
class Case:
    """What a corruption is made of.

    Attributes:
        frame: the labelled scan. before: the scan before it in its sequence, with its pictures, or
            None. rng: drawn for this frame, corruption and level. class_map: of the labels.
        is_nuscenes: whether the set is nuScenes, whose levels differ in places.
        numbers: what the level means, as Corruption.levels or `nuscenes` has it.
    """

    frame: Frame
    before: Frame | None
    rng: np.random.Generator
    class_map: ClassMap
    is_nuscenes: bool
    numbers: tuple


@dataclass(frozen=True)
class Corruption:
    """One corruption of a suite.

    Attributes:
        change: makes it. levels: {level: numbers}, lightest first. nuscenes: the numbers of other
            levels on nuScenes, as far as they differ.
        of_images: whether it changes pictures or their place alone: a network without images, or a
            set without any, has nothing to be tested by it.
        needs_before: whether it takes the scan before.
        for_good: whether a draw holds for all frames of a test.
    """

    change: Change
    levels: dict
    nuscenes: dict | None = None
    of_images: bool = False
    needs_before: bool = False
    for_good: bool = False

    def numbers(self, level: str, is_nuscenes: bool) -> tuple:
        """What a level means; ValueError with the known ones otherwise."""
        if level not in self.levels:
            raise ValueError(f"level: expected one of {', '.join(self.levels)}, got {level!r}")
        others = self.nuscenes if is_nuscenes and self.nuscenes else {}
        return others.get(level, self.levels[level])


def _levels(names: str, *numbers: tuple) -> dict:
    return dict(zip(names.split(), numbers, strict=True))


def _robo3d(*numbers: tuple) -> dict:
    return _levels("light moderate heavy", *numbers)


def _numbered(*numbers: tuple) -> dict:
    return _levels("1 2 3", *numbers)


def _easy(*numbers: tuple) -> dict:
    return _levels("easy mid hard", *numbers)


def _of_scan(change: Callable[..., Frame]) -> Change:
    return lambda case: change(case.frame, case.rng, *case.numbers)


def _of_classes(change: Callable[..., Frame]) -> Change:
    return lambda case: change(case.frame, case.rng, *case.numbers, case.class_map)


def _of_time(change: Callable[..., Frame]) -> Change:
    return lambda case: change(case.frame, case.rng, *case.numbers, case.before)


def _of_pictures(change: Callable[..., np.ndarray]) -> Change:
    return lambda case: cameras.every_picture(case.frame, case.rng, change, *case.numbers)


def _on_scan(corruption: Callable[..., Frame], change: Callable[..., np.ndarray]) -> Change:
    """A weather that cloud and pictures share; the numbers are a pair, for either."""

    def both(case: Case) -> Frame:
        in_cloud, in_picture = case.numbers
        extra = (case.class_map,) if corruption is snow else ()
        frame = corruption(case.frame, case.rng, *in_cloud, *extra)
        return cameras.every_picture(frame, case.rng, change, *in_picture)

    return both


def _fog(case: Case) -> Frame:
    return fog(case.frame, case.rng, *case.numbers, steps=255 if case.is_nuscenes else 0)


def _crosstalk(case: Case) -> Frame:
    full_scale = 255.0 if case.is_nuscenes else 1.0
    return points.crosstalk(case.frame, case.rng, *case.numbers, full_scale)


def _motion(case: Case) -> Frame:
    (deviation,) = case.numbers
    jitter = (0.15, 0.20, 0.12)
    frame = points.motion_blur(case.frame, case.rng, deviation, jitter)
    return cameras.every_picture(frame, case.rng, image_quality.streak, 15, 100 * deviation)


_WET = _robo3d((0.0002, 0.3), (0.001, 0.3), (0.0012, 0.7))  # metres of water, noise
_SNOW = _robo3d((0.5, 2.0), (1.0, 1.6), (2.5, 1.6))  # mm/h of water, m/s
SUITES = {
    "robo3d": {
        "fog": Corruption(_fog, _robo3d((0.008,), (0.05,), (0.2,))),
        "wet_ground": Corruption(_of_classes(wet_ground), _WET, {"light": (0.0002, 0.2)}),
        "snow": Corruption(_of_classes(snow), _SNOW),
        # nuScenes: Robo3D's files give the light level alone, of these two and crosstalk; the
        # others are KITTI's steps on from it
        "motion_blur": Corruption(
            _of_scan(points.motion_blur),
            _robo3d((0.20,), (0.25,), (0.30,)),
            {"moderate": (0.30,), "heavy": (0.40,)},
        ),
        "beam_missing": Corruption(
            _of_scan(points.beam_missing), _robo3d((0.25,), (0.5,), (0.75,))
        ),
        "crosstalk": Corruption(
            _crosstalk,
            _robo3d((0.006,), (0.008,), (0.010,)),
            {"light": (0.03,), "moderate": (0.07,), "heavy": (0.12,)},
        ),
        "incomplete_echo": Corruption(
            _of_classes(points.incomplete_echo), _robo3d((0.75,), (0.85,), (0.95,))
        ),
        "cross_sensor": Corruption(_of_scan(points.cross_sensor), _robo3d((4,), (2,), (1.33,))),
    },
    "multicorrupt": {
        "missing_camera": Corruption(
            _of_scan(cameras.missing_cameras), _numbered((0.2,), (0.4,), (0.6,)), of_images=True
        ),
        "temporal_misalignment_cam": Corruption(
            _of_time(cameras.late_pictures),
            _numbered((0.2,), (0.4,), (0.6,)),
            of_images=True,
            needs_before=True,
        ),
        "temporal_misalignment_lidar": Corruption(
            _of_time(cameras.late_cloud), _numbered((0.2,), (0.4,), (0.6,)), needs_before=True
        ),
        "spatial_misalignment": Corruption(
            _of_scan(points.spatial_misalignment), _numbered((0.2, 1), (0.4, 2), (0.6, 3))
        ),
        "beams_reducing": Corruption(_of_scan(points.beams_reducing), _numbered((2,), (4,), (8,))),
        "points_reducing": Corruption(
            _of_scan(points.points_reducing), _numbered((0.7,), (0.8,), (0.9,))
        ),
        "motion_blur": Corruption(_motion, _numbered((0.06,), (0.10,), (0.13,))),
        "brightness": Corruption(
            _of_pictures(image_quality.brightness),
            _numbered((0.5,), (0.6,), (0.7,)),
            of_images=True,
        ),
        "dark": Corruption(
            _of_pictures(image_quality.dark),
            _numbered((0.6, 250, 0.008), (0.4, 120, 0.018), (0.3, 50, 0.026)),
            of_images=True,
        ),
        "fog": Corruption(
            _on_scan(fog, image_quality.haze),
            _numbered(
                ((0.008, (0.02,)), (2, 0.0005)),
                ((0.008, (0.03,)), (3, 0.001)),
                ((0.05, (0.06,)), (4, 0.002)),
            ),
        ),
        "snow": Corruption(
            _on_scan(snow, image_quality.flakes),
            _numbered(
                ((0.5, 1.2), (0.3, 5, 0.9, 7, 7, 0.9, 0.9)),
                ((2.5, 1.6), (0.4, 4, 0.85, 8, 8, 0.85, 0.9)),
                ((1.5, 0.4), (0.5, 3, 0.8, 10, 10, 0.8, 0.9)),
            ),
        ),
    },
    "robobev": {  # easy, mid, hard: 1, 2 and 3 of the five steps of its scale
        "camera_crash": Corruption(
            _of_scan(cameras.camera_crash), _easy((1,), (2,), (3,)), of_images=True, for_good=True
        ),
        "frame_lost": Corruption(
            _of_scan(cameras.missing_cameras), _easy((1 / 6,), (2 / 6,), (3 / 6,)), of_images=True
        ),
        "color_quant": Corruption(
            _of_pictures(image_quality.quantise), _easy((4,), (3,), (2,)), of_images=True
        ),
        "low_light": Corruption(
            _of_pictures(image_quality.dark),
            _easy((0.5, 250, 0.012), (0.4, 120, 0.018), (0.3, 50, 0.026)),
            of_images=True,
        ),
        "brightness": Corruption(
            _of_pictures(image_quality.brightness), _easy((0.1,), (0.2,), (0.3,)), of_images=True
        ),
        "motion_blur": Corruption(
            _of_pictures(image_quality.streak), _easy((10, 3), (15, 5), (15, 8)), of_images=True
        ),
        "fog": Corruption(
            _of_pictures(image_quality.mist),
            _easy((1.5, 2.0), (2.0, 2.0), (2.5, 1.7)),
            of_images=True,
        ),
        "snow": Corruption(
            _of_pictures(image_quality.flakes),
            _easy((0.1, 3, 0.5, 10, 4, 0.8), (0.2, 2, 0.5, 12, 4, 0.7), (0.55, 4, 0.9, 12, 8, 0.7)),
            of_images=True,
        ),
    },
    "calib": {
        "rotation": Corruption(
            _of_scan(cameras.misplaced_cameras),
            {f"{degrees:g}deg": (degrees, 0.0) for degrees in (0.25, 0.5, 1, 2, 3)},
            of_images=True,
        ),
        "translation": Corruption(
            _of_scan(cameras.misplaced_cameras),
            {f"{shift}cm": (0.0, shift) for shift in (1, 2, 5, 10, 20)},
            of_images=True,
        ),
    },
}


def find_corruption(name: str) -> Corruption:
    """The Corruption called "suite/corruption"; ValueError with the known names otherwise."""
    suite, _, rest = name.partition("/")
    if suite not in SUITES or rest not in SUITES[suite]:
        known = ", ".join(f"{suite}/{each}" for suite in SUITES for each in SUITES[suite])
        raise ValueError(f"corruption: expected one of {known}, got {name!r}")
    return SUITES[suite][rest]


def corrupt(
    frame: Frame,
    name: str,
    level: str,
    class_map: ClassMap,
    seed: int = 0,
    before: Frame | None = None,
    is_nuscenes: bool = False,
) -> Frame:
    """A labelled Frame as a corruption makes it. The same arguments give the same Frame.

    Args:
        name, level: "robo3d/fog", "moderate"; see SUITES.
        class_map: of the frame's labels.
        before: the scan before, for temporal_misalignment; see Case.
        is_nuscenes: whether the frame is one of nuScenes, see Case.

    Raises:
        ValueError: an unknown name or level; a frame without labels, or one that was moved since
            it was measured.
    """
    corruption = find_corruption(name)
    numbers = corruption.numbers(level, is_nuscenes)
    if frame.labels is None:
        raise ValueError(f"frame {frame.name}: has no labels, which {name} must keep with points")
    place = list(corruption.levels).index(level)
    of_frame = 0 if corruption.for_good else crc32(frame.name.encode())
    rng = np.random.default_rng([seed, crc32(name.encode()), place, of_frame])
    return corruption.change(Case(frame, before, rng, class_map, is_nuscenes, numbers))
