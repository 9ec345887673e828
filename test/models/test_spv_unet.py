"""The sparse U-Net: against dense convolutions on a full grid, its symmetries, and it learns."""

import numpy as np
import pytest
import torch
from builders.small_scans import (
    learn,
    loss_of,
    quadrant,
    scattered,
    small_network,
    without_gradient,
)
from torch.nn.functional import conv3d, conv_transpose3d

from cmdfusion_ros.batch import make_batch
from cmdfusion_ros.config import ModelConfig, SettingsError
from cmdfusion_ros.frame import Frame
from cmdfusion_ros.models import build_network, grid_of

CONFIG = ModelConfig(network="spv_unet", channels=4, voxel_size=0.5)


def make_frame(**options):
    return scattered(spread=5.0, **options)


def batch_of(*frames):
    return make_batch(frames, grid_of(CONFIG))


@pytest.fixture
def network():
    return small_network(CONFIG, 5, [make_frame(seed=seed) for seed in range(3)])


def kernel(conv, transposed=False):
    """The weights of a sparse convolution as those of a dense one."""
    size = conv.kernel_size
    return conv.weight.reshape(size, size, size, conv.in_channels, conv.out_channels).permute(
        *((3, 4) if transposed else (4, 3)), 0, 1, 2
    )


def normed(norm, x):
    """BatchNorm1d in evaluation mode on (1, C, X, Y, Z)."""
    return norm(x[0].flatten(1).T).T.reshape(x.shape)


def dense_block(block, x):
    inner = normed(block.first.norm, conv3d(x, kernel(block.first.convolution), padding=1)).relu()
    inner = normed(block.second_norm, conv3d(inner, kernel(block.second), padding=1))
    rows = block.skip(x[0].flatten(1).T)
    return (inner + rows.T.reshape(inner.shape)).relu()


def dense_network(network, embedded):
    """The upsampling on a grid without a hole and with one point a voxel: (1, C, 16, 16, 16) -> (1,
    classes, 16, 16, 16).
    """

    def points(layer, x):
        return layer(x[0].flatten(1).T).T.reshape(1, -1, 16, 16, 16)

    def spread(x):
        return (
            x.repeat_interleave(16 // x.shape[2], 2)
            .repeat_interleave(16 // x.shape[2], 3)
            .repeat_interleave(16 // x.shape[2], 4)
        )

    def mean(x, size):
        return torch.nn.functional.avg_pool3d(x, 16 // size)

    x = embedded
    for layer in network.stem:
        x = normed(layer.norm, conv3d(x, kernel(layer.convolution), padding=1)).relu()
    encoded = [x]
    for stage in network.down:
        x = normed(stage.down.norm, conv3d(x, kernel(stage.down.convolution), stride=2)).relu()
        for block in stage.blocks:
            x = dense_block(block, x)
        encoded.append(x)
    z = spread(x) + points(network.of_points[0], encoded[0])
    x = mean(z, 1)
    for number, stage in enumerate(network.up):
        x = normed(
            stage.up.norm, conv_transpose3d(x, kernel(stage.up.convolution, True), stride=2)
        ).relu()
        x = torch.cat([x, encoded[3 - number]], 1)
        for block in stage.blocks:
            x = dense_block(block, x)
        if number == 1:
            z = spread(x) + points(network.of_points[1], z)
            x = mean(z, 4)
    z = x + points(network.of_points[2], z)
    return network.head(z[0].flatten(1).T)


def test_on_a_full_grid_its_logits_are_those_of_dense_convolutions(network):
    cells = np.stack(np.meshgrid(*[np.arange(16)] * 3, indexing="ij"), -1).reshape(-1, 3)
    points = ((cells + 0.4) * 0.5).astype(np.float32)
    frames = [
        Frame(points, np.random.default_rng(seed).random(len(points), dtype=np.float32))
        for seed in range(2)
    ]
    batch = batch_of(frames[0])
    for _ in range(10):
        # with 27 neighbours everywhere, features are not what the fixture's statistics expect
        network.train()(batch_of(*frames))
    with torch.no_grad():
        output = network.eval()(batch)
        # voxels are sorted by x, y, z as the grid is
        embedded = network.embedding(batch).features.T.reshape(1, -1, 16, 16, 16)
        torch.testing.assert_close(
            output.row_logits, dense_network(network, embedded), atol=1e-4, rtol=1e-4
        )
    assert output.deep.stride == 16 and output.deep.features.shape == (1, 32)


def test_every_parameter_receives_gradient():
    torch.manual_seed(0)
    network = build_network(CONFIG, 5)
    loss_of(network(batch_of(make_frame())), torch.arange(300) % 5).backward()
    assert without_gradient(network) == []


def test_its_widths_are_those_of_u2mkd():
    with torch.device("meta"):
        network = build_network(ModelConfig(network="spv_unet", channels=32), 17)
    millions = sum(p.numel() for p in network.parameters()) / 1e6
    # 21.8 million in the paper's SPVCNN; the embedding and the classes differ a little
    assert 21.5 < millions < 22.1


def test_other_strides_are_refused():
    with pytest.raises(
        SettingsError,
        match=(
            r"strides: spv_unet has the strides \(1, 2, 4, 8, 16\), got \(1, 2, 4\); change "
            r"voxel_size"
        ),
    ):
        ModelConfig(network="spv_unet", strides=(1, 2, 4))


def test_it_learns_one_small_scan():
    torch.manual_seed(0)
    frame = make_frame(num_points=400)
    config = ModelConfig(network="spv_unet", channels=8, voxel_size=0.2)
    network, batch = build_network(config, 4), make_batch([frame], grid_of(config))
    assert min(learn(network, batch, quadrant(frame), steps=20)) > 0.95
