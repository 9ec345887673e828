"""The inference forms of CMDFusion and the flagship say what the training forms say."""

import numpy as np
import pytest
import torch

from cmdfusion_ros.batch import make_batch
from cmdfusion_ros.config import ModelConfig
from cmdfusion_ros.frame import CameraView, Frame
from cmdfusion_ros.geometry.transforms import rigid, yaw_rotation
from cmdfusion_ros.models import build_network, grid_of
from cmdfusion_ros.models.folded.folded_cmdfusion import (
    FoldedCmdFusion,
    FoldedFlagship,
    fold_images,
)
from cmdfusion_ros.models.image_encoder import ImageEncoder

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


def make_frame(*views, num_points=2000, seed=0):
    """A plane with things on it, so that voxels have neighbours."""
    rng = np.random.default_rng(seed)
    points = rng.normal(0, 6, (num_points, 3)) * (1, 1, 0.1)
    return Frame(points.astype(np.float32), rng.random(num_points, dtype=np.float32), views=views)


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
def network(config, num_classes=7):
    """A network whose normalisations have seen data and whose every number differs from its
    start.
    """
    torch.manual_seed(0)
    network = build_network(config, num_classes)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02)
    for seed in range(3):
        output = network(make_batch([make_frame(FRONT, BACK, seed=seed)], grid_of(config)))
        truth = torch.arange(2000) % num_classes
        sum(
            torch.nn.functional.cross_entropy(o.logits, truth) for o in (output, *output.auxiliary)
        ).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return network.eval()


@pytest.mark.parametrize("num_threads", [1, 3])
def test_their_logits_equal_those_of_the_training_form(config, network, num_threads):
    folded = {"cmdfusion": FoldedCmdFusion, "flagship": FoldedFlagship}[config.network](
        network, num_threads
    )
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
