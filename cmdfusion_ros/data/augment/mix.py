"""Points of several scans in one: pure functions Frame, Frame -> Frame.

Points that come from another scan are seen by no camera of the first (`measured_points` NaN),
belong to no thing of it (instance id 0) and to no row of it (origin -1).
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cmdfusion_ros.frame import Frame
from cmdfusion_ros.geometry.transforms import yaw_rotation
from cmdfusion_ros.intensity import intensity_rank

# what a Frame holds for each point
_OF_POINTS = (
    "points",
    "intensity",
    "intensity_rank",
    "labels",
    "instance_ids",
    "measured_points",
    "origin",
)
_TRIES = 5  # azimuths tried for a thing
_MIN_POINTS = 20  # of a thing that is worth pasting
_MIN_GROUND = 10  # points of ground where it shall stand
_MAX_OCCUPIED = 0.05  # other points in its place, as a fraction of its own


def select(frame: Frame, rows: np.ndarray) -> Frame:
    """The points of `frame` at `rows` (indices or a mask), with all they carry."""
    held = {name: getattr(frame, name) for name in _OF_POINTS}
    held = {name: each for name, each in held.items() if each is not None}
    if isinstance(rows, np.ndarray) and rows.dtype == bool:
        rows = np.flatnonzero(rows)  # numpy takes rows by number twice as fast as by a mask
        return replace(frame, **{name: np.take(each, rows, 0) for name, each in held.items()})
    return replace(frame, **{name: each[rows] for name, each in held.items()})


def join(frame: Frame, added: Frame, keep_instances: bool = False) -> Frame:
    """`frame` and behind its points those of `added`, a Frame in the same coordinates.

    Args:
        keep_instances: instance ids of `added` are those of `frame` (scans of one sequence).

    Raises:
        ValueError: `frame` has labels and `added` has none.
    """
    if frame.labels is not None and added.labels is None:
        raise ValueError(
            f"frame {frame.name}: has labels, {added.name or 'what is added to it'} has none"
        )
    number = added.num_points
    values = {
        name: np.concatenate([getattr(frame, name), getattr(added, name)])
        for name in ("points", "intensity")
    }
    if frame.intensity_rank is not None:
        ranks = added.intensity_rank
        ranks = intensity_rank(added.intensity) if ranks is None else ranks
        values["intensity_rank"] = np.concatenate([frame.intensity_rank, ranks])
    if frame.labels is not None:
        values["labels"] = np.concatenate([frame.labels, added.labels])
    if frame.instance_ids is not None:
        known = keep_instances and added.instance_ids is not None
        values["instance_ids"] = np.concatenate(
            [frame.instance_ids, added.instance_ids if known else np.zeros(number, np.uint16)]
        )
    if frame.views:
        measured = frame.points if frame.measured_points is None else frame.measured_points
        values["measured_points"] = np.concatenate(
            [measured, np.full((number, 3), np.nan, np.float32)]
        )
    if frame.origin is not None:
        values["origin"] = np.concatenate([frame.origin, np.full(number, -1, np.int32)])
    return replace(frame, **values)


def laser_mix(frame: Frame, other: Frame, num_bands: int, rng: np.random.Generator) -> Frame:
    """Bands of elevation, in turn of one scan and of the other (LaserMix, Kong et al., CVPR 2023).

    Args:
        num_bands: bands of equal width between the lowest and highest elevation of both scans.
    """
    elevations = [
        np.arctan2(each.points[:, 2], np.hypot(each.points[:, 0], each.points[:, 1]))
        for each in (frame, other)
    ]
    everything = np.concatenate(elevations)
    if not len(everything):
        return frame
    edges = np.linspace(everything.min(), everything.max(), num_bands + 1)[1:-1]
    first = int(rng.integers(2))
    ours, theirs = (
        np.searchsorted(edges, elevation, side="right") % 2 == parity
        for elevation, parity in zip(elevations, (first, 1 - first), strict=True)
    )
    return join(select(frame, ours), select(other, theirs))


def polar_mix(frame: Frame, other: Frame, start: float, width: float) -> Frame:
    """The `width` radians of azimuth counter-clockwise from `start` come from the other scan
    (scene-level swap of PolarMix, Xiao et al., NeurIPS 2022).

    Its other half, turned copies of rare things, is `augment.paste_turned`.
    """
    ours, theirs = (
        (np.arctan2(each.points[:, 1], each.points[:, 0]) - start) % (2 * np.pi) < width
        for each in (frame, other)
    )
    return join(select(frame, ~ours), select(other, theirs))


def paste_instances(
    frame: Frame,
    other: Frame,
    labels: Sequence[int],
    ground_labels: Sequence[int],
    most: int,
    rng: np.random.Generator,
) -> Frame:
    """Put whole things of another scan onto the ground of this one (after U2MKD's and CMDFusion's
    instance paste).

    A thing is turned about the sensor, so that it keeps its distance and with it the density of its
    points, and is lifted to the ground it comes to stand on. It needs _MIN_GROUND points of an
    allowed ground under it and may meet other points in at most _MAX_OCCUPIED of its own number.

    Args:
        other: a Frame with instance ids.
        labels: classes of things to take. ground_labels: classes they may stand on.
        most: how many are placed at most; each has _TRIES azimuths.
    """
    if other.instance_ids is None:
        raise ValueError(
            f"frame {other.name}: has no instance ids to take things by; leave `instances` at 0 "
            "for this data set"
        )
    things = _things(other, labels)
    for number in rng.permutation(len(things))[:most]:
        thing = select(other, things[number])
        for angle in rng.uniform(-np.pi, np.pi, _TRIES):
            placed = _placed(thing, frame, angle, ground_labels)
            if placed is not None:
                frame = join(frame, placed)
                break
    return frame


def _things(frame, labels):
    """Rows of each thing of one of `labels` that has enough points."""
    keys = frame.labels.astype(np.int64) * 65536 + frame.instance_ids
    wanted = np.isin(frame.labels, labels) & (frame.instance_ids > 0)
    return [
        rows
        for key in np.unique(keys[wanted])
        if len(rows := np.flatnonzero(keys == key)) >= _MIN_POINTS
    ]


def _placed(thing, frame, angle, ground_labels):
    """`thing` turned by `angle` and put on the ground of `frame`; None where it cannot stand."""
    points = thing.points @ yaw_rotation(angle).T.astype(np.float32)
    low, high = points[:, :2].min(0) - 0.3, points[:, :2].max(0) + 0.3
    inside = ((frame.points[:, :2] >= low) & (frame.points[:, :2] <= high)).all(1)
    is_ground = np.isin(frame.labels, ground_labels)
    ground = frame.points[inside & is_ground, 2]
    if len(ground) < _MIN_GROUND or np.count_nonzero(inside & ~is_ground) > _MAX_OCCUPIED * len(
        points
    ):
        return None
    points[:, 2] += np.median(ground) - points[:, 2].min()
    return replace(thing, points=points)
