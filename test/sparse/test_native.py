"""The compiled kernels: every width and instruction set, maps, and what is said where they are
missing.
"""

import ctypes
import shutil
import subprocess

import numpy as np
import pytest
import torch

from cmdfusion_ros.sparse import native, neighbours
from cmdfusion_ros.sparse.conv import gather_multiply_sum
from cmdfusion_ros.sparse.cpu import FoldedConv
from cmdfusion_ros.sparse.tensor import KernelMaps, make_bags
from cmdfusion_ros.sparse.voxelise import pack_keys, unique_voxels
from cmdfusion_ros.sparse.workers import Workers

needs_kernels = pytest.mark.skipif(
    native.kernels() is None, reason=f"no compiled kernels: {native.why_not()}"
)


def voxels(spread, number=1500):
    """Sorted unique voxels of two frames around the origin, (V, 4) int32."""
    generator = np.random.default_rng(0)
    return unique_voxels(
        [generator.integers(0, 2, number), *generator.integers(-spread, spread, (3, number))]
    ).voxel_coords


def instruction_sets():
    """Those that this CPU has."""
    best = native.kernels()
    return (
        native.INSTRUCTION_SETS[: native.INSTRUCTION_SETS.index(best.instruction_set) + 1]
        if best
        else ["plain"]
    )


@needs_kernels
@pytest.mark.parametrize("instruction_set", instruction_sets())
@pytest.mark.parametrize("out_channels", [1, 7, 8, 12, 16, 19, 32, 40, 48, 64, 96, 100])
def test_every_width_equals_the_reference(instruction_set, out_channels):
    in_channels = 300 if out_channels == 40 else 5  # 300: more than one panel of weights holds
    kernel_map = KernelMaps({1: torch.from_numpy(voxels(6))}).submanifold(1, 3)
    generator = torch.Generator().manual_seed(out_channels)
    features, skip, bias, weight, skip_weight = (
        torch.randn(*shape, generator=generator)
        for shape in (
            (kernel_map.num_in, in_channels),
            (kernel_map.num_out, 9),
            (out_channels,),
            (27, in_channels, out_channels),
            (9, out_channels),
        )
    )
    expected = torch.nn.functional.leaky_relu(
        gather_multiply_sum(features, weight, kernel_map) + bias + skip @ skip_weight, 0.1
    )
    result = native.kernels().convolve(
        Workers(1),
        FoldedConv(weight, bias),
        features,
        kernel_map,
        (skip, skip_weight),
        0.1,
        instruction_set,
    )
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-4 * in_channels**0.5)


@needs_kernels
@pytest.mark.parametrize("spread", [4, 12, 200])
def test_pairs_equal_those_of_numpy(spread):
    keys = pack_keys(voxels(spread))
    for ours, expected in zip(
        native.kernels().submanifold_pairs(keys), neighbours.submanifold_pairs(keys), strict=True
    ):
        np.testing.assert_array_equal(ours, expected)


@needs_kernels
@pytest.mark.parametrize(
    "coords",
    [
        np.zeros((0, 4)),
        np.zeros((1, 4)),
        np.array([[0, 0, 0, 0], [0, 0, 0, 1]]),
        np.array([[0, 5, 0, 0], [0, 6, -1, 1]]),
    ],
)
def test_pairs_of_very_few_voxels_equal_those_of_numpy(coords):
    keys = pack_keys(coords.astype(np.int32))
    for ours, expected in zip(
        native.kernels().submanifold_pairs(keys), neighbours.submanifold_pairs(keys), strict=True
    ):
        np.testing.assert_array_equal(ours, expected)


@needs_kernels
@pytest.mark.parametrize(("num_rows", "num_targets"), [(1000, 37), (5, 40), (0, 3), (0, 0)])
def test_rows_are_grouped_as_without_compiled_kernels(num_rows, num_targets):
    targets = torch.randint(
        0, max(num_targets, 1), (num_rows,), generator=torch.Generator().manual_seed(0)
    )
    ours = make_bags(targets, num_targets)
    with native.switched_off():
        expected = make_bags(targets, num_targets)
    for name in ("order", "starts", "counts"):
        assert torch.equal(getattr(ours, name), getattr(expected, name)), name


@needs_kernels
def test_features_that_are_a_view_are_read_as_they_are():
    kernel_map = KernelMaps({1: torch.from_numpy(voxels(6))}).submanifold(1, 3)
    generator = torch.Generator().manual_seed(0)
    wide, weight = (
        torch.randn(kernel_map.num_in, 20, generator=generator),
        torch.randn(27, 10, 16, generator=generator),
    )
    result = native.kernels().convolve(
        Workers(1), FoldedConv(weight, torch.zeros(16)), wide[:, ::2], kernel_map, None, None
    )
    torch.testing.assert_close(
        result,
        gather_multiply_sum(wide[:, ::2].contiguous(), weight, kernel_map),
        rtol=1e-4,
        atol=1e-4,
    )


def test_switched_off_means_there_are_none():
    with native.switched_off():
        assert native.kernels() is None and native.why_not() == "switched off"


def test_a_build_that_is_missing_or_not_ours_is_named(tmp_path):
    load = native._load.__wrapped__
    assert load(tmp_path) == (
        None,
        "not built: no C++ compiler was found when the package was installed",
    )
    (tmp_path / "_native.so").write_bytes(b"not a library")
    kernels, reason = load(tmp_path)
    assert kernels is None and reason.startswith("_native.so cannot be loaded: ")


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_a_build_from_other_sources_is_not_used(tmp_path):
    (tmp_path / "other.c").write_text("int cmdfusion_version(void) { return 0; }")
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-o", tmp_path / "_native.so", tmp_path / "other.c"], check=True
    )
    assert native._load.__wrapped__(tmp_path) == (
        None,
        f"_native.so is of version 0, expected {native.VERSION}; install the package again",
    )


def test_the_layer_has_the_size_that_the_compiler_gives_it():
    pointers, integers = 11, 7
    assert ctypes.sizeof(native._Layer) == 8 * (pointers + integers + 1)  # the float is padded
