"""Networks that see images alone: teachers of what points alone should guess, and the head that
any network with images trains them by.
"""

from collections.abc import Sequence

import torch
from torch import nn

from cmdfusion_ros.batch import Batch
from cmdfusion_ros.models.image_encoder import ImageShape
from cmdfusion_ros.models.output import Output, PixelFeatures
from cmdfusion_ros.models.resnet import ResNet
from cmdfusion_ros.models.views import PixelPairs, Views, gather, make_views


def pixels_of(maps: Sequence[torch.Tensor], chosen: PixelPairs) -> PixelFeatures:
    """PixelFeatures at the `chosen` PixelPairs of Views, from maps (V, D_i, h_i, w_i) of their
    images, finest first.
    """
    return PixelFeatures(chosen.point_rows, tuple(gather(level, chosen) for level in maps))


class PixelHead(nn.Module):
    """Features of pixels -> logits of the points seen there. Labels of points are what trains it:
    no image needs labels of its own.

    Args:
        channels: of the finest map.
        num_classes: columns of the logits.
    """

    def __init__(self, channels: int, num_classes: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.logits = nn.Linear(channels, num_classes)  # after the gather, with which it commutes

    def forward(self, finest: torch.Tensor, views: Views) -> Output:
        """Map (V, C, h, w) and its Views -> Output in which the points that no image sees, or a
        spoilt one, are not `answered`.
        """
        seen = self.logits(gather(self.norm(finest).relu(), views.chosen))
        point_to_row = torch.zeros_like(views.camera_mask)
        point_to_row[views.chosen.point_rows] = torch.arange(1, len(seen) + 1, device=seen.device)
        answered = views.camera_mask > 0
        if views.shown is not None:
            answered[views.chosen.point_rows[~views.shown]] = False
        return Output(
            torch.cat([seen.new_zeros(1, seen.shape[1]), seen]),
            point_to_row,
            answered=answered,
            camera_mask=views.camera_mask,
        )


class ImageNetwork(nn.Module):
    """ImageEncoder and PixelHead: trained on the labels of points, it becomes the teacher of a
    knowledge branch.

    Args:
        channels: of every map of the encoder.
        num_classes: columns of the logits.
        images: how it looks at images.
    """

    def __init__(self, channels: int, num_classes: int, images: ImageShape):
        super().__init__()
        self.image_size = images.size
        self.images = images.encoder(channels)
        self.head = PixelHead(channels, num_classes)

    def forward(self, batch: Batch) -> Output:
        """Batch -> Output with `answered`, `camera_mask` and, in both modes, `pixels`; nothing
        is answered in a batch without images.
        """
        views = make_views(batch, self.image_size)
        if not len(views.images):
            return _no_answer(views, self.head.logits.bias * 0)
        maps = self.images(views.images)
        answer = self.head(maps[0], views)
        pixels = pixels_of(maps, views.chosen).only(views.shown)
        return Output(
            answer.row_logits,
            answer.point_to_row,
            answer.answered,
            pixels=pixels,
            camera_mask=views.camera_mask,
        )


class BackboneTeacher(nn.Module):
    """The maps of a ResNet as a teacher, as CMDFusion uses one that was trained elsewhere (its
    camera branch); never trained here.

    Args:
        resnet: a ResNet.
        image_size: (width, height) that images are resized to.
    """

    def __init__(self, resnet: ResNet, image_size: tuple[int, int]):
        super().__init__()
        self.image_size = tuple(image_size)
        self.resnet = resnet.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> "BackboneTeacher":
        """Stays in evaluation mode: the statistics of its normalisations are part of what
        it knows.
        """
        return super().train(False)

    @torch.no_grad()
    def forward(self, batch: Batch) -> PixelFeatures | None:
        """Batch -> PixelFeatures, levels as wide as the ResNet's; None without images."""
        views = make_views(batch, self.image_size)
        return (
            pixels_of(self.resnet(views.images), views.chosen).only(views.shown)
            if len(views.images)
            else None
        )


def _no_answer(views, zeros):
    """An Output in which nothing is answered, by the row `zeros` (C,); where that has a
    gradient, a training step without images has one too.
    """
    return Output(
        zeros[None],
        torch.zeros_like(views.camera_mask),
        answered=views.camera_mask > 0,
        camera_mask=views.camera_mask,
    )
