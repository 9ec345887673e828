"""The images of a Batch, each scaled to one focal length: a thing at some distance is then as large
whatever the camera, where images of one size show it large through a long lens.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from cmdfusion_ros.batch import Batch
from cmdfusion_ros.frame import CameraView
from cmdfusion_ros.models.views import PixelPairs, gather, one_by_one, pair_with_pixels, read_image
from cmdfusion_ros.sparse import native_images
from cmdfusion_ros.sparse.native import kernels

SMALLEST, LARGEST = 32, 1024  # pixels of a side; wide lenses would become large


@dataclass(frozen=True, eq=False)
class FocalViews:
    """The images of a Batch.

    Attributes:
        images: (1, 3, h_i, w_i) float32 tensors, one an image, as `views.read_image` normalises;
            frames in order, the views of a frame in its order.
        chosen, camera_mask, shown: as in `views.Views`; without points that the camera does not
            see because something nearer hides them (`geometry.occlusion`).
    """

    images: tuple
    chosen: PixelPairs
    camera_mask: torch.Tensor
    shown: torch.Tensor | None


def scaled_size(view: CameraView, focal: float) -> tuple[int, int]:
    """(width, height) that gives an image square pixels and this focal length, in pixels, as far
    as SMALLEST and LARGEST let it.
    """
    lengths = abs(float(view.intrinsic[0, 0])), float(view.intrinsic[1, 1])
    return tuple(
        min(max(round(size * focal / length), SMALLEST), LARGEST)
        for size, length in zip(view.image_size, lengths, strict=True)
    )


def make_focal_views(
    batch: Batch,
    focal: float,
    run: Callable[[Callable[[int], None], int], None] = one_by_one,
) -> FocalViews:
    """Scale the images of a Batch and project its measured points into them, each view a task of
    `run`.
    """
    device = batch.points.device
    views = [view for of_frame in batch.views for view in of_frame]
    images = [torch.empty(0)] * len(views)

    def scale(number):
        size = scaled_size(views[number], focal)
        images[number] = read_image(views[number], size, device)[None]

    run(scale, len(views))
    _, chosen, camera_mask = pair_with_pixels(batch, None, True, run)
    spoilt = torch.tensor([view.is_spoilt for view in views], dtype=torch.bool, device=device)
    shown = ~spoilt.index_select(0, chosen.view_rows) if spoilt.any() else None
    return FocalViews(tuple(images), chosen, camera_mask, shown)


def gather_from_each(maps: list, pairs: PixelPairs) -> torch.Tensor:
    """`views.gather` from maps (1, C, h_i, w_i) of different sizes, one an image: (M, C), pairs
    grouped by image as `make_focal_views` gives them.
    """
    numbers = torch.arange(len(maps) + 1, device=pairs.view_rows.device)
    bounds = torch.searchsorted(pairs.view_rows, numbers).tolist()
    plain = not (torch.is_grad_enabled() or pairs.uv.is_cuda)
    compiled = kernels() if plain and maps[0].dtype == torch.float32 else None
    if compiled is not None:
        out, uv = torch.empty(len(pairs.uv), maps[0].shape[1]), pairs.uv.contiguous()
        for level, first, last in zip(maps, bounds, bounds[1:], strict=False):
            rows_first = level[0].permute(1, 2, 0).contiguous()
            native_images.gather(compiled, rows_first, uv[first:last], out[first:last])
        return out
    parts = []
    for level, first, last in zip(maps, bounds, bounds[1:], strict=False):
        view_rows = torch.zeros(last - first, dtype=torch.int64, device=level.device)
        own = PixelPairs(pairs.point_rows[first:last], view_rows, pairs.uv[first:last])
        parts.append(gather(level, own))
    return torch.cat(parts)
