"""The inference forms of the sparse U-Net and U2MKD say what the training forms say."""

import pytest
import torch
from builders.small_scans import BACK, FRONT, flat, flat_batches, moved_network

from cmdfusion_ros.batch import make_batch
from cmdfusion_ros.config import ModelConfig
from cmdfusion_ros.models import grid_of
from cmdfusion_ros.models.folded.folded_unet import FoldedUnet


@pytest.fixture(
    scope="module",
    params=[("spv_unet", "none"), ("u2mkd", "none"), ("u2mkd", "windows")],
    ids=" ".join,
)
def config(request):
    network, attention = request.param
    return ModelConfig(
        network=network, attention=attention, channels=4, voxel_size=0.3, image_size=(64, 32)
    )


@pytest.fixture(scope="module")
def network(config):
    frames = [flat(FRONT, BACK, num_points=1500, seed=seed) for seed in range(4)]
    return moved_network(config, frames)


@pytest.mark.parametrize("num_threads", [1, 3])
def test_their_logits_equal_those_of_the_training_form(config, network, num_threads):
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    folded = FoldedUnet(network, num_threads)
    for frames in flat_batches():
        batch = make_batch(frames, grid_of(config))
        with torch.no_grad():
            truth, output = network(batch), folded(batch)
        for ours, reference in (
            (output.logits, truth.logits),
            (output.deep.features, truth.deep.features),
        ):
            largest = float(reference.abs().max()) if len(reference) else 1.0
            torch.testing.assert_close(ours / largest, reference / largest, atol=1e-4, rtol=0)
        if config.network == "u2mkd":
            assert torch.equal(output.camera_mask, truth.camera_mask)
    folded.close()
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
