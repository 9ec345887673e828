"""The fast CPU path against the reference, on torch alone and with the compiled kernels."""

import threading
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch

from cmdfusion_ros.sparse import cpu, native
from cmdfusion_ros.sparse.conv import StridedConv, SubmanifoldConv, TransposedConv
from cmdfusion_ros.sparse.tensor import SparseTensor
from cmdfusion_ros.sparse.voxelise import unique_voxels
from cmdfusion_ros.sparse.workers import Workers


@pytest.fixture(scope="module", params=[1, 2])
def workers(request):
    workers = Workers(request.param)
    yield workers
    workers.close()


@pytest.fixture(autouse=True, params=["torch alone", "compiled"])
def kernels(request):
    """Every test runs both ways."""
    if request.param == "compiled" and native.kernels() is None:
        pytest.skip(f"no compiled kernels: {native.why_not()}")
    with nullcontext() if request.param == "compiled" else native.switched_off():
        yield native.kernels()


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks so small that the test clouds have many."""
    monkeypatch.setattr(native, "BLOCK_ROWS", 100)
    monkeypatch.setattr(cpu, "MIN_BLOCK_PAIRS", 64)
    monkeypatch.setattr(cpu, "BLOCK_PAIRS", 500)
    monkeypatch.setattr(cpu, "MAX_PADDING", 3)  # so that groups of one and of several offsets occur


def random_tensor(channels, num_voxels=2000, seed=0):
    """Voxels of a crowded corner and a thin far one, in two frames."""
    generator = np.random.default_rng(seed)
    coords = generator.integers(-6, 7, (num_voxels, 4)) * np.where(
        generator.random((num_voxels, 1)) < 0.1, 5, 1
    )
    coords[:, 0] = generator.integers(0, 2, num_voxels)
    coords = unique_voxels(coords.T).voxel_coords
    features = torch.randn(len(coords), channels, generator=torch.Generator().manual_seed(seed))
    return SparseTensor(features, torch.from_numpy(coords))


def kernel_map_of(conv, tensor):
    if isinstance(conv, SubmanifoldConv):
        return tensor.maps.submanifold(tensor.stride, conv.kernel_size)
    if isinstance(conv, StridedConv):
        return tensor.maps.strided(tensor.stride, 2, conv.kernel_size)
    return tensor.maps.strided(tensor.stride // 2, 2, conv.kernel_size).transposed


@pytest.mark.parametrize(
    "conv",
    [
        SubmanifoldConv(8, 16),
        SubmanifoldConv(8, 5, 1, bias=True),
        SubmanifoldConv(8, 7, bias=True),
        StridedConv(8, 4),
        StridedConv(8, 4, 3, bias=True),
        TransposedConv(8, 16, bias=True),
        TransposedConv(8, 3, 3),
    ],
    ids=lambda conv: f"{type(conv).__name__} {conv.kernel_size}",
)
def test_every_kind_of_convolution_equals_the_reference(conv, workers):
    tensor = random_tensor(8)
    if isinstance(conv, TransposedConv):
        tensor = StridedConv(8, 8)(tensor)
    if conv.bias is not None:
        torch.nn.init.normal_(conv.bias)
    with torch.inference_mode():
        expected = conv(tensor).features
        result = cpu.convolve(workers, cpu.fold(conv), tensor.features, kernel_map_of(conv, tensor))
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-5)


def test_a_residual_block_in_two_calls_equals_the_layers_one_by_one(workers):
    torch.manual_seed(0)
    first, second, skip = SubmanifoldConv(8, 8), SubmanifoldConv(8, 8), SubmanifoldConv(8, 8, 1)
    norms = [torch.nn.BatchNorm1d(8).eval() for _ in range(3)]
    for norm in norms:
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.normal_(norm.bias)
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    x = random_tensor(8)
    leaky = torch.nn.LeakyReLU(0.1)
    with torch.inference_mode():
        inner = x.with_features(leaky(norms[0](first(x).features)))
        expected = leaky(norms[1](second(inner).features) + norms[2](skip(x).features))
        kernel_map = x.maps.submanifold(1, 3)
        folded_skip = cpu.fold(skip, norms[2])
        folded = cpu.fold(second, norms[1])
        folded = replace(folded, bias=folded.bias + folded_skip.bias)
        hidden = cpu.convolve(workers, cpu.fold(first, norms[0]), x.features, kernel_map, slope=0.1)
        result = cpu.convolve(
            workers, folded, hidden, kernel_map, skip=(x.features, folded_skip.weight[0]), slope=0.1
        )
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-4)


def test_a_skip_connection_without_weight_adds_the_features_themselves(workers):
    x, conv = random_tensor(8), SubmanifoldConv(8, 8)
    with torch.inference_mode():
        result = cpu.convolve(
            workers, cpu.fold(conv), x.features, x.maps.submanifold(1, 3), skip=(x.features, None)
        )
        torch.testing.assert_close(result, conv(x).features + x.features, rtol=1e-5, atol=1e-5)


def test_results_repeat_bit_by_bit_whatever_the_number_of_threads(kernels):
    tensor, conv = random_tensor(8), cpu.fold(SubmanifoldConv(8, 8))
    one, three = Workers(1), Workers(3)
    with torch.inference_mode():
        results = [
            cpu.convolve(workers, conv, tensor.features, tensor.maps.submanifold(1, 3))
            for workers in (one, three, three)
        ]
    three.close()
    # torch alone: other blocks, so other shapes of matrix products
    torch.testing.assert_close(results[0], results[1], rtol=1e-5, atol=1e-5)
    assert kernels is None or torch.equal(results[0], results[1])
    assert torch.equal(results[1], results[2])


def test_two_threads_may_convolve_at_once(workers):
    inputs = [random_tensor(8, seed=seed) for seed in range(4)]
    conv = SubmanifoldConv(8, 8)
    with torch.inference_mode():
        expected = [conv(tensor).features for tensor in inputs]
    results = [None] * 4

    def work(i):
        with torch.inference_mode():
            for _ in range(10):
                results[i] = cpu.convolve(
                    workers, cpu.fold(conv), inputs[i].features, inputs[i].maps.submanifold(1, 3)
                )

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result, wanted in zip(results, expected, strict=True):
        torch.testing.assert_close(result, wanted, rtol=1e-5, atol=1e-5)


def test_no_voxels_give_no_rows(workers):
    empty = SparseTensor(torch.zeros(0, 8), torch.zeros(0, 4, dtype=torch.int32))
    with torch.inference_mode():
        assert cpu.convolve(
            workers,
            cpu.fold(SubmanifoldConv(8, 4)),
            empty.features,
            empty.maps.submanifold(1, 3),
            slope=0.1,
        ).shape == (0, 4)


def test_blocks_of_rows_cover_all_rows_once():
    for num_rows, num_threads in ((0, 2), (5, 4), (3000, 2), (100_000, 3)):
        bounds = cpu.row_blocks(num_rows, num_threads)
        assert bounds[0][0] == 0 and bounds[-1][1] == num_rows
        assert all(end == start for (_, end), (start, _) in zip(bounds, bounds[1:], strict=False))
        assert max(end - start for start, end in bounds) <= cpu.BLOCK_ROWS
