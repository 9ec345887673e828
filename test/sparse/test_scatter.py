"""Sums and means of rows that share a target."""

import pytest
import torch

from cmdfusion_ros.sparse import native
from cmdfusion_ros.sparse.scatter import scatter_mean, scatter_sum

VALUES = torch.tensor([[1.0, -5.0], [3.0, -1.0], [10.0, 4.0]])
INDEX = torch.tensor([2, 2, 0])


def test_sum_and_mean_by_hand():
    assert scatter_sum(VALUES, INDEX, 3).tolist() == [[10, 4], [0, 0], [4, -6]]
    assert scatter_mean(VALUES, INDEX, 3).tolist() == [[10, 4], [0, 0], [2, -3]]


def test_gradients_equal_finite_differences():
    values = torch.randn(
        6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    ).requires_grad_()
    index = torch.tensor([0, 3, 3, 1, 0, 3])
    for operation in (scatter_sum, scatter_mean):
        assert torch.autograd.gradcheck(
            lambda x, operation=operation: operation(x, index, 5), values
        )


@pytest.mark.parametrize("width", [1, 3, 4, 17, 32])
def test_float32_has_the_sums_and_gradients_of_torch(width):
    generator = torch.Generator().manual_seed(width)
    index = torch.randint(0, 40, (700,), generator=generator)
    values = torch.randn(width, 700, generator=generator).T.requires_grad_()  # a view
    along = torch.randn(45, width, generator=generator)
    ours = scatter_sum(values, index, 45)
    expected = torch.zeros(45, width).index_add(0, index, values)
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)
    gradients = [torch.autograd.grad((sums * along).sum(), values) for sums in (ours, expected)]
    torch.testing.assert_close(*gradients)


@pytest.mark.skipif(native.kernels() is None, reason=f"no compiled kernels: {native.why_not()}")
def test_a_target_that_is_not_there_is_named():
    with pytest.raises(IndexError, match=r"expected 0\.\.1 for 2 rows, got 0\.\.2"):
        scatter_sum(VALUES, INDEX, 2)


def test_no_rows_give_zeros():
    nothing, nowhere = torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)
    for operation in (scatter_sum, scatter_mean):
        assert operation(nothing, nowhere, 2).tolist() == [[0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sums_and_means_of_many_rows_are_true_in_16_bits(dtype):
    values, index = torch.full((5000, 2), 3.0, dtype=dtype), torch.zeros(5000, dtype=torch.int64)
    assert scatter_sum(values, index, 1).tolist() == [[torch.tensor(15000.0).to(dtype).item()] * 2]
    assert scatter_mean(values, index, 2).tolist() == [[3.0, 3.0], [0.0, 0.0]]
