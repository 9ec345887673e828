"""Sparse tensors: features on voxels, and the kernel maps that all layers of one input share."""

import threading
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from cmdfusion_ros.sparse import device_maps, native, neighbours, voxelise


class KernelMap:
    """Pairs of voxels that meet under each offset of a kernel (see `neighbours` for the numbering).

    A backend may keep with it what it works out of the pairs (`derived`), so it is no frozen value.

    Attributes:
        in_rows, out_rows: (P,) int32, grouped by offset.
        counts: tuple of K ints, pairs of each offset.
        num_in, num_out: voxels of input and output.
        centre: number of the offset that pairs every voxel with itself in order, or None.
    """

    def __init__(
        self,
        in_rows: torch.Tensor,
        out_rows: torch.Tensor,
        counts: tuple[int, ...],
        num_in: int,
        num_out: int,
        centre: int | None = None,
    ) -> None:
        self.in_rows, self.out_rows, self.counts = in_rows, out_rows, counts
        self.num_in, self.num_out, self.centre = num_in, num_out, centre
        self._derived: dict[Hashable, Any] = {}
        self._transposed: KernelMap | None = None

    def derived(self, name: Hashable, make: Callable[[], Any]) -> Any:
        """What a backend works out from the pairs, made by `make()` when this name is first asked
        for.
        """
        known = self._derived.get(name)
        if known is None:  # two threads may both make it; either result is good
            known = self._derived[name] = make()
        return known

    @cached_property
    def by_output(self) -> "Bags":
        """`Bags` that sum one row a pair into one row an output voxel."""
        return make_bags(self.out_rows, self.num_out)

    @property
    def transposed(self) -> "KernelMap":
        """The same pairs with input and output exchanged; its `transposed` is this map again, so
        that bags are shared both ways.
        """
        if self._transposed is None:
            other = KernelMap(
                self.out_rows, self.in_rows, self.counts, self.num_out, self.num_in, self.centre
            )
            other._transposed = self
            self._transposed = other
        return self._transposed


@dataclass(frozen=True)
class Bags:
    """Rows grouped by where they are summed into, as `torch.nn.functional.embedding_bag` wants
    them.

    Attributes:
        order: (P,) int32, rows sorted by target; rows of one target keep their order, so sums are
            the same every time.
        starts: (T,) int32, where each target's rows begin in `order`.
        counts: (T,) int32, rows of each target.
    """

    order: torch.Tensor
    starts: torch.Tensor
    counts: torch.Tensor

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """(P, C) -> (T, C); targets without rows are zero. No gradient: callers write their own
        backward pass.
        """
        if len(self.order) == 0 or values.shape[1] == 0:
            return values.new_zeros(len(self.starts), values.shape[1])
        return torch.nn.functional.embedding_bag(self.order, values, self.starts, mode="sum")


def make_bags(targets: torch.Tensor, num_targets: int) -> Bags:
    """`Bags` for rows that are summed into `targets`.

    Args:
        targets: (P,) int, each in 0..num_targets - 1.
        num_targets: T.
    """
    compiled = native.kernels() if targets.device.type == "cpu" else None
    if compiled is not None:
        return Bags(*compiled.group(targets.long(), num_targets))
    # numpy's sort makes use of the runs that pairs come in; torch's does not
    if targets.device.type == "cpu":
        order = torch.from_numpy(np.argsort(targets.numpy(), kind="stable").astype(np.int32))
    else:
        order = torch.argsort(targets, stable=True).int()
    counts = torch.bincount(targets, minlength=num_targets).int()
    starts = torch.zeros_like(counts)
    torch.cumsum(counts[:-1], 0, dtype=torch.int32, out=starts[1:])
    return Bags(order, starts, counts)


class _OnCpu:
    """`voxelise` and `neighbours` for torch tensors on the CPU: the doors of `device_maps`,
    several times as fast there.
    """

    @staticmethod
    def pack_keys(voxel_coords: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(voxelise.pack_keys(voxel_coords.numpy()))

    @staticmethod
    def coarser_voxels(voxel_coords: torch.Tensor, factor: int) -> Any:
        return _tensors(voxelise.coarser_voxels(voxel_coords.numpy(), factor))

    @staticmethod
    def submanifold_pairs(keys: torch.Tensor) -> Any:
        compiled = native.kernels()
        return _tensors(
            (neighbours if compiled is None else compiled).submanifold_pairs(keys.numpy())
        )

    @staticmethod
    def strided_pairs(keys: torch.Tensor, coarse_coords: torch.Tensor) -> Any:
        return _tensors(neighbours.strided_pairs(keys.numpy(), coarse_coords.numpy()))

    @staticmethod
    def pooling_pairs(voxel_coords: torch.Tensor, parents: torch.Tensor, factor: int) -> Any:
        return _tensors(neighbours.pooling_pairs(voxel_coords.numpy(), parents.numpy(), factor))


def _tensors(arrays: Any) -> Any:
    """A named tuple of arrays as one of tensors."""
    return type(arrays)(*map(torch.from_numpy, arrays))


def _map(pairs: Any, num_in: int, num_out: int, centre: int | None = None) -> KernelMap:
    return KernelMap(
        pairs.in_rows, pairs.out_rows, tuple(pairs.counts.tolist()), num_in, num_out, centre
    )


class KernelMaps:
    """Voxels of one input at every stride, and the kernel maps on and between them; each is made
    once, when it is first asked for.

    Share one among all tensors of an input and all networks that read it. Safe to use from several
    threads.
    """

    def __init__(self, levels: Mapping[int, torch.Tensor]):
        """
        Args:
            levels: {stride: (V, 4) int32 tensor, sorted lexicographically, unique}, all on one
                device; scales must nest. Coarser levels than these are made when they are needed.

        Raises:
            ValueError: coordinates are not sorted and unique, or out of range.
        """
        self._levels = dict(levels)
        self._made: dict[Hashable, Any] = {}
        self._locks: dict[Hashable, Any] = {}
        self._search = (
            _OnCpu if next(iter(self._levels.values())).device.type == "cpu" else device_maps
        )
        for stride in self._levels:
            self._keys(stride)

    def _once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        # one lock a thing, so that the maps of several levels can be made side by side
        with self._locks.setdefault(key, threading.Lock()):
            if key not in self._made:
                self._made[key] = make()
            return self._made[key]

    def voxel_coords(self, stride: int) -> torch.Tensor:
        """(V, 4) int32 of a level that is known (see `has_level`, `coarsen`)."""
        return self._levels[stride]

    def has_level(self, stride: int) -> bool:
        """Whether voxels of this stride are known."""
        return stride in self._levels

    def coarsen(self, stride: int, factor: int) -> torch.Tensor:
        """Make sure that the level stride * factor exists.

        Returns:
            (V,) int64: for each voxel of `stride` the row of the voxel of stride * factor that
            holds it.
        """

        def make() -> Any:
            coarser = self._search.coarser_voxels(self._levels[stride], factor)
            known = self._levels.setdefault(stride * factor, coarser.voxel_coords)
            if not torch.equal(known, coarser.voxel_coords):
                raise ValueError(
                    f"voxels of stride {stride * factor}: expected exactly those that hold voxels "
                    f"of stride {stride}; make both from the same points"
                )
            return coarser.point_to_voxel

        return self._once(("parents", stride, factor), make)

    def children(self, stride: int, factor: int) -> Bags:
        """`Bags` that sum the voxels of `stride` into those of stride * factor."""
        parents = self.coarsen(stride, factor)
        return self._once(
            ("children", stride, factor),
            lambda: make_bags(parents, len(self._levels[stride * factor])),
        )

    def submanifold(self, stride: int, kernel_size: int) -> KernelMap:
        """KernelMap of a submanifold kernel of size 1 or 3 on one level."""

        def make() -> Any:
            num_voxels = len(self._levels[stride])
            if kernel_size == 1:
                rows = torch.arange(
                    num_voxels, dtype=torch.int32, device=self._levels[stride].device
                )
                return KernelMap(rows, rows, (num_voxels,), num_voxels, num_voxels, 0)
            if kernel_size == 3:
                return _map(
                    self._search.submanifold_pairs(self._keys(stride)), num_voxels, num_voxels, 13
                )
            raise ValueError(
                f"kernel_size: expected 1 or 3 for a submanifold convolution, got {kernel_size}"
            )

        return self._once(("submanifold", stride, kernel_size), make)

    def strided(self, stride: int, factor: int, kernel_size: int) -> KernelMap:
        """KernelMap from one level to the one `factor` times as coarse; kernel as large as the
        factor, or 3 with factor 2.
        """

        def make() -> Any:
            parents = self.coarsen(stride, factor)
            num_in, num_out = len(self._levels[stride]), len(self._levels[stride * factor])
            if kernel_size == factor:
                return _map(
                    self._search.pooling_pairs(self._levels[stride], parents, factor),
                    num_in,
                    num_out,
                )
            if kernel_size == 3 and factor == 2:
                return _map(
                    self._search.strided_pairs(self._keys(stride), self._levels[stride * factor]),
                    num_in,
                    num_out,
                )
            raise ValueError(
                f"kernel_size {kernel_size} with stride {factor}: expected the kernel as large as "
                "the stride, or 3 with stride 2"
            )

        return self._once(("strided", stride, factor, kernel_size), make)

    def _keys(self, stride: int) -> torch.Tensor:
        def make() -> Any:
            keys = self._search.pack_keys(self._levels[stride])
            if (keys[1:] <= keys[:-1]).any():
                raise ValueError(
                    f"voxel_coords of stride {stride}: expected rows sorted by (batch, x, y, z) "
                    "without repeats; make them with unique_voxels"
                )
            return keys

        return self._once(("keys", stride), make)


@dataclass(frozen=True, eq=False)
class SparseTensor:
    """Features on the voxels of one level.

    Attributes:
        features: (V, C) float.
        voxel_coords: (V, 4) int32: batch, x, y, z in voxels of this level; sorted
            lexicographically, unique.
        stride: edge of these voxels in finest voxels.
        maps: KernelMaps shared with every other tensor of the same input; made from voxel_coords
            where it is not given.
    """

    features: torch.Tensor
    voxel_coords: torch.Tensor
    stride: int = 1
    maps: KernelMaps = None  # type: ignore[assignment]  # __post_init__ makes it

    def __post_init__(self) -> None:
        if self.features.ndim != 2 or self.voxel_coords.shape != (len(self.features), 4):
            raise ValueError(
                "SparseTensor: expected features (V, C) and voxel_coords (V, 4), got "
                f"{tuple(self.features.shape)} and {tuple(self.voxel_coords.shape)}"
            )
        if self.maps is None:
            object.__setattr__(self, "maps", KernelMaps({self.stride: self.voxel_coords}))

    def with_features(self, features: torch.Tensor) -> "SparseTensor":
        """The same voxels with other features (V, C')."""
        return replace(self, features=features)
