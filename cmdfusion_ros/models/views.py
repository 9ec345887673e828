"""The images of a Batch as one tensor, and the way between its points and their pixels.

A camera that is missing is simply not there: a batch has V images in all, 0 to 8 of each frame.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import embedding_bag, interpolate

from cmdfusion_ros.batch import Batch
from cmdfusion_ros.frame import CameraView
from cmdfusion_ros.geometry.occlusion import hidden_points
from cmdfusion_ros.geometry.projection import MIN_DEPTH, lens_of, project_points
from cmdfusion_ros.geometry.uv import UVTransform
from cmdfusion_ros.sparse import native_images
from cmdfusion_ros.sparse.native import kernels
from cmdfusion_ros.sparse.scatter import scatter_mean

# of ImageNet, RGB in [0, 1]: what published weights of image networks expect
IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, eq=False)
class PixelPairs:
    """Points and where they lie in images.

    Attributes:
        point_rows: (M,) int64, rows of the batch's points.
        view_rows: (M,) int64, images.
        uv: (M, 2) float32 in [-1, 1): from the left (top) edge of the image to its right (bottom)
            edge, so that maps of every size fit.
    """

    point_rows: torch.Tensor
    view_rows: torch.Tensor
    uv: torch.Tensor


@dataclass(frozen=True, eq=False)
class Views:
    """The images of a Batch.

    Attributes:
        images: (V, 3, H, W) float32, RGB less IMAGE_MEAN, over IMAGE_STD; frames in order, the
            views of a frame in its order.
        pairs: PixelPairs of every point in every image that it falls into.
        chosen: PixelPairs with each such point once, in the image where it is farthest from the
            border relative to the image's size: there a wrong calibration or a moving platform does
            the least harm. Where two images tie, the camera whose name comes first in the alphabet.
            So the order of cameras is of no effect.
        camera_mask: (N,) int64, bit i set where `chosen` takes the point from view i of its frame;
            0 where no image sees it.
        shown: (M,) bool, the rows of `chosen` whose image shows the scene; None = all: only
            training spoils images (`CameraView.is_spoilt`).
    """

    images: torch.Tensor
    pairs: PixelPairs
    chosen: PixelPairs
    camera_mask: torch.Tensor
    shown: torch.Tensor | None = None


def make_views(batch: Batch, image_size: tuple[int, int]) -> Views:
    """Resize the images of a Batch and project its measured points into them.

    Args:
        batch: a Batch; its frames may have different cameras, or none.
        image_size: (width, height) that every image is resized to; sides are stretched, none is
            cropped.

    Returns:
        Views on the batch's device; without any image all of its tensors have V = 0 or M = 0.
    """
    device, (width, height) = batch.points.device, image_size
    images = [read_image(view, image_size, device) for views in batch.views for view in views]
    stacked = torch.stack(images) if images else torch.zeros(0, 3, height, width, device=device)
    pairs, chosen, camera_mask = pair_with_pixels(batch, image_size)
    spoilt = torch.tensor(
        [view.is_spoilt for views in batch.views for view in views], dtype=torch.bool, device=device
    )
    shown = ~spoilt.index_select(0, chosen.view_rows) if spoilt.any() else None
    return Views(stacked, pairs, chosen, camera_mask, shown)


def one_by_one(task: Callable[[int], None], count: int) -> None:
    """task(0) to task(count - 1); `sparse.workers.Workers.run` shares them among threads."""
    for number in range(count):
        task(number)


def pair_with_pixels(
    batch: Batch,
    image_size: tuple[int, int] | None,
    skip_hidden: bool = False,
    run: Callable[[Callable[[int], None], int], None] = one_by_one,
) -> tuple[PixelPairs, PixelPairs, torch.Tensor]:
    """`pairs`, `chosen` and `camera_mask` of the Views of a Batch.

    Args:
        image_size: see `make_views`; None = each image has the size it has. Only rounding differs.
        skip_hidden: leave out points that something nearer hides from a camera.
        run: calls a task for each view.
    """
    device = batch.points.device
    pairs, chosen, first_row, first_image = [], [], 0, 0
    camera_mask = np.zeros(len(batch.points), np.int64)
    for views, points in zip(batch.views, batch.measured_points, strict=True):
        seen = _seen_by_each(points, views, image_size, skip_hidden, run)
        best = _best_view(seen, [view.name for view in views], len(points))
        for number, (rows, uv) in enumerate(seen):
            mine = best[rows] == number
            view_rows = np.full(len(rows), first_image + number)
            pairs.append((first_row + rows, view_rows, uv))
            chosen.append((first_row + rows[mine], view_rows[mine], uv[mine]))
            camera_mask[first_row + rows[mine]] = 1 << number
        first_row += len(points)
        first_image += len(views)
    return _join(pairs, device), _join(chosen, device), torch.from_numpy(camera_mask).to(device)


def _seen_by_each(points, views, image_size, skip_hidden, run):
    seen = [(np.zeros(0, np.int64), np.zeros((0, 2), np.float32))] * len(views)

    def task(number):
        seen[number] = _see(points, views[number], image_size, skip_hidden)

    run(task, len(views))
    return seen


def _see(points, view, image_size, skip_hidden):
    """Rows (m,) of the points that fall into a view, and their uv (m, 2)."""
    rows, pixels, depths = shown_points(points, view)
    if skip_hidden and len(rows):
        kept = ~hidden_points(pixels, depths, view.image_size)
        rows, pixels = rows[kept], pixels[kept]
    resize = UVTransform.resize(view.image_size, image_size or view.image_size)
    return rows, resize.normalise(resize.apply(pixels))


def shown_points(points: np.ndarray, view: CameraView) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which of (N, 3) points fall into a view's image: rows (m,) int64, pixels (m, 2) and depths
    (m,) float32; see `project_points`.
    """
    where = (view.intrinsic, view.camera_from_lidar, view.image_size)
    compiled = kernels()
    if compiled is not None:
        intrinsic, camera_from_lidar, image_size = where
        lens = lens_of(view.distortion)
        return native_images.project(
            compiled, points, camera_from_lidar, intrinsic, image_size, lens, MIN_DEPTH
        )
    pixels, visible = project_points(points, *where, view.distortion)
    rows = np.flatnonzero(visible)
    depths = points[rows] @ view.camera_from_lidar[2, :3] + view.camera_from_lidar[2, 3]
    return rows, pixels[rows], depths.astype(np.float32)


def _best_view(seen, names, num_points):
    """(N,) number of the view that a point is taken from; -1 where none sees it."""
    best, margins = np.full(num_points, -1), np.full(num_points, -np.inf, np.float32)
    for number in sorted(range(len(seen)), key=lambda i: names[i]):
        rows, uv = seen[number]
        margin = 1 - np.abs(uv).max(axis=1, initial=0)
        better = margin > margins[rows]
        best[rows[better]] = number
        margins[rows[better]] = margin[better]
    return best


def read_image(view: CameraView, image_size: tuple[int, int], device: torch.device) -> torch.Tensor:
    """A CameraView's image as (3, H, W) float32, resized to (width, height) `image_size` and
    normalised.
    """
    pixels = np.require(view.image, requirements=("C", "W"))  # one that a message owns is read-only
    tensor = torch.from_numpy(pixels).to(device).permute(2, 0, 1)[None].float()
    width, height = image_size
    tensor = interpolate(
        tensor, (height, width), mode="bilinear", align_corners=False, antialias=True
    )[0]
    mean, std = (
        torch.tensor(values, device=device)[:, None, None] * 255
        for values in (IMAGE_MEAN, IMAGE_STD)
    )
    return (tensor - mean) / std


def _join(parts, device):
    if not parts:
        nothing = torch.zeros(0, dtype=torch.int64, device=device)
        return PixelPairs(nothing, nothing, torch.zeros(0, 2, device=device))
    point_rows, view_rows, uv = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return PixelPairs(
        *(
            torch.from_numpy(array).to(device)
            for array in (
                point_rows.astype(np.int64),
                view_rows.astype(np.int64),
                uv.astype(np.float32),
            )
        )
    )


def gather(maps: torch.Tensor, pairs: PixelPairs) -> torch.Tensor:
    """Features of pixels, bilinearly between their centres; beyond the outermost centres those of
    the border.

    Args:
        maps: (V, C, h, w) float, of any size: a map covers its whole image.
        pairs: PixelPairs with M pairs.

    Returns:
        (M, C).
    """
    num_views, channels, height, width = maps.shape
    if not len(pairs.uv):
        return maps.new_zeros(0, channels)
    size = torch.tensor((width, height), device=maps.device)
    # (M, 2), pixels
    position = torch.minimum(((pairs.uv + 1) * size - 1).div(2).clamp_(min=0), size - 1.0)
    corner = torch.minimum(position.long(), (size - 2).clamp(min=0))
    fraction = position - corner
    rows, weights = [], []
    for right, below in ((0, 0), (1, 0), (0, 1), (1, 1)):
        column, line = (
            (corner[:, 0] + right).clamp(max=width - 1),
            (corner[:, 1] + below).clamp(max=height - 1),
        )
        rows.append((pairs.view_rows * height + line) * width + column)
        weights.append(
            (fraction[:, 0] if right else 1 - fraction[:, 0])
            * (fraction[:, 1] if below else 1 - fraction[:, 1])
        )
    table = maps.permute(0, 2, 3, 1).reshape(num_views * height * width, channels)
    weights = torch.stack(weights, 1).to(maps.dtype)
    return embedding_bag(torch.stack(rows, 1), table, mode="sum", per_sample_weights=weights)


def splat(
    features: torch.Tensor, pairs: PixelPairs, num_views: int, size: tuple[int, int], levels: int
) -> torch.Tensor:
    """Draw point features into maps (after U2MKD's fusion from LiDAR to camera).

    On each of `levels` grids, every one half as fine as the one before, a cell takes the mean of
    its points; the grids are then enlarged bilinearly and averaged, each as far as it has points.
    U2MKD counts empty cells as zeros, so that a feature fades where points are rare; here a
    constant stays constant wherever a point is near.

    Args:
        features: (M, C) float, one row a pair.
        pairs: PixelPairs with M pairs.
        num_views: V.
        size: (h, w) of the maps.
        levels: number of grids, at least 1.

    Returns:
        (V, C, h, w); zero where no grid has a point near.
    """
    if not num_views:
        return features.new_zeros(0, features.shape[1], *size)
    total = 0
    ones = features.new_ones(len(features), 1)
    for level in range(levels):
        height, width = (max(1, -(-side // 2**level)) for side in size)
        limit = torch.tensor((width, height), device=features.device)
        cell = torch.minimum(((pairs.uv + 1) / 2 * limit).long(), limit - 1)
        index = (pairs.view_rows * height + cell[:, 1]) * width + cell[:, 0]
        grid = scatter_mean(torch.cat([features, ones], 1), index, num_views * height * width)
        grid = grid.reshape(num_views, height, width, -1).permute(0, 3, 1, 2)
        total = total + interpolate(grid, tuple(size), mode="bilinear", align_corners=False)
    total, weight = total[:, :-1], total[:, -1:]
    return total / torch.where(weight > 0, weight, 1.0)
