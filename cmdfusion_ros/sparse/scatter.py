"""Between points and voxels: sums, means and maxima of rows that share a target, and the way
back. All with autograd.
"""

import numpy as np
import torch

from cmdfusion_ros.sparse.voxelise import pack_keys


def scatter_sum(values, index, num_rows):
    """Sum the rows of each target.

    Args:
        values: (N, C) float.
        index: (N,) int64, target of each row, in 0..num_rows - 1.
        num_rows: targets; those without a row are zero.

    Returns:
        (num_rows, C), of the same dtype; formed in float32 where that has 16 bits, of which no sum
        of hundreds of rows would be true.
    """
    if values.dtype in (torch.bfloat16, torch.float16):
        return scatter_sum(values.float(), index, num_rows).to(values.dtype)
    return values.new_zeros(num_rows, values.shape[1]).index_add(0, index, values)


def scatter_mean(values, index, num_rows):
    """Mean of the rows of each target; arguments as in `scatter_sum`, targets without a row are
    zero.
    """
    counts = torch.bincount(index, minlength=num_rows).clamp_(min=1).float()
    sums = scatter_sum(
        values.float() if values.dtype in (torch.bfloat16, torch.float16) else values,
        index,
        num_rows,
    )
    return (sums / counts[:, None]).to(values.dtype)


def scatter_max(values, index, num_rows):
    """Largest value of each channel among the rows of each target; arguments as in `scatter_sum`,
    targets without a row are zero.

    Where several rows hold the maximum they share its gradient.
    """
    target = index[:, None].expand_as(values)
    return values.new_zeros(num_rows, values.shape[1]).scatter_reduce(
        0, target, values, "amax", include_self=False
    )


def devoxelise_nearest(voxel_features, point_to_voxel):
    """Features of each point's own voxel: (V, C), (N,) int64 -> (N, C)."""
    return voxel_features.index_select(0, point_to_voxel)


class TrilinearMap:
    """Weights that interpolate features at voxel centres to points.

    A point lies between eight voxel centres; those without a voxel are left out and the rest is
    scaled up to sum to one. A point that has its own voxel always finds that one; a point without
    any of the eight gets zeros.

    Attributes:
        rows: (N, 8) int64, voxel rows.
        weights: (N, 8) float, zero where there is no voxel.
    """

    def __init__(self, cells, frame_index, voxel_coords):
        """
        Args:
            cells: (N, 3) float tensor, points in units of this level's voxel edge (p / (voxel_size
                * stride)).
            frame_index: (N,) int tensor, frame of each point.
            voxel_coords: (V, 4) int32 tensor, sorted, unique.
        """
        keys = pack_keys(voxel_coords.cpu().numpy())
        # centres of voxels fall on whole numbers
        position = cells.detach().cpu().numpy().astype(np.float64) - 0.5
        lowest = np.floor(position)
        fraction = position - lowest
        corner = np.empty((len(cells), 4), np.int64)
        corner[:, 0] = frame_index.cpu().numpy()
        rows, weights = np.zeros((len(cells), 8), np.int64), np.zeros((len(cells), 8))
        for number in range(8):
            step = np.array([number >> 2, (number >> 1) & 1, number & 1])
            corner[:, 1:] = lowest + step
            wanted = pack_keys(corner)
            row = np.searchsorted(keys, wanted)
            found = row < len(keys)
            found[found] = keys[row[found]] == wanted[found]
            rows[found, number] = row[found]
            weights[found, number] = np.where(step == 1, fraction, 1 - fraction).prod(axis=1)[found]
        total = weights.sum(axis=1, keepdims=True)
        weights /= np.where(total > 0, total, 1)
        self.rows = torch.from_numpy(rows).to(cells.device)
        self.weights = torch.from_numpy(weights).to(cells.device, cells.dtype)

    def devoxelise(self, voxel_features):
        """(V, C) -> (N, C)."""
        if len(voxel_features) == 0:
            return voxel_features.new_zeros(len(self.rows), voxel_features.shape[1])
        return torch.nn.functional.embedding_bag(
            self.rows,
            voxel_features,
            mode="sum",
            per_sample_weights=self.weights.to(voxel_features.dtype),
        )
