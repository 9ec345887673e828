"""The sparse U-Net that also looks through the cameras that are there: CMDFusion's knowledge branch
and gates on the coarse stages of a U-Net, with imputation as in U2MKD.

Images stay off the two finest strides: there a calibration that is a pixel off puts them onto the
wrong voxel (docs/decisions.md, 2026-11-26). The LiDAR network is SpvUnet, tensor for tensor, and
every join starts by passing it through unchanged, so a trained one is a start that loses nothing.
"""

import torch
from torch import nn
from torch.nn.functional import interpolate

from cmdfusion_ros.batch import Batch
from cmdfusion_ros.models.efficientnet import EfficientNetLite
from cmdfusion_ros.models.focal_views import FocalViews, gather_from_each, make_focal_views
from cmdfusion_ros.models.gated_fusion import frame_means
from cmdfusion_ros.models.imputer import Trust, impute_voxels
from cmdfusion_ros.models.output import Output, PixelFeatures, ScaleFeatures
from cmdfusion_ros.models.spv_encoder import SpvEncoder
from cmdfusion_ros.models.spv_unet import STRIDES, WIDTHS, SpvUnet
from cmdfusion_ros.models.views import one_by_one
from cmdfusion_ros.sparse.stages import stage
from cmdfusion_ros.sparse.tensor import SparseTensor

STAGES = (2, 3, 4)  # of the encoder that take from images: strides 4, 8 and 16
KNOWLEDGE = 32  # channels of the knowledge branch and of the maps of images
_GROUPS = 8  # of channels that are normalised together


class LiteImageEncoder(nn.Module):
    """EfficientNet-lite0 and a feature pyramid (Lin et al., CVPR 2017): images -> three maps of one
    width, finest first.

    Every image is read by itself, whatever its size, so the pyramid is normalised within the image
    (GroupNorm): a batch norm would learn from one image what it then applies to others.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.backbone = EfficientNetLite()
        self.lateral = nn.ModuleList(
            nn.Sequential(nn.GroupNorm(_GROUPS, width), nn.Conv2d(width, channels, 1))
            for width in self.backbone.channels
        )
        self.smooth = nn.ModuleList(
            nn.Sequential(
                nn.GroupNorm(_GROUPS, channels), nn.ReLU(), nn.Conv2d(channels, channels, 3, 1, 1)
            )
            for _ in self.lateral
        )

    def forward(self, images: torch.Tensor) -> list:
        """(V, 3, H, W) -> three maps (V, channels, h_i, w_i) at 1/4, 1/8, 1/16 of the size."""
        maps, decoded, x = self.backbone(images), [], None
        for lateral, smooth, level in reversed(
            list(zip(self.lateral, self.smooth, maps, strict=True))
        ):
            own = lateral(level)
            x = own if x is None else own + interpolate(x, own.shape[2:], mode="bilinear")
            x = smooth(x)
            decoded.insert(0, x)
        return decoded


class Join(nn.Module):
    """target + gate * h, h = W2 [target, relu(W1 source)], gate = sigmoid(W3 [h, mean of h]).

    CMDFusion's gated fusion (Cen et al., RA-L 2023) for two widths, and without its last ReLU, past
    which a join that starts at W2 = 0 would never learn.
    """

    def __init__(self, target_channels: int, source_channels: int):
        super().__init__()
        self.message = nn.Linear(source_channels, target_channels)
        self.join = nn.Linear(2 * target_channels, target_channels)
        self.gate = nn.Linear(2 * target_channels, target_channels)
        nn.init.zeros_(self.join.weight)
        nn.init.zeros_(self.join.bias)

    def forward(
        self, target: torch.Tensor, source: torch.Tensor, stride: int, batch: Batch
    ) -> torch.Tensor:
        """(V, Ct), (V, Cs) on the voxels of `stride` -> (V, Ct)."""
        scale = batch.scale(stride)
        frames = scale.voxel_coords[:, 0].long()
        joined = self.join(torch.cat([target, torch.relu(self.message(source))], 1))
        own, of_mean = self.gate.weight.chunk(2, 1)
        means = frame_means(joined, frames, scale.num_points, batch.num_frames) @ of_mean.T
        gate = joined @ own.T + (means + self.gate.bias).index_select(0, frames)
        return target + torch.sigmoid(gate) * joined


class PixelAnswer(nn.Module):
    """Features of pixels -> logits of the points seen there, trained by the labels of points."""

    def __init__(self, channels: int, num_classes: int):
        super().__init__()
        self.logits = nn.Linear(channels, num_classes)

    def forward(self, pixels: PixelFeatures, views: FocalViews) -> Output:
        """Output in which points that no image sees, or a spoilt one, are not `answered`."""
        seen = self.logits(pixels.levels[0])
        point_to_row = torch.zeros_like(views.camera_mask)
        rows = torch.arange(1, len(seen) + 1, device=seen.device)
        point_to_row[pixels.point_rows] = rows
        answered = views.camera_mask > 0
        if views.shown is not None:
            answered[pixels.point_rows[~views.shown]] = False
        nothing = seen.new_zeros(1, seen.shape[1])
        return Output(torch.cat([nothing, seen]), point_to_row, answered=answered)


class UnetFlagship(SpvUnet):
    """SpvUnet; its knowledge branch guesses on strides 4, 8 and 16 what images would say; where a
    live camera sees, image features take the guess's place as far as a learned gate trusts them;
    the result joins the encoder's features before the decoder reads them.

    In training the same frames are also answered without their images (`Output.without_images`).

    Args:
        channels, num_classes, widths: see SpvUnet.
        image_focal: focal length that images are scaled to, pixels.
    """

    def __init__(self, channels: int, num_classes: int, image_focal: float, widths: str = "paper"):
        super().__init__(channels, num_classes, widths=widths)
        self.image_focal = image_focal
        self.run = one_by_one  # the tasks of the views
        down = [channels * factor for factor in WIDTHS[widths][0]]
        targets = [down[level - 1] for level in STAGES]
        strides = [STRIDES[level] for level in STAGES]
        self.images = LiteImageEncoder(KNOWLEDGE)
        self.to_knowledge = nn.Linear(targets[0], KNOWLEDGE)
        self.knowledge = SpvEncoder(KNOWLEDGE, (strides[0], *strides))
        self.trust = nn.ModuleList(Trust(KNOWLEDGE) for _ in STAGES)
        self.joins = nn.ModuleList(Join(target, KNOWLEDGE) for target in targets)
        self.pixel_head = PixelAnswer(KNOWLEDGE, num_classes)

    def forward(self, batch: Batch) -> Output:
        """Batch -> Output with `camera_mask` and `deep`; in training mode with `auxiliary` (the
        answer of the images alone), `without_images`, `knowledge` and `pixels`.
        """
        with stage("encoder"):
            encoded = self.encode(batch)
        with stage("knowledge branch"):
            guesses = self.guess(encoded, batch)
        with stage("scaling, projection"):
            views = make_focal_views(batch, self.image_focal, self.run)
        pixels = self.look(views) if views.images else None
        with stage("fusion"):
            known = guesses if pixels is None else self.see(guesses, pixels, batch)
        with stage("decoder, head"):
            rows, point_to_row = self.answer(encoded, known, batch), batch.scale(1).point_to_voxel
        deep = ScaleFeatures(encoded[-1].stride, encoded[-1].features)
        if not self.training:
            return Output(rows, point_to_row, deep=deep, camera_mask=views.camera_mask)
        knowledge = tuple(
            ScaleFeatures(STRIDES[level], guess)
            for level, guess in zip(STAGES, guesses, strict=True)
        )
        auxiliary, without_images, told = (), None, None
        if pixels is not None:
            auxiliary = (self.pixel_head(pixels, views),)
            without_images = Output(self.answer(encoded, guesses, batch), point_to_row)
            told = pixels.only(views.shown)
        return Output(
            rows,
            point_to_row,
            auxiliary=auxiliary,
            without_images=without_images,
            knowledge=knowledge,
            pixels=told,
            deep=deep,
            camera_mask=views.camera_mask,
        )

    def guess(self, encoded: list, batch: Batch) -> list:
        """The knowledge branch on the LiDAR encoder's features: list of (V_i, KNOWLEDGE)."""
        first = encoded[STAGES[0]]
        start = first.with_features(self.to_knowledge(first.features))
        return self.knowledge(start, batch)

    def maps_of(self, images: tuple) -> list:
        """The maps of every image: a list of lists of three (1, KNOWLEDGE, h, w)."""
        return [self.images(image) for image in images]

    def look(self, views: FocalViews) -> PixelFeatures:
        """What the images say of the points that they see."""
        with stage("image encoder"):
            maps = self.maps_of(views.images)
        with stage("reading maps"):
            levels = (gather_from_each(level, views.chosen) for level in zip(*maps, strict=True))
            return PixelFeatures(views.chosen.point_rows, tuple(levels))

    def see(self, guesses: list, pixels: PixelFeatures, batch: Batch) -> list:
        """`guesses` with what images say in their place where they see."""
        return [
            impute_voxels(
                guess,
                pixels.of_scale(number),
                pixels.point_rows,
                batch.scale(STRIDES[level]),
                self.trust[number],
            )
            for number, (level, guess) in enumerate(zip(STAGES, guesses, strict=True))
        ]

    def answer(self, encoded: list, known: list, batch: Batch) -> torch.Tensor:
        """(V_1, classes) from the encoder's features and what is known of images."""
        fused = list(encoded)
        for level, join, source in zip(STAGES, self.joins, known, strict=True):
            x: SparseTensor = encoded[level]
            fused[level] = x.with_features(join(x.features, source, x.stride, batch))
        return self.head(self.decode(fused, batch))
