"""Networks: batch in, logits out; no files, no losses."""

from torch import nn

from cmdfusion_ros.config import ModelConfig
from cmdfusion_ros.geometry.voxels import VoxelGrid
from cmdfusion_ros.models.cmdfusion import CmdFusion
from cmdfusion_ros.models.flagship import Flagship
from cmdfusion_ros.models.image_encoder import ImageShape
from cmdfusion_ros.models.image_network import ImageNetwork
from cmdfusion_ros.models.spv_pyramid import SpvPyramid
from cmdfusion_ros.models.spv_unet import SpvUnet
from cmdfusion_ros.models.u2mkd import U2mkd
from cmdfusion_ros.models.unet_flagship import UnetFlagship


def build_network(model_config: ModelConfig, num_classes: int) -> nn.Module:
    """A network with new random weights, in training mode: `network(batch) -> Output`.

    Args:
        model_config: a ModelConfig.
        num_classes: columns of the logits.
    """
    config, shape = model_config, (model_config.channels, model_config.strides, num_classes)
    images = ImageShape(
        config.image_size, config.image_depth, config.image_stem_stride, config.image_width
    )
    scaled = config.inputs == "scaled"
    windows = config.voxel_size if config.attention == "windows" else None
    makers = {
        "spv_pyramid": lambda: SpvPyramid(*shape, scaled),
        "cmdfusion": lambda: CmdFusion(*shape, scaled),
        "flagship": lambda: Flagship(*shape, images, config.image_trust == "learned", scaled),
        "spv_unet": lambda: SpvUnet(config.channels, num_classes, windows, config.widths, scaled),
        "u2mkd": lambda: U2mkd(config.channels, num_classes, images, windows, scaled),
        "unet_flagship": lambda: UnetFlagship(
            config.channels, num_classes, config.image_focal, config.widths
        ),
        "image": lambda: ImageNetwork(config.channels, num_classes, images),
    }
    return makers[config.network]()


def grid_of(model_config: ModelConfig) -> VoxelGrid:
    """The VoxelGrid of the batches that a network of this config reads."""
    return VoxelGrid(model_config.voxel_size, tuple(sorted(set(model_config.strides))))
