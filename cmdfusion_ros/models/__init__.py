"""Networks: batch in, logits out; no files, no losses."""

from cmdfusion_ros.geometry.voxels import VoxelGrid
from cmdfusion_ros.models.cmdfusion import CmdFusion
from cmdfusion_ros.models.spv_pyramid import SpvPyramid

_NETWORKS = {"spv_pyramid": SpvPyramid, "cmdfusion": CmdFusion}  # the choices of ModelConfig.network


def build_network(model_config, num_classes):
    """A network with new random weights, in training mode: `network(batch) -> Output`.

    Args:
        model_config: a ModelConfig.
        num_classes: columns of the logits.
    """
    return _NETWORKS[model_config.network](model_config.channels, model_config.strides, num_classes)


def grid_of(model_config):
    """The VoxelGrid of the batches that a network of this config reads."""
    return VoxelGrid(model_config.voxel_size, tuple(sorted(set(model_config.strides))))
