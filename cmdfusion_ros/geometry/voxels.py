"""The voxel grid of a network: sizes only. Which point lies in which voxel is worked out in
`batch.py`.
"""

from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class VoxelGrid:
    """Nested cubes with a corner at the LiDAR origin; the voxel of a point at stride s is floor(p /
    (voxel_size * s)).

    The grid has no end: every finite point has a voxel.

    Attributes:
        voxel_size: edge of the finest voxel, metres.
        strides: edges of all scales in finest voxels, ascending, first 1, each a multiple of the
            one before.
    """

    voxel_size: float
    strides: tuple

    def __post_init__(self) -> None:
        if not self.voxel_size > 0:
            raise ValueError(f"voxel_size: expected more than 0 m, got {self.voxel_size}")
        if (
            not self.strides
            or self.strides[0] != 1
            or any(b <= a or b % a for a, b in pairwise(self.strides))
        ):
            raise ValueError(
                f"strides: expected 1 first, then growing multiples, got {self.strides}"
            )
