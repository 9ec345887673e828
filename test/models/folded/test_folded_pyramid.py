"""The inference form of the SPV pyramid says what the training form says."""

import pytest
import torch
from builders.small_scans import flat, moved_network

from cmdfusion_ros.batch import make_batch
from cmdfusion_ros.config import ModelConfig
from cmdfusion_ros.models import grid_of
from cmdfusion_ros.models.folded.folded_pyramid import FoldedSpvPyramid


def trained(config):
    frames = [flat(seed=seed) for seed in range(3)]
    return moved_network(config, frames, learning_rate=0.05)


@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.parametrize("strides", [(1, 2, 4, 8), (1, 2, 2, 4, 4), (1, 4)])
def test_its_logits_equal_those_of_the_training_form(strides, num_threads):
    config = ModelConfig(channels=8, voxel_size=0.3, strides=strides)
    network = trained(config)
    folded = FoldedSpvPyramid(network, num_threads)
    for frames in (
        [flat(num_points=3000, seed=5)],
        [flat(num_points=500, seed=6), flat(num_points=0), flat(num_points=800, seed=7)],
        [flat(num_points=1)],
        [flat(num_points=0)],
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
    batch = make_batch([flat(seed=3, offset=100.0)], grid_of(config))
    with torch.no_grad():
        truth = network(batch).logits
    assert torch.allclose(folded(batch).logits, truth, atol=1e-4 * truth.abs().max())


def test_many_blocks_give_the_same_as_one(monkeypatch):
    config = ModelConfig(channels=8, voxel_size=0.3, strides=(1, 2, 4))
    network = trained(config)
    batch = make_batch([flat(num_points=30_000)], grid_of(config))
    assert len(batch.scale(1).voxel_coords) > 9000  # more than one block of rows
    folded = FoldedSpvPyramid(network, 2)
    with torch.no_grad():
        assert torch.allclose(folded(batch).logits, network(batch).logits, atol=1e-4)
    folded.close()


def test_the_batch_is_not_changed():
    config = ModelConfig(channels=8, voxel_size=0.3, strides=(1, 2, 4))
    folded = FoldedSpvPyramid(trained(config), 1)
    batch = make_batch([flat()], grid_of(config))
    points, first = batch.points.clone(), folded(batch).logits
    assert torch.equal(folded(batch).logits, first) and torch.equal(batch.points, points)
