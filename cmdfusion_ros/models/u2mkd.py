"""U2MKD (TPAMI 2024): a sparse U-Net and an image network that exchange features at every stage,
with imputation where no image sees a point.

Its spherical attention is an option (`window_attention`). Its training is distillation from a U-Net
that sees more (`Output.deep`, logits) and drawing each imputer to the images (`Output.knowledge`,
`Output.pixels`); both are the business of training.
"""

from torch import nn

from cmdfusion_ros.batch import Batch
from cmdfusion_ros.models.gated_fusion import ScalarGatedFusion
from cmdfusion_ros.models.image_encoder import ImageShape
from cmdfusion_ros.models.image_network import PixelHead
from cmdfusion_ros.models.imputer import Imputer, impute_voxels
from cmdfusion_ros.models.output import Output, PixelFeatures, ScaleFeatures
from cmdfusion_ros.models.spv_unet import DOWN_WIDTHS, SpvUnet, taps_of
from cmdfusion_ros.models.views import gather, make_views, splat

# width of the maps of the pixel head, which is for training alone, in multiples of the stem's: 128
# in the paper
HEAD_FACTOR = 4


class U2mkd(SpvUnet):
    """SpvUnet whose encoder stages take from a ResNet's stages and give to them (U2MKD's
    bidirectional feature fusion).

    Exchange works on the voxels of a stage: image features are put into a voxel as the mean over
    its points, those that an image sees having its features and the others the imputer's guess.
    Without images, or where none sees a point, that is the guess alone: the same graph with zero
    views.

    Args:
        channels, num_classes, attention_voxel_size: see SpvUnet.
        images: how it looks at images; stem_stride 1 in U2MKD.
    """

    def __init__(
        self,
        channels: int,
        num_classes: int,
        images: ImageShape,
        attention_voxel_size: float | None = None,
        scaled: bool = True,
    ):
        super().__init__(channels, num_classes, attention_voxel_size, scaled=scaled)
        self.image_size = images.size
        self.images = images.encoder(HEAD_FACTOR * channels)
        widths = [channels * factor for factor in DOWN_WIDTHS]
        pairs = list(zip(widths, self.images.backbone.channels, strict=True))
        self.to_images = nn.ModuleList(ScalarGatedFusion(pixel, point) for point, pixel in pairs)
        self.imputers = nn.ModuleList(Imputer(point, pixel) for point, pixel in pairs)
        self.to_voxels = nn.ModuleList(ScalarGatedFusion(point, pixel) for point, pixel in pairs)
        self.pixel_head = PixelHead(HEAD_FACTOR * channels, num_classes)

    def forward(self, batch: Batch) -> Output:
        """Batch -> Output with `deep` and `camera_mask`; in training mode also with `auxiliary`
        (the answer of the images), `knowledge` and `pixels`.
        """
        views, resnet = make_views(batch, self.image_size), self.images.backbone
        image = resnet.stem(views.images) if len(views.images) else None
        x = self.stem(self.embedding(batch))
        encoded, maps, guesses, seen = [x], [], [], []
        for number, stage in enumerate(self.down):
            x = deep = stage(x)
            guess = self.imputers[number](x.features)
            guesses.append(ScaleFeatures(x.stride, guess))
            if image is not None:
                image = self._with_points(number, resnet.layers[number](image), x, views, batch)
                maps.append(image)
                seen.append(gather(image, views.chosen))
                guess = impute_voxels(
                    guess, seen[-1], views.chosen.point_rows, batch.scale(x.stride)
                )
            x = x.with_features(self.to_voxels[number](x.features, guess))
            encoded.append(x)
        last = self.decode(encoded, batch)
        rows, point_to_row = self.head(last), batch.scale(1).point_to_voxel
        deep, taps = ScaleFeatures(deep.stride, deep.features), taps_of(encoded, last)
        if not self.training:
            return Output(rows, point_to_row, deep=deep, taps=taps, camera_mask=views.camera_mask)
        auxiliary, pixels = (), None
        if image is not None:
            auxiliary = (self.pixel_head(self.images.decoder(maps)[0], views),)
            pixels = PixelFeatures(views.chosen.point_rows, tuple(seen)).only(views.shown)
        return Output(
            rows,
            point_to_row,
            auxiliary=auxiliary,
            knowledge=tuple(guesses),
            pixels=pixels,
            deep=deep,
            taps=taps,
            camera_mask=views.camera_mask,
        )

    def _with_points(self, number, image, x, views, batch):
        """A stage's map (V, D, h, w) with what the voxels of that stage say of its pixels."""
        of_points = ScaleFeatures(x.stride, x.features).at_points(batch, views.pairs.point_rows)
        drawn = splat(
            of_points, views.pairs, len(image), image.shape[2:], levels=len(self.down) - number
        )
        num_images, channels, height, width = image.shape
        pixels = self.to_images[number](_as_rows(image), _as_rows(drawn))
        return pixels.reshape(num_images, height, width, channels).permute(0, 3, 1, 2)


def _as_rows(maps):
    """(V, C, h, w) -> (V h w, C)."""
    return maps.permute(0, 2, 3, 1).flatten(0, 2)
