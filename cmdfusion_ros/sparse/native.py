"""The compiled kernels of `native*.cpp`, where installing found a C++ compiler. Without them
everything works, on torch and numpy alone, at about half the speed.

They are called through ctypes, which lets other Python threads run meanwhile. They keep no state,
so any number of threads may call them.
"""

import ctypes
import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cmdfusion_ros.sparse.neighbours import X_STEP, Y_STEP, Pairs, join_with_mirrors
from cmdfusion_ros.sparse.workers import Workers

VERSION = 4  # of what native*.cpp expect to be given
INSTRUCTION_SETS = ("plain", "AVX2", "AVX-512")
# output rows that stay in the second-level cache while all offsets are added to them
BLOCK_ROWS = 1024
COPIED_PAIRS = 128  # CHUNK of native_training.cpp
COLUMN_STEPS = np.array([Y_STEP, X_STEP - Y_STEP, X_STEP, X_STEP + Y_STEP], np.int64)

_off = 0  # how many `switched_off` are open


class _Layer(ctypes.Structure):
    """`Layer` of native.cpp."""

    _fields_ = [
        *(
            (name, ctypes.c_void_p)
            for name in (
                "features",
                "weight",
                "bias",
                "skip",
                "skip_weight",
                "in_rows",
                "out_rows",
                "cuts",
                "out",
                "half_features",
                "half_weight",
            )
        ),
        *(
            (name, ctypes.c_int64)
            for name in (
                "offsets",
                "centre",
                "in_channels",
                "out_channels",
                "skip_channels",
                "num_out",
                "block_rows",
            )
        ),
        ("slope", ctypes.c_float),
    ]


class _Gradient(ctypes.Structure):
    """`Gradient` of native_training.cpp."""

    _fields_ = [
        *(
            (name, ctypes.c_void_p)
            for name in ("features", "grad_output", "in_rows", "out_rows", "cuts", "grad_weight")
        ),
        *((name, ctypes.c_int64) for name in ("offsets", "blocks", "in_channels", "out_channels")),
    ]


class _Lovasz(ctypes.Structure):
    """`Lovasz` of native_training.cpp."""

    _fields_ = [
        *(
            (name, ctypes.c_void_p)
            for name in ("probabilities", "labels", "counts", "gradient", "keys")
        ),
        *((name, ctypes.c_int64) for name in ("rows", "classes")),
    ]


_ADDRESS, _COUNT, _INT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
# name: (what is returned, what is given)
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "convolve": (None, [ctypes.POINTER(_Layer), _COUNT, _COUNT, _INT]),
    "has_half": (_INT, []),
    "convolve_halves": (None, [ctypes.POINTER(_Layer), _COUNT, _COUNT]),
    "halve": (None, [_ADDRESS, _COUNT, _ADDRESS]),
    "neighbours": (None, [_ADDRESS, _COUNT, *[_ADDRESS] * 4]),
    "group": (None, [_ADDRESS, _COUNT, _COUNT, *[_ADDRESS] * 3]),
    "weight_gradient": (None, [ctypes.POINTER(_Gradient), _COUNT, _COUNT, _ADDRESS, _INT]),
    "scatter_sum": (None, [_ADDRESS, _ADDRESS, _COUNT, _COUNT, _ADDRESS]),
    "depthwise": (None, [_ADDRESS, _COUNT, _COUNT, _INT]),
    "gather": (None, [_ADDRESS, _INT]),
    "project": (_COUNT, [_ADDRESS]),
    "lovasz": (ctypes.c_double, [ctypes.POINTER(_Lovasz)]),
}


class Kernels:
    """The functions of one loaded library.

    Attributes:
        library: its functions, for whoever has their structures (`native_images`).
        instruction_set: the best one here, of INSTRUCTION_SETS.
        has_half: whether this CPU multiplies pairs of bfloat16 numbers.
    """

    def __init__(self, library: ctypes.CDLL):
        self.library = library
        for name, (returned, given) in _SIGNATURES.items():
            function = getattr(library, f"cmdfusion_{name}")
            function.restype, function.argtypes = returned, given
        self.instruction_set = INSTRUCTION_SETS[library.cmdfusion_best()]
        self.has_half = bool(library.cmdfusion_has_half())

    def convolve(
        self,
        workers: Workers,
        conv: Any,
        features: torch.Tensor,
        kernel_map: Any,
        skip: tuple[torch.Tensor, torch.Tensor | None] | None,
        slope: float | None,
        instruction_set: int | None = None,
    ) -> torch.Tensor:
        """`cpu.convolve`; in bfloat16, summed in float32, where `workers.half` asks for it and CPU
        and widths allow it. instruction_set: one that is not better than the best, for tests.
        """
        out = features.new_empty(kernel_map.num_out, len(conv.bias))
        cuts = prepare(kernel_map)
        half = workers.half and self.has_half and conv.half is not None
        # Held until the end: a layer has only their addresses.
        held = [
            features.contiguous(),
            conv.weight.contiguous(),
            conv.bias.contiguous(),
            kernel_map.in_rows,
            kernel_map.out_rows,
        ]
        if half:
            held += [self.halve(held[0]), conv.half]
        skip_features, skip_weight = (
            (None, None)
            if skip is None
            else (part if part is None else part.contiguous() for part in skip)
        )
        layer = _Layer(
            features=held[0].data_ptr(),
            weight=held[1].data_ptr(),
            bias=held[2].data_ptr(),
            in_rows=held[3].data_ptr(),
            out_rows=held[4].data_ptr(),
            skip=None if skip_features is None else skip_features.data_ptr(),
            skip_weight=None if skip_weight is None else skip_weight.data_ptr(),
            cuts=cuts.ctypes.data,
            out=out.data_ptr(),
            half_features=held[5].data_ptr() if half else None,
            half_weight=held[6].data_ptr() if half else None,
            offsets=len(kernel_map.counts),
            centre=-1 if kernel_map.centre is None else kernel_map.centre,
            in_channels=conv.weight.shape[1],
            out_channels=len(conv.bias),
            skip_channels=0 if skip_features is None else skip_features.shape[1],
            num_out=kernel_map.num_out,
            block_rows=BLOCK_ROWS,
            slope=1.0 if slope is None else slope,
        )
        number = INSTRUCTION_SETS.index(instruction_set or self.instruction_set)
        num_blocks = len(cuts) - 1
        # few calls, and still some to share out where one thread is slower
        chunks = min(num_blocks, 4 * workers.num_threads)

        def task(i: int) -> None:
            blocks = num_blocks * i // chunks, num_blocks * (i + 1) // chunks
            if half:
                self.library.cmdfusion_convolve_halves(ctypes.byref(layer), *blocks)
            else:
                self.library.cmdfusion_convolve(ctypes.byref(layer), *blocks, number)

        workers.run(task, chunks)
        return out

    def halve(self, values: torch.Tensor) -> torch.Tensor:
        """Contiguous float32 -> bfloat16, as `values.bfloat16()` rounds; only with `has_half`."""
        halves = torch.empty(values.shape, dtype=torch.bfloat16)
        self.library.cmdfusion_halve(values.data_ptr(), values.numel(), halves.data_ptr())
        return halves

    def weight_gradient(
        self,
        workers: Workers,
        features: torch.Tensor,
        grad_output: torch.Tensor,
        kernel_map: Any,  # a KernelMap; `tensor` imports this file
        instruction_set: str | None = None,
    ) -> torch.Tensor:
        """(V_in, C_in), (V_out, C_out) float32 -> (K, C_in, C_out): for each offset the sum of
        features[i].T @ grad_output[o] over its pairs. Every offset is summed by one thread, in
        the order of the pairs, so results are the same whatever the number of threads.
        """
        features, grad_output = features.contiguous(), grad_output.contiguous()
        num_offsets, channels = len(kernel_map.counts), (features.shape[1], grad_output.shape[1])
        grad_weight, cuts = torch.zeros(num_offsets, *channels), prepare(kernel_map)
        arguments = _Gradient(
            features=features.data_ptr(),
            grad_output=grad_output.data_ptr(),
            in_rows=kernel_map.in_rows.data_ptr(),
            out_rows=kernel_map.out_rows.data_ptr(),
            cuts=cuts.ctypes.data,
            grad_weight=grad_weight.data_ptr(),
            offsets=num_offsets,
            blocks=len(cuts) - 1,
            in_channels=channels[0],
            out_channels=channels[1],
        )
        number = INSTRUCTION_SETS.index(instruction_set or self.instruction_set)
        # One thread takes all at once: all offsets of a block while its rows are in the cache.
        parts = num_offsets if workers.num_threads > 1 else 1

        def task(i: int) -> None:
            scratch = torch.empty(COPIED_PAIRS * sum(channels))
            first, last = num_offsets * i // parts, num_offsets * (i + 1) // parts
            self.library.cmdfusion_weight_gradient(
                ctypes.byref(arguments), first, last, scratch.data_ptr(), number
            )

        workers.run(task, parts)
        return grad_weight

    def scatter_sum(self, values: torch.Tensor, index: torch.Tensor, num_rows: int) -> torch.Tensor:
        """`scatter.scatter_sum` of (N, C) float32 without a gradient; indices are not checked."""
        values, index = values.contiguous(), index.contiguous()
        out = torch.zeros(num_rows, values.shape[1])
        self.library.cmdfusion_scatter_sum(
            values.data_ptr(), index.data_ptr(), *values.shape, out.data_ptr()
        )
        return out

    def lovasz(
        self, probabilities: torch.Tensor, labels: torch.Tensor, counts: torch.Tensor
    ) -> tuple[float, torch.Tensor]:
        """`training.losses.lovasz_softmax` and its gradient for the probabilities.

        Args:
            probabilities: (M, C) float32, 0..1. labels: (M,) int64, 0..C-1. counts: (M,) float32.

        Returns:
            the loss, and (M, C) float32.
        """
        probabilities, labels, counts = (
            each.contiguous() for each in (probabilities, labels, counts)
        )
        gradient = torch.zeros_like(probabilities)
        keys = torch.empty(2 * len(labels), dtype=torch.int64)
        arguments = _Lovasz(
            probabilities=probabilities.data_ptr(),
            labels=labels.data_ptr(),
            counts=counts.data_ptr(),
            gradient=gradient.data_ptr(),
            keys=keys.data_ptr(),
            rows=probabilities.shape[0],
            classes=probabilities.shape[1],
        )
        return self.library.cmdfusion_lovasz(ctypes.byref(arguments)), gradient

    def submanifold_pairs(self, keys: np.ndarray) -> Pairs:
        """`neighbours.submanifold_pairs`, by walking through the keys with one finger a column: no
        search.
        """
        keys = np.ascontiguousarray(keys)
        in_rows, out_rows = np.empty((13, len(keys)), np.int32), np.empty((13, len(keys)), np.int32)
        counts = np.empty(13, np.int64)
        self.library.cmdfusion_neighbours(
            keys.ctypes.data,
            len(keys),
            *(array.ctypes.data for array in (COLUMN_STEPS, in_rows, out_rows, counts)),
        )
        return join_with_mirrors(
            len(keys), [(in_rows[k, :count], out_rows[k, :count]) for k, count in enumerate(counts)]
        )

    def group(
        self, targets: torch.Tensor, num_targets: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(N,) int64 tensor of targets -> order (N,), starts (T,), counts (T,): int32 tensors,
        as `tensor.Bags` has them.
        """
        targets = targets.contiguous()
        order, starts, counts = (
            torch.empty(size, dtype=torch.int32)
            for size in (len(targets), num_targets, num_targets)
        )
        self.library.cmdfusion_group(
            targets.data_ptr(),
            len(targets),
            num_targets,
            order.data_ptr(),
            starts.data_ptr(),
            counts.data_ptr(),
        )
        return order, starts, counts


def prepare(kernel_map: Any) -> torch.Tensor:
    """(blocks + 1, K) int64, kept by the map: the first pair of each offset in each block of
    BLOCK_ROWS output rows.
    """
    return kernel_map.derived(("cuts", BLOCK_ROWS), lambda: _make_cuts(kernel_map))


def _make_cuts(kernel_map: Any) -> torch.Tensor:
    edges = np.arange(0, kernel_map.num_out + BLOCK_ROWS, BLOCK_ROWS)
    if kernel_map.num_out == 0:
        edges = edges[:1]
    out_rows, cuts, first = (
        kernel_map.out_rows.numpy(),
        np.empty((len(edges), len(kernel_map.counts)), np.int64),
        0,
    )
    for k, count in enumerate(kernel_map.counts):
        cuts[:, k] = np.searchsorted(out_rows[first : first + count], edges) + first
        first += count
    return cuts


def kernels() -> Kernels | None:
    """The Kernels, or None where there are none (see `why_not`)."""
    return None if _off else _load()[0]


def why_not() -> str | None:
    """Why there are no Kernels, in words; None where there are."""
    return "switched off" if _off else _load()[1]


@contextmanager
def switched_off() -> Iterator[None]:
    """Inside, in all threads, there are no Kernels: for comparisons."""
    global _off
    _off += 1
    try:
        yield
    finally:
        _off -= 1


@functools.cache
def _load(folder: Path = Path(__file__).parent) -> tuple[Kernels | None, str | None]:
    """(Kernels or None, None or why not)."""
    files = sorted(folder.glob("_native*.so"))
    if not files:
        return None, "not built: no C++ compiler was found when the package was installed"
    reason = None
    for file in files:
        try:
            library = ctypes.CDLL(str(file))
            version = library.cmdfusion_version()
        except (
            OSError,
            AttributeError,
        ) as error:  # built for another system, or something else of that name
            reason = f"{file.name} cannot be loaded: {error}"
            continue
        if version == VERSION:
            return Kernels(library), None
        reason = (
            f"{file.name} is of version {version}, expected {VERSION}; install the package again"
        )
    return None, reason
