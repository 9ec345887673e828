"""The inference form of the SPV pyramid says what the training form says."""

import numpy as np
import pytest
import torch

from cmdfusion_ros.batch import make_batch
from cmdfusion_ros.config import ModelConfig
from cmdfusion_ros.frame import Frame
from cmdfusion_ros.models import build_network, grid_of
from cmdfusion_ros.models.folded.folded_pyramid import FoldedSpvPyramid


def make_frame(num_points=2000, seed=0, offset=0.0):
    """A plane with things on it, so that voxels have neighbours."""
    rng = np.random.default_rng(seed)
    points = rng.normal(0, 6, (num_points, 3)) * (1, 1, 0.1) + offset
    return Frame(points.astype(np.float32), rng.random(num_points, dtype=np.float32))


def trained(config, num_classes=7):
    """A network whose normalisations have seen data and whose every number differs from its
    start.
    """
    torch.manual_seed(0)
    network = build_network(config, num_classes)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    for seed in range(3):
        batch = make_batch([make_frame(seed=seed)], grid_of(config))
        torch.nn.functional.cross_entropy(
            network(batch).logits, torch.arange(2000) % num_classes
        ).backward()
        optimizer.step()
    return network.eval()


@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.parametrize("strides", [(1, 2, 4, 8), (1, 2, 2, 4, 4), (1, 4)])
def test_its_logits_equal_those_of_the_training_form(strides, num_threads):
    config = ModelConfig(channels=8, voxel_size=0.3, strides=strides)
    network = trained(config)
    folded = FoldedSpvPyramid(network, num_threads)
    for frames in (
        [make_frame(3000, seed=5)],
        [make_frame(500, seed=6), make_frame(0), make_frame(800, seed=7)],
        [make_frame(1)],
        [make_frame(0)],
    ):
        batch = make_batch(frames, grid_of(config))
        with torch.no_grad():
            truth = network(batch).logits
        logits = folded(batch).logits
        assert logits.shape == truth.shape
        assert torch.allclose(logits, truth, atol=1e-4)
    folded.close()


def test_it_is_as_exact_a_hundred_metres_away():
    config = ModelConfig(channels=8, voxel_size=0.1, strides=(1, 2, 4))
    network = trained(config)
    folded = FoldedSpvPyramid(network, 1)
    batch = make_batch([make_frame(seed=3, offset=100.0)], grid_of(config))
    with torch.no_grad():
        truth = network(batch).logits
    assert torch.allclose(folded(batch).logits, truth, atol=1e-4 * truth.abs().max())


def test_many_blocks_give_the_same_as_one(monkeypatch):
    config = ModelConfig(channels=8, voxel_size=0.3, strides=(1, 2, 4))
    network = trained(config)
    batch = make_batch([make_frame(30_000)], grid_of(config))
    assert len(batch.scale(1).voxel_coords) > 9000  # more than one block of rows
    folded = FoldedSpvPyramid(network, 2)
    with torch.no_grad():
        assert torch.allclose(folded(batch).logits, network(batch).logits, atol=1e-4)
    folded.close()


def test_the_batch_is_not_changed():
    config = ModelConfig(channels=8, voxel_size=0.3, strides=(1, 2, 4))
    folded = FoldedSpvPyramid(trained(config), 1)
    batch = make_batch([make_frame()], grid_of(config))
    points, first = batch.points.clone(), folded(batch).logits
    assert torch.equal(folded(batch).logits, first) and torch.equal(batch.points, points)
