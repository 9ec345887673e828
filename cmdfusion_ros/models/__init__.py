"""Networks: batch in, logits out; no files, no losses."""

from cmdfusion_ros.geometry.voxels import VoxelGrid
from cmdfusion_ros.models.cmdfusion import CmdFusion
from cmdfusion_ros.models.flagship import Flagship
from cmdfusion_ros.models.spv_pyramid import SpvPyramid


def build_network(model_config, num_classes):
    """A network with new random weights, in training mode: `network(batch) -> Output`.

    Args:
        model_config: a ModelConfig.
        num_classes: columns of the logits.
    """
    shape = (model_config.channels, model_config.strides, num_classes)
    if model_config.network == "flagship":
        return Flagship(*shape, model_config.image_size, model_config.image_depth)
    return {"spv_pyramid": SpvPyramid, "cmdfusion": CmdFusion}[model_config.network](*shape)


def grid_of(model_config):
    """The VoxelGrid of the batches that a network of this config reads."""
    return VoxelGrid(model_config.voxel_size, tuple(sorted(set(model_config.strides))))
