"""Corruptions of the cloud that need no physics: beams and points lost, noise, wrong places.

Pure functions (Frame, rng, ...) -> Frame. Labels and all other rows stay with their points; a
point that says nothing of the scene any more is labelled IGNORE_LABEL and has origin -1. Images
are left alone: what a corrupted cloud projects into is what a robot would project.
"""

from dataclasses import replace

import numpy as np

from cmdfusion_ros.class_map import ClassMap
from cmdfusion_ros.data.augment.mix import select
from cmdfusion_ros.data.corruptions.beams import beams_of, without_beams
from cmdfusion_ros.frame import IGNORE_LABEL, Frame
from cmdfusion_ros.geometry.transforms import apply, rigid

ECHOING = frozenset(  # vehicles, whose paint swallows returns, in the words of all class maps
    "car bicycle motorcycle truck other-vehicle bus construction_vehicle trailer other_vehicle "
    "large_vehicle two_wheeler".split()
)
_FEWEST_ECHOES = 10  # points of a class that loses some


def changed(
    frame: Frame,
    points: np.ndarray | None = None,
    intensity: np.ndarray | None = None,
    noise: np.ndarray | None = None,
) -> Frame:
    """`frame` with other points and intensities of the same rows; the rows of the mask `noise`
    belong to no class, no thing and no row of the scan any more.

    Raises:
        ValueError: the frame has been moved since it was measured; corrupt first.
    """
    if frame.measured_points is not None:
        raise ValueError(f"frame {frame.name}: was moved since it was measured; corrupt it first")
    values = {}
    if points is not None:
        values["points"] = np.ascontiguousarray(points, np.float32)
    if intensity is not None:
        values["intensity"] = np.clip(intensity, 0, 1).astype(np.float32)
    if noise is not None:
        for name, nothing in (("labels", IGNORE_LABEL), ("instance_ids", 0), ("origin", -1)):
            if getattr(frame, name) is not None:
                kept = getattr(frame, name)
                values[name] = np.where(noise, nothing, kept).astype(kept.dtype)
    return replace(frame, **values)


def beam_missing(frame: Frame, rng: np.random.Generator, share: float) -> Frame:
    """Robo3D's beam missing: of B beams `share` B are drawn and lost, with replacement, so fewer
    are; never of the outermost (of 64: 4 to 58 are drawn from)."""
    beams = beams_of(frame.points)
    number = int(beams.max(initial=0)) + 1
    inner = np.arange(number // 16, number * 59 // 64)
    gone = rng.choice(inner, round(share * number)) if len(inner) else inner
    return without_beams(frame, beams, gone)


def cross_sensor(frame: Frame, rng: np.random.Generator, step: float) -> Frame:
    """Robo3D's cross-sensor: beams 1, 1 + step, ... (cut to whole numbers) are lost, and of the
    points left every second one. Nothing is drawn."""
    beams = beams_of(frame.points)
    gone = np.arange(1, beams.max(initial=0) + 1, step).astype(np.int64)
    rest = without_beams(frame, beams, gone)
    return select(rest, np.arange(0, rest.num_points, 2))


def beams_reducing(frame: Frame, rng: np.random.Generator, step: int) -> Frame:
    """MultiCorrupt's beams reducing: only beams 1, 1 + step, ... are left. Nothing is drawn."""
    beams = beams_of(frame.points)
    return select(frame, beams % step == 1)


def points_reducing(frame: Frame, rng: np.random.Generator, share: float) -> Frame:
    """MultiCorrupt's points reducing: `share` of the points, drawn at random, are lost."""
    number = round((1 - share) * frame.num_points)
    return select(frame, np.sort(rng.permutation(frame.num_points)[:number]))


def crosstalk(frame: Frame, rng: np.random.Generator, share: float, full_scale: float) -> Frame:
    """Robo3D's crosstalk: `share` of the points get normal noise of 3 m on x, y and z, and of 3 on
    the intensity as the set has it, 0 to `full_scale`; they say nothing of the scene."""
    rows = rng.choice(frame.num_points, int(share * frame.num_points), replace=False)
    noise = 3.0 * rng.standard_normal((len(rows), 4))
    points, intensity = frame.points.astype(np.float64), frame.intensity.astype(np.float64)
    points[rows] += noise[:, :3]
    intensity[rows] += noise[:, 3] / full_scale
    hit = np.zeros(frame.num_points, bool)
    hit[rows] = True
    return changed(frame, points, intensity, hit)


def motion_blur(
    frame: Frame,
    rng: np.random.Generator,
    deviation: float,
    jitter: tuple[float, float, float] = (0.1, 0.1, 0.05),
) -> Frame:
    """Robo3D's motion blur: the whole cloud is shifted by normal noise of `deviation` metres an
    axis, each point again by `jitter` times that, cut at 3 deviations. MultiCorrupt has other
    `jitter`."""
    shift = deviation * rng.standard_normal(3)
    own = np.clip(rng.standard_normal((frame.num_points, 3)), -3, 3) * deviation * np.array(jitter)
    return changed(frame, frame.points + shift + own)


def incomplete_echo(
    frame: Frame, rng: np.random.Generator, share: float, class_map: ClassMap
) -> Frame:
    """Robo3D's incomplete echo: of every class of vehicles with more than 10 points `share` of its
    points are lost. It looks at the true labels, so it can only be made offline."""
    kept = np.ones(frame.num_points, bool)
    for label, name in enumerate(class_map.names):
        rows = np.flatnonzero(frame.labels == label)
        if name in ECHOING and len(rows) > _FEWEST_ECHOES:
            kept[rng.choice(rows, int(share * len(rows)), replace=False)] = False
    return select(frame, kept)


def spatial_misalignment(
    frame: Frame, rng: np.random.Generator, chance: float, degrees: float
) -> Frame:
    """MultiCorrupt's spatial misalignment: with `chance` the cloud is turned by `degrees` about
    x, y and z each and shifted by 2 m along x, and no calibration knows of it."""
    if rng.random() >= chance:
        return frame
    a = np.radians(degrees)
    c, s = np.cos(a), np.sin(a)
    about_x = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    about_y = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    about_z = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    moved = apply(rigid(about_x @ about_y @ about_z, (2.0, 0.0, 0.0)), frame.points)
    return changed(frame, moved)
