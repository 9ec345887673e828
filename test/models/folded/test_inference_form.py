"""Every network that labels points has a form for the CPU; one of images alone has none."""

import pytest
from torch import nn

from cmdfusion_ros.config import ModelConfig
from cmdfusion_ros.models import build_network
from cmdfusion_ros.models.folded import inference_form


@pytest.mark.parametrize(
    "network", ["spv_pyramid", "cmdfusion", "flagship", "spv_unet", "u2mkd", "unet_flagship"]
)
def test_networks_that_label_points_have_one(network):
    if network in ("spv_pyramid", "cmdfusion", "flagship"):
        config = ModelConfig(network=network, channels=4, voxel_size=1.0, strides=(1, 2))
    else:
        config = ModelConfig(network=network, channels=8, voxel_size=1.0)
    form = inference_form(build_network(config, 5).eval(), threads=1)
    form.close()


def test_another_network_is_named():
    with pytest.raises(ValueError, match="expected one of SpvPyramid, .* got Linear"):
        inference_form(nn.Linear(2, 2), threads=1)
