"""The compiled kernels of `native_images.cpp`: between points and pixels. See `native`."""

import ctypes
from collections.abc import Sequence

import numpy as np
import torch

from cmdfusion_ros.sparse.native import INSTRUCTION_SETS, Kernels

LENSES = ("pinhole", "rational", "equidistant")


def _fields(kind: type, names: str) -> list[tuple[str, type]]:
    return [(name, kind) for name in names.split()]


class _Depthwise(ctypes.Structure):
    """`Depthwise` of native_images.cpp."""

    _fields_ = [
        *_fields(ctypes.c_void_p, "image weight bias out"),
        *_fields(
            ctypes.c_int64,
            "height width channels kernel stride top left out_height out_width",
        ),
        ("highest", ctypes.c_float),
    ]


class _Gather(ctypes.Structure):
    """`Gather` of native_images.cpp."""

    _fields_ = [
        *_fields(ctypes.c_void_p, "map uv out"),
        *_fields(ctypes.c_int64, "height width channels rows"),
    ]


class _Projection(ctypes.Structure):
    """`Projection` of native_images.cpp."""

    _fields_ = [
        ("points", ctypes.c_void_p),
        ("rows", ctypes.c_int64),
        ("camera_from_lidar", ctypes.c_float * 12),
        *_fields(ctypes.c_double, "focal_u skew centre_u focal_v centre_v width height"),
        ("coefficients", ctypes.c_double * 8),
        ("limit", ctypes.c_double),
        ("min_depth", ctypes.c_float),
        ("lens", ctypes.c_int32),
        *_fields(ctypes.c_void_p, "seen pixels depths"),
    ]


def depthwise(
    compiled: Kernels,
    image: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    stride: int,
    instruction_set: str | None = None,
) -> torch.Tensor:
    """A depthwise convolution, padded as TensorFlow does (`efficientnet.SameConv2d`), its bias and
    ReLU6.

    Args:
        image: (h, w, C) float32, contiguous.
        weight: (k, k, C) float32, contiguous. bias: (C,) float32.
        stride: of both axes.
        instruction_set: one that is not better than the best, for tests.

    Returns:
        (ceil(h / stride), ceil(w / stride), C) float32.
    """
    (height, width, channels), kernel = image.shape, weight.shape[0]
    out_height, out_width = (-(-side // stride) for side in (height, width))
    top, left = (
        max((out - 1) * stride + kernel - side, 0) // 2
        for out, side in ((out_height, height), (out_width, width))
    )
    out = torch.empty(out_height, out_width, channels)
    arguments = _Depthwise(
        image=image.data_ptr(),
        weight=weight.data_ptr(),
        bias=bias.data_ptr(),
        out=out.data_ptr(),
        height=height,
        width=width,
        channels=channels,
        kernel=kernel,
        stride=stride,
        top=top,
        left=left,
        out_height=out_height,
        out_width=out_width,
        highest=6.0,
    )
    number = INSTRUCTION_SETS.index(instruction_set or compiled.instruction_set)
    compiled.library.cmdfusion_depthwise(ctypes.byref(arguments), 0, out_height, number)
    return out


def gather(
    compiled: Kernels,
    image_map: torch.Tensor,
    uv: torch.Tensor,
    out: torch.Tensor,
    instruction_set: str | None = None,
) -> None:
    """`models.views.gather` of one map.

    Args:
        image_map: (h, w, C) float32, contiguous.
        uv: (M, 2) float32, contiguous, see `views.PixelPairs`; finite.
        out: (M, C) float32, contiguous, which is written.
        instruction_set: one that is not better than the best, for tests.
    """
    arguments = _Gather(
        image_map.data_ptr(), uv.data_ptr(), out.data_ptr(), *image_map.shape, len(uv)
    )
    number = INSTRUCTION_SETS.index(instruction_set or compiled.instruction_set)
    compiled.library.cmdfusion_gather(ctypes.byref(arguments), number)


def project(
    compiled: Kernels,
    points: np.ndarray,
    camera_from_lidar: np.ndarray,
    intrinsic: np.ndarray,
    image_size: tuple[int, int],
    lens: tuple[str, Sequence[float], float],
    min_depth: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`geometry.projection.project_points`, of the points that an image shows alone.

    Args:
        points, camera_from_lidar, intrinsic, image_size: as there.
        lens: (one of LENSES, up to 8 coefficients, where the model turns back: r^2 of "rational",
            the angle of "equidistant").
        min_depth: metres.

    Returns:
        rows (m,) int64, ascending; pixels (m, 2) float32; depths (m,) float32.
    """
    points = np.ascontiguousarray(points, np.float32)
    rows, pixels, depths = (
        np.empty(len(points), np.int64),
        np.empty((len(points), 2), np.float32),
        np.empty(len(points), np.float32),
    )
    model, coefficients, limit = lens
    arguments = _Projection(
        points=points.ctypes.data,
        rows=len(points),
        camera_from_lidar=(ctypes.c_float * 12)(*camera_from_lidar[:3].ravel()),
        focal_u=intrinsic[0, 0],
        skew=intrinsic[0, 1],
        centre_u=intrinsic[0, 2],
        focal_v=intrinsic[1, 1],
        centre_v=intrinsic[1, 2],
        width=image_size[0],
        height=image_size[1],
        coefficients=(ctypes.c_double * 8)(*coefficients),
        limit=limit,
        min_depth=min_depth,
        lens=LENSES.index(model),
        seen=rows.ctypes.data,
        pixels=pixels.ctypes.data,
        depths=depths.ctypes.data,
    )
    count = compiled.library.cmdfusion_project(ctypes.byref(arguments))
    return rows[:count], pixels[:count], depths[:count]
