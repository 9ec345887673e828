"""What a network is shown of a labelled scan: the scan alone, several sweeps, or the scan with its
hard things completed from earlier scans.

A view puts added points behind those of the scan, so `origin` tells the clouds of one scan apart
and together.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cmdfusion_ros.class_map import ClassMap
from cmdfusion_ros.config import SettingsError, check_settings, setting
from cmdfusion_ros.data.augment.mix import join, select
from cmdfusion_ros.frame import IGNORE_LABEL, Frame
from cmdfusion_ros.geometry.transforms import apply, invert, rigid, yaw_rotation

OWN_VEHICLE = 1.0  # metres; nearer points of another sweep are the vehicle that carries the sensor
MAX_GAP = 0.3  # metres, see `fuse_instances`
MAX_TURN = np.radians(20.0)
MAX_SHIFT = 0.8  # metres
_ICP_STEPS = 20
_MAX_COMPARED = 400  # points of a thing that alignment looks at; more make it slow, not better


@dataclass(frozen=True)
class ViewSettings:
    """Which points a network is shown."""

    kind: str = setting(
        "single",
        "single: the scan; multi_sweep: with other sweeps, unlabelled; instance_fused: with "
        "things of earlier scans",
        choices=("single", "multi_sweep", "instance_fused"),
    )
    previous: int = setting(0, "earlier scans that points are taken from", minimum=0, maximum=20)
    following: int = setting(0, "later scans that points are taken from", minimum=0, maximum=20)
    classes: tuple[str, ...] = setting((), "classes of the things that instance_fused completes")
    align: str = setting(
        "icp", "how earlier points of a thing are laid onto it", choices=("pose", "centroid", "icp")
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if (self.kind == "single") != (not self.offsets):
            raise SettingsError(
                f"view: kind {self.kind} with {self.previous} previous and {self.following} "
                "following scans: only single takes none"
            )
        if (self.kind == "instance_fused") != bool(self.classes):
            raise SettingsError(
                f"view: kind {self.kind} with classes {list(self.classes)}: instance_fused needs "
                "some, others take none"
            )

    @property
    def offsets(self) -> tuple[int, ...]:
        """Numbers of the other scans relative to the scan, nearest first."""
        return (*range(-1, -1 - self.previous, -1), *range(1, 1 + self.following))

    def apply(self, frame: Frame, others: Sequence[Frame], class_map: ClassMap) -> Frame:
        """The Frame that is shown of `frame`, with `others`, Frames of the same sequence that
        have labels and poses.
        """
        if self.kind == "single":
            return frame
        if self.kind == "multi_sweep":
            return add_sweeps(frame, others)
        return fuse_instances(
            frame, others, [class_map.label(name) for name in self.classes], self.align
        )


def add_sweeps(frame: Frame, others: Sequence[Frame]) -> Frame:
    """`frame` with the points of other sweeps, moved by the poses to where they lie seen from it,
    without labels.

    Raises:
        ValueError: a scan has no pose.
    """
    for other in others:
        moved = apply(_frame_from_other(frame, other), other.points)
        sweep = replace(other, points=moved, labels=np.full(len(moved), IGNORE_LABEL, np.uint8))
        near = (np.abs(other.points[:, :2]) < OWN_VEHICLE).all(1)
        frame = join(frame, select(sweep, ~near))
    return frame


def _frame_from_other(frame, other):
    for each in (frame, other):
        if each.world_from_lidar is None:
            raise ValueError(
                f"frame {each.name}: has no pose, which sweeps are joined by; read the set with "
                "poses, or take the view single"
            )
    return invert(frame.world_from_lidar) @ other.world_from_lidar


def fuse_instances(
    frame: Frame, others: Sequence[Frame], labels: Sequence[int], align: str
) -> Frame:
    """`frame` with the points that its things had in other scans, laid onto them (M2SKD's fusion
    of hard classes over scans).

    A thing is what shares label and instance id within a sequence. Its earlier points are first
    moved by the poses of the sensor, where both scans have one, and then as `align` says: "pose"
    not at all (right for things that stand), "centroid" so that the means agree, "icp" from there
    by steps of nearest points, free in x, y, z and yaw.

    Acceptance: half of the points laid down must lie within MAX_GAP of a point of the thing in
    `frame`. ICP may also turn by no more than MAX_TURN and move by no more than MAX_SHIFT from
    where the means agree; where it fails, the means are tried. What passes no test is left out.

    Args:
        others: Frames with labels and instance ids, of the same sequence.
        labels: classes of the things to complete.

    Raises:
        ValueError: a scan has no instance ids.
    """
    for each in (frame, *others):
        if each.instance_ids is None:
            raise ValueError(
                f"frame {each.name}: has no instance ids, by which things are completed; take a "
                "data set that has, or the view single"
            )
    keys = _keys(frame, labels)
    for other in others:
        other_keys = _keys(other, labels)
        start = (
            None
            if frame.world_from_lidar is None or other.world_from_lidar is None
            else _frame_from_other(frame, other)
        )
        for key in np.intersect1d(keys[keys >= 0], other_keys):
            thing = select(other, other_keys == key)
            points = thing.points if start is None else apply(start, thing.points)
            placed = align_thing(points, frame.points[: len(keys)][keys == key], align)
            if placed is not None:
                frame = join(frame, replace(thing, points=placed), keep_instances=True)
    return frame


def _keys(frame, labels):
    """(N,) int64, one number a thing of `labels`, -1 for other points."""
    wanted = np.isin(frame.labels, labels) & (frame.instance_ids > 0)
    return np.where(wanted, frame.labels.astype(np.int64) * 65536 + frame.instance_ids, -1)


def align_thing(source: np.ndarray, target: np.ndarray, align: str) -> np.ndarray | None:
    """Lay (S, 3) earlier points of a thing onto its (T, 3) points: (S, 3) float32, or None where
    the acceptance test fails (see `fuse_instances`).
    """
    if align == "pose":
        return source if _gap(source, target) <= MAX_GAP else None
    centred = source + (target.mean(0) - source.mean(0))
    if align == "icp":
        moved, turn, offset = _icp(centred, target)
        if (
            abs(turn) <= MAX_TURN
            and np.linalg.norm(offset) <= MAX_SHIFT
            and _gap(moved, target) <= MAX_GAP
        ):
            return moved
    return centred if _gap(centred, target) <= MAX_GAP else None


def _gap(source, target):
    """Median distance of points to the nearest point of the thing."""
    return float(np.median(_nearest(_some(source), _some(target))[1]))


def _some(points):
    """At most _MAX_COMPARED of some points, evenly through their order."""
    return (
        points
        if len(points) <= _MAX_COMPARED
        else points[np.linspace(0, len(points) - 1, _MAX_COMPARED).astype(np.int64)]
    )


def _nearest(source, target):
    """(S,) row of the nearest of `target` for each of `source`, and its distance."""
    squares = ((source[:, None].astype(np.float64) - target[None]) ** 2).sum(2)
    rows = squares.argmin(1)
    return rows, np.sqrt(squares[np.arange(len(source)), rows])


def _icp(source, target):
    """Iterative closest points with yaw and shift, trimmed to the nearer 70 % of pairs.

    Returns:
        the moved points, the angle turned about the mean of `source`, and how far that mean moved.
    """
    centre = source.mean(0).astype(np.float64)
    compared, candidates = _some(source) - centre, _some(target) - centre
    moved_from_source = np.eye(4)
    for _ in range(_ICP_STEPS):
        points = apply(moved_from_source, compared.astype(np.float64))
        rows, distances = _nearest(points, candidates)
        kept = distances <= np.quantile(distances, 0.7)
        a, b = points[kept], candidates[rows[kept]]
        da, db = a - a.mean(0), b - b.mean(0)
        turn = np.arctan2(
            (da[:, 0] * db[:, 1] - da[:, 1] * db[:, 0]).sum(), (da[:, :2] * db[:, :2]).sum()
        )
        rotation = yaw_rotation(turn)
        offset = b.mean(0) - rotation @ a.mean(0)
        moved_from_source = rigid(rotation, offset) @ moved_from_source
        if abs(turn) < 1e-4 and np.linalg.norm(offset) < 1e-4:
            break
    moved = (apply(moved_from_source, source.astype(np.float64) - centre) + centre).astype(
        np.float32
    )
    total = np.arctan2(moved_from_source[1, 0], moved_from_source[0, 0])
    return moved, float(total), moved_from_source[:3, 3]
