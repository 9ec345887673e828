"""Which points lie beside a point that is called a person or a two-wheeler: feet that the network
takes for the road.
"""

import numpy as np

from cmdfusion_ros.class_map import ClassMap
from cmdfusion_ros.geometry.voxel_map import neighbour_keys, voxel_keys

# of the class maps that ship; `street` has the first two
NAMES = (
    "person",
    "two_wheeler",
    "pedestrian",
    "bicyclist",
    "motorcyclist",
    "bicycle",
    "motorcycle",
)
_CELL = 0.3  # metres; all within it are beside, some within two


def labels_of_people(class_map: ClassMap) -> np.ndarray:
    """(256,) bool: which labels are those of people or of what they ride."""
    people = np.zeros(256, bool)
    people[[class_map.label(name) for name in NAMES if name in class_map.names]] = True
    return people


def beside_people(points: np.ndarray, are_people: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """(N,) bool: which of the `asked` points lie beside one that `are_people`.

    Args:
        points: (N, 3) metres, in any frame. are_people, asked: (N,) bool.
    """
    beside = np.zeros(len(points), bool)
    if not (are_people.any() and asked.any()):
        return beside
    near = neighbour_keys(voxel_keys(points[are_people], _CELL))
    beside[asked] = np.isin(voxel_keys(points[asked], _CELL), near)
    return beside
