"""Labels carried through a drive: a point that no camera sees now was or will be seen."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from cmdfusion_ros.adaptation.settings import LessonSettings
from cmdfusion_ros.class_map import ClassMap
from cmdfusion_ros.frame import IGNORE_LABEL, Frame
from cmdfusion_ros.geometry.transforms import apply, invert
from cmdfusion_ros.geometry.voxel_map import VoxelMap, VoxelSums, voxel_keys

_PRIOR = 0.05  # votes for each class before anyone voted: one vote alone carries nothing
_SURE_RANGE = 15.0  # metres; a vote from further off counts less, as an error of angle grows


@dataclass(frozen=True, eq=False)
class CarriedLabels:
    """What the cubes of a drive are, and how to ask them.

    Attributes:
        world_from_first: pose of the first scan: the map's origin, whatever the poses count from.
    """

    sums: VoxelSums
    world_from_first: np.ndarray
    labels: np.ndarray  # (V,) uint8, IGNORE_LABEL where nothing is carried
    voxel_size: float

    def of(self, frame: Frame) -> np.ndarray:
        """(N,) uint8, the class of the cube that each point of a Frame with a pose lies in."""
        if not len(self.labels):
            return np.full(frame.num_points, IGNORE_LABEL, np.uint8)
        keys = voxel_keys(_placed(frame, self.world_from_first), self.voxel_size)
        rows, known = self.sums.rows_of(keys)
        return np.where(known, self.labels[rows], IGNORE_LABEL).astype(np.uint8)


def carry_labels(
    scans: Iterable[tuple[Frame, np.ndarray, np.ndarray]],
    class_map: ClassMap,
    settings: LessonSettings,
    done: Callable[[int], None] = lambda count: None,
) -> CarriedLabels:
    """The CarriedLabels of scans: (Frame with pose, (N,) labels, (N,) confidence) each.

    Each cube counts votes by class. A class is carried where its posterior is sure enough. What can
    move (the things of the class map) is carried only where it stood: where its cube was voted for
    throughout `settings.standing` seconds.
    """
    votes, world_from_first = None, np.eye(4)
    for frame, labels, confidence in scans:
        if votes is None:
            votes, world_from_first = (
                VoxelMap(settings.voxel_size, class_map.num_classes),
                _pose(frame),
            )
        known = labels != IGNORE_LABEL
        distance = np.linalg.norm(frame.points[known], axis=1)
        weights = confidence[known] * np.minimum(1.0, _SURE_RANGE / np.maximum(distance, 1e-3))
        votes.add(
            _placed(frame, world_from_first)[known],
            frame.intensity[known],
            labels[known],
            weights,
            frame.stamp,
        )
        done(1)
    votes = votes or VoxelMap(settings.voxel_size, class_map.num_classes)
    sums = votes.sums()
    best, share = sums.posterior(_PRIOR)
    stood = (sums.last - sums.first) >= settings.standing * 1e9
    carried = (share >= settings.carried_share) & (~np.isin(best, class_map.thing_labels) | stood)
    labels = np.where(carried, best, IGNORE_LABEL).astype(np.uint8)
    return CarriedLabels(sums, world_from_first, labels, settings.voxel_size)


def join_labels(direct: np.ndarray, carried: np.ndarray, class_map: ClassMap) -> np.ndarray:
    """(N,) uint8: what the teacher says of a point now and what its cube is, as one label.

    What can move is believed at its own time. Else the cube goes before, as it heard more votes;
    where it is silent the teacher's word of now stands.
    """
    moving = np.isin(direct, class_map.thing_labels)
    return np.where(moving | (carried == IGNORE_LABEL), direct, carried).astype(np.uint8)


def _pose(frame: Frame) -> np.ndarray:
    if frame.world_from_lidar is None:
        raise ValueError(f"frame {frame.name}: has no pose, by which labels are carried")
    return frame.world_from_lidar


def _placed(frame: Frame, world_from_first: np.ndarray) -> np.ndarray:
    """(N, 3) float64, the points in the frame of the first scan."""
    return apply(invert(world_from_first) @ _pose(frame), frame.points.astype(np.float64))
