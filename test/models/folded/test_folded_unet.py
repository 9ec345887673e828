"""The inference forms of the sparse U-Net and U2MKD say what the training forms say."""

import numpy as np
import pytest
import torch

from cmdfusion_ros.batch import make_batch
from cmdfusion_ros.config import ModelConfig
from cmdfusion_ros.frame import CameraView, Frame
from cmdfusion_ros.geometry.transforms import rigid, yaw_rotation
from cmdfusion_ros.models import build_network, grid_of
from cmdfusion_ros.models.folded.folded_unet import FoldedUnet

OPTICAL_FROM_AHEAD = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])


def make_view(name, yaw):
    image = np.random.default_rng(len(name)).integers(0, 256, (24, 48, 3), np.uint8)
    intrinsic = np.array([[24.0, 0, 23.5], [0, 24, 11.5], [0, 0, 1]])
    return CameraView(
        name,
        image,
        intrinsic,
        rigid(OPTICAL_FROM_AHEAD @ yaw_rotation(np.radians(yaw)).T, np.zeros(3)),
    )


FRONT, BACK, LEFT = make_view("front", 0), make_view("back", 180), make_view("left", 90)


def make_frame(*views, num_points=1500, seed=0):
    """A plane with things on it, so that voxels have neighbours."""
    rng = np.random.default_rng(seed)
    points = rng.normal(0, 6, (num_points, 3)) * (1, 1, 0.1)
    return Frame(points.astype(np.float32), rng.random(num_points, dtype=np.float32), views=views)


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
    """A network whose normalisations have seen data and whose every number differs from its
    start.
    """
    torch.manual_seed(0)
    network = build_network(config, 7)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02)
    for seed in range(4):
        output = network(make_batch([make_frame(FRONT, BACK, seed=seed)], grid_of(config)))
        torch.nn.functional.cross_entropy(output.logits, torch.arange(1500) % 7).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return network.eval()


@pytest.mark.parametrize("num_threads", [1, 3])
def test_their_logits_equal_those_of_the_training_form(config, network, num_threads):
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    folded = FoldedUnet(network, num_threads)
    for frames in (
        [make_frame(FRONT, num_points=3000, seed=5)],
        [
            make_frame(FRONT, LEFT, BACK, num_points=500, seed=6),
            make_frame(num_points=0),
            make_frame(BACK, num_points=800, seed=7),
        ],
        [make_frame(num_points=300)],
        [make_frame(FRONT, num_points=0)],
    ):
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
