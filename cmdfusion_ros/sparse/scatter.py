"""Between points and voxels: sums and means of rows that share a target, with autograd."""

from typing import Any

import torch

from cmdfusion_ros.sparse import native


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
    on_cpu = values.device.type == "cpu" and values.dtype == torch.float32
    if on_cpu and native.kernels() is not None:
        return _CompiledSum.apply(values, index, num_rows)
    return values.new_zeros(num_rows, values.shape[1]).index_add(0, index, values)


class _CompiledSum(torch.autograd.Function):
    """`index_add` in one pass over the rows; torch sorts them first."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, index: torch.Tensor, num_rows: int) -> torch.Tensor:
        if len(index):
            lowest, highest = map(int, index.aminmax())
            if lowest < 0 or highest >= num_rows:
                raise IndexError(
                    f"index: expected 0..{num_rows - 1} for {num_rows} rows, got "
                    f"{lowest}..{highest}"
                )
        ctx.save_for_backward(index)
        kernels = native.kernels()
        assert kernels is not None, "asked for without kernels"
        return kernels.scatter_sum(values.detach(), index, num_rows)

    @staticmethod
    def backward(ctx: Any, grad_output: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (index,) = ctx.saved_tensors
        return grad_output.index_select(0, index), None, None


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
