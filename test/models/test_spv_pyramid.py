"""The SPV pyramid against a slow copy of its published form, and its symmetries."""

import numpy as np
import pytest
import torch
from builders.small_scans import (
    learn,
    loss_of,
    scattered,
    small_network,
    without_gradient,
)
from torch.nn.functional import leaky_relu

from cmdfusion_ros.batch import make_batch
from cmdfusion_ros.config import ModelConfig
from cmdfusion_ros.models import build_network, grid_of

CONFIG = ModelConfig(inputs="raw", channels=8, voxel_size=0.5, strides=(1, 2, 4, 4))
NUM_CLASSES = 5


def make_frame(num_points=400, seed=0):
    return scattered(num_points=num_points, seed=seed)


def batch_of(*frames):
    return make_batch(frames, grid_of(CONFIG))


@pytest.fixture
def network():
    return small_network(CONFIG, NUM_CLASSES, [make_frame(seed=seed) for seed in range(3)])


def dense_conv(features, coords, conv):
    """Submanifold convolution by a dictionary of voxels."""
    rows = {tuple(c): i for i, c in enumerate(coords.tolist())}
    size = conv.kernel_size
    out = torch.zeros(len(features), conv.out_channels)
    for o, (b, x, y, z) in enumerate(coords.tolist()):
        for k in range(size**3):
            dx, dy, dz = (
                k // size**2 - size // 2,
                k // size % size - size // 2,
                k % size - size // 2,
            )
            i = rows.get((b, x + dx, y + dy, z + dz))
            if i is not None:
                out[o] += features[i] @ conv.weight[k]
    return out


def means(values, index):
    """Mean of the rows of each target, all targets hit."""
    return torch.stack([values[index == row].mean(0) for row in range(int(index.max()) + 1)])


def published_block(block, features, coords, index, next_index):
    """The encoder's block step by step: the point path on points."""
    voxel = features
    for residual in block.voxel_path:
        skip = residual.skip_norm(dense_conv(voxel, coords, residual.skip))
        inner = leaky_relu(residual.first_norm(dense_conv(voxel, coords, residual.first)), 0.1)
        voxel = leaky_relu(
            residual.second_norm(dense_conv(inner, coords, residual.second)) + skip, 0.1
        )
    both = features + voxel
    groups = torch.unique(
        torch.cat([coords[:, :1], torch.div(coords[:, 1:], 2, rounding_mode="floor")], 1),
        dim=0,
        return_inverse=True,
    )[1]
    context = block.context.mlp(means(both, groups))[groups]
    identity = leaky_relu(block.identity(both), 0.1)
    on_points = torch.cat([identity, context], 1)[index]
    weight = torch.cat([block.join_identity.weight, block.join_context.weight], 1)
    on_points = block.out(leaky_relu(on_points @ weight.T + block.join_identity.bias, 0.1))
    new = means(on_points, next_index)
    return new + means(voxel[index], next_index), new[next_index]


def published_form(network, batch):
    fine = batch.scale(1)
    index = fine.point_to_voxel
    offset_mean = batch.points - means(batch.points, index)[index]
    offset_corner = batch.points - fine.voxel_coords[:, 1:][index] * CONFIG.voxel_size
    inputs = torch.cat([batch.points, batch.intensity[:, None], offset_mean, offset_corner], 1)
    features = means(network.embedding.mix(torch.relu(network.embedding.lift(inputs))), index)
    scales = [batch.scale(stride) for stride in CONFIG.strides]
    on_points = []
    for block, scale, following in zip(network.encoder.blocks, scales, scales[1:], strict=False):
        features, z = published_block(
            block, features, scale.voxel_coords, scale.point_to_voxel, following.point_to_voxel
        )
        on_points.append(z)
    return network.head.logits(torch.relu(network.head.hidden(torch.cat(on_points, 1))))


def test_logits_equal_those_of_the_published_form_on_points(network):
    batch = batch_of(make_frame(120, seed=5), make_frame(80, seed=6))
    with torch.no_grad():
        assert torch.allclose(network(batch).logits, published_form(network, batch), atol=1e-4)


def test_the_encoder_gives_features_of_every_scale_for_later_fusion(network):
    batch = batch_of(make_frame())
    features = network.encoder(network.embedding(batch), batch)
    assert [tuple(f.shape) for f in features] == [
        (len(batch.scale(stride).voxel_coords), 8) for stride in (2, 4, 4)
    ]


def test_every_parameter_receives_gradient():
    torch.manual_seed(0)
    network = build_network(CONFIG, NUM_CLASSES)
    loss_of(network(batch_of(make_frame())), torch.arange(400) % NUM_CLASSES).backward()
    assert without_gradient(network) == []


def test_a_few_steps_learn_a_simple_scene():
    """Labels by height: after 30 steps nearly every point is right."""
    torch.manual_seed(0)
    frame = make_frame(600)
    truth = torch.from_numpy((frame.points[:, 2] > 0).astype(np.int64))
    network, batch = build_network(CONFIG, 2), batch_of(frame)
    # points near the border share voxels of 1 m
    assert min(learn(network, batch, truth, steps=30)) > 0.85


def test_an_empty_frame_has_no_logits_alone_and_changes_nothing_among_others(network):
    empty, full = make_frame(0), make_frame()
    with torch.no_grad():
        assert network(batch_of(empty)).logits.shape == (0, NUM_CLASSES)
        assert torch.allclose(
            network(batch_of(empty, full)).logits, network(batch_of(full)).logits, atol=1e-5
        )


def test_a_single_point_gets_logits(network):
    with torch.no_grad():
        assert torch.isfinite(network(batch_of(make_frame(1))).logits).all()


def test_the_grid_has_each_stride_once():
    assert grid_of(CONFIG).strides == (1, 2, 4) and grid_of(CONFIG).voxel_size == 0.5
