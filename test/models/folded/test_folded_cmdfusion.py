"""The inference forms of CMDFusion and the flagship say what the training forms say."""

import pytest
import torch
from builders.small_scans import BACK, FRONT, flat, flat_batches, moved_network

from cmdfusion_ros.batch import make_batch
from cmdfusion_ros.config import ModelConfig
from cmdfusion_ros.models import grid_of
from cmdfusion_ros.models.folded.folded_cmdfusion import (
    FoldedCmdFusion,
    FoldedFlagship,
    fold_images,
)
from cmdfusion_ros.models.image_encoder import ImageEncoder


@pytest.fixture(
    scope="module",
    params=[("cmdfusion", "full"), ("flagship", "full"), ("flagship", "learned")],
    ids=" ".join,
)
def config(request):
    network, trust = request.param
    return ModelConfig(
        network=network,
        image_trust=trust,
        channels=8,
        voxel_size=0.3,
        strides=(1, 2, 4, 4),
        image_size=(64, 32),
    )


@pytest.fixture(scope="module")
def network(config):
    frames = [flat(FRONT, BACK, num_points=2000, seed=seed) for seed in range(3)]
    return moved_network(config, frames)


@pytest.mark.parametrize("num_threads", [1, 3])
def test_their_logits_equal_those_of_the_training_form(config, network, num_threads):
    folded = {"cmdfusion": FoldedCmdFusion, "flagship": FoldedFlagship}[config.network](
        network, num_threads
    )
    for frames in flat_batches():
        batch = make_batch(frames, grid_of(config))
        with torch.no_grad():
            truth, output = network(batch), folded(batch)
        torch.testing.assert_close(output.logits, truth.logits, atol=1e-4, rtol=1e-4)
        if config.network == "flagship":
            assert torch.equal(output.camera_mask, truth.camera_mask)
    folded.close()


@pytest.mark.parametrize("depth", [18, 50])
def test_the_folded_image_encoder_gives_the_same_maps_and_leaves_the_first_alone(depth):
    torch.manual_seed(0)
    encoder = ImageEncoder(depth, 8)
    images = torch.randn(2, 3, 32, 64)
    encoder(images)
    before = {name: tensor.clone() for name, tensor in encoder.eval().state_dict().items()}
    with torch.no_grad():
        for ours, truth in zip(fold_images(encoder)(images), encoder(images), strict=True):
            torch.testing.assert_close(ours, truth, atol=1e-4, rtol=1e-4)
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())
