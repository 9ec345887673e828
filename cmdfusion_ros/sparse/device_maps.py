"""Kernel maps where the voxels are: the same answers as `voxelise` and `neighbours`, in torch, so
that a GPU's coordinates never leave it.

One binary search finds the neighbours of all voxels under all offsets; thousands of searches are in
flight on a GPU, so the tricks that save some on a CPU would only add launches. Works on any device.
"""

import torch

from cmdfusion_ros.sparse.neighbours import Pairs
from cmdfusion_ros.sparse.voxelise import BATCH_STEP, BIAS, X_STEP, Y_STEP, Voxels, check_range


def pack_keys(voxel_coords: torch.Tensor) -> torch.Tensor:
    """(V, 4) int -> (V,) int64; see `voxelise.pack_keys`."""
    if len(voxel_coords):
        lowest, highest = torch.stack([voxel_coords.amin(0), voxel_coords.amax(0)]).tolist()
        for field in range(4):
            check_range(field, lowest[field], highest[field])
    return _pack(voxel_coords)


def _pack(voxel_coords: torch.Tensor) -> torch.Tensor:
    batch, x, y, z = voxel_coords.long().unbind(1)
    return batch * BATCH_STEP + x * X_STEP + y * Y_STEP + z + BIAS


def coarser_voxels(voxel_coords: torch.Tensor, factor: int) -> Voxels:
    """See `voxelise.coarser_voxels`."""
    divisors = torch.tensor(
        [1, factor, factor, factor], dtype=torch.int32, device=voxel_coords.device
    )
    cells = torch.div(voxel_coords, divisors, rounding_mode="floor")
    keys, parents = torch.unique(_pack(cells), return_inverse=True)
    coarse = cells.new_empty(len(keys), 4)
    coarse[parents] = cells  # voxels of one cell all write the same
    return Voxels(coarse, parents)


def submanifold_pairs(keys: torch.Tensor) -> Pairs:
    """See `neighbours.submanifold_pairs`."""
    return _search(keys, keys)


def strided_pairs(keys: torch.Tensor, coarse_coords: torch.Tensor) -> Pairs:
    """See `neighbours.strided_pairs`."""
    return _search(
        keys,
        _pack(
            coarse_coords
            * torch.tensor([1, 2, 2, 2], dtype=torch.int32, device=coarse_coords.device)
        ),
    )


def _search(keys: torch.Tensor, centres: torch.Tensor) -> Pairs:
    """Pairs of a centred 3x3x3 kernel: which of the sorted `keys` (V_in,) lie beside which of
    `centres` (V_out,).
    """
    steps = torch.tensor(
        [
            dx * X_STEP + dy * Y_STEP + dz
            for dx in (-1, 0, 1)
            for dy in (-1, 0, 1)
            for dz in (-1, 0, 1)
        ],
        device=keys.device,
    )
    if len(keys) == 0:
        return _pairs(torch.full((27, len(centres)), -1, device=keys.device))
    wanted = centres + steps[:, None]  # (27, V_out)
    position = torch.searchsorted(keys, wanted).clamp_(max=len(keys) - 1)
    return _pairs(torch.where(keys[position] == wanted, position, -1))


def pooling_pairs(voxel_coords: torch.Tensor, parents: torch.Tensor, factor: int) -> Pairs:
    """See `neighbours.pooling_pairs`."""
    inside = voxel_coords[:, 1:].long() % factor
    numbers = (inside[:, 0] * factor + inside[:, 1]) * factor + inside[:, 2]
    order = torch.argsort(numbers, stable=True)
    return Pairs(order.int(), parents[order].int(), torch.bincount(numbers, minlength=factor**3))


def _pairs(table: torch.Tensor) -> Pairs:
    """(K, V_out) input rows, -1 where there is none -> Pairs."""
    found = table >= 0
    return Pairs(table[found].int(), found.nonzero()[:, 1].int(), found.sum(1))
