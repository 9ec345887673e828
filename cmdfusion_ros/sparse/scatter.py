"""Between points and voxels: sums and means of rows that share a target, with autograd."""

import torch


def scatter_sum(values: torch.Tensor, index: torch.Tensor, num_rows: int) -> torch.Tensor:
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


def scatter_mean(values: torch.Tensor, index: torch.Tensor, num_rows: int) -> torch.Tensor:
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
