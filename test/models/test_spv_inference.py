"""The fast form of the SPV pyramid against its training form."""

import numpy as np
import pytest
import torch

from cmdfusion_ros.batch import make_batch
from cmdfusion_ros.frame import Frame
from cmdfusion_ros.geometry.voxels import VoxelGrid
from cmdfusion_ros.models.spv_inference import SpvPyramidInference
from cmdfusion_ros.models.spv_pyramid import SpvPyramid
from cmdfusion_ros.sparse.workers import Workers


def random_frame(num_points, seed=0):
    generator = np.random.default_rng(seed)
    points = (generator.normal(size=(num_points, 3)) * [8, 8, 0.7]).astype(np.float32)
    return Frame(points=points, intensity=generator.random(num_points, dtype=np.float32), stamp=0, frame_id="lidar")


def trained(strides):
    """A network whose batch norms are no longer the identity."""
    torch.manual_seed(0)
    network = SpvPyramid(8, strides, 5)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.3)
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 1.5)
    return network.eval()


@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.parametrize("strides", [(1, 2, 4, 8), (1, 1, 2, 6)])
def test_the_fast_form_gives_the_logits_of_the_training_form(strides, num_threads):
    network, workers = trained(strides), Workers(num_threads)
    batch = make_batch([random_frame(6000), random_frame(0), random_frame(500, seed=1)], VoxelGrid(0.3, tuple(sorted(set(strides)))))
    with torch.inference_mode():
        expected = network(batch)
    result = SpvPyramidInference(network, workers)(batch)
    workers.close()
    assert torch.equal(result.point_to_row, expected.point_to_row)
    torch.testing.assert_close(result.row_logits, expected.row_logits, rtol=1e-4, atol=1e-4)


def test_frames_without_points_give_no_rows():
    workers = Workers(2)
    result = SpvPyramidInference(trained((1, 2, 4)), workers)(make_batch([random_frame(0)], VoxelGrid(0.1, (1, 2, 4))))
    workers.close()
    assert result.row_logits.shape == (0, 5) and result.logits.shape == (0, 5)
