"""Attention in windows: what the definition says, voxel by voxel; nothing passes between
windows, frames or, past the last tile, pieces of a window.
"""

import math

import numpy as np
import pytest
import torch

from cmdfusion_ros.batch import make_batch
from cmdfusion_ros.config import ModelConfig, SettingsError
from cmdfusion_ros.frame import Frame
from cmdfusion_ros.models import build_network, grid_of
from cmdfusion_ros.models.window_attention import BINS, NEAR, WindowAttention
from cmdfusion_ros.sparse.tensor import KernelMaps, SparseTensor

VOXEL, CUBE, DEGREES = 0.5, 3.0, 20.0


def make_tensor(frames, per_frame, spread, channels=8, seed=0):
    rng = np.random.default_rng(seed)
    coords = [
        np.unique(rng.normal(0, spread, (per_frame, 3)).astype(np.int32), axis=0)
        for _ in range(frames)
    ]
    coords = torch.from_numpy(
        np.concatenate([np.insert(c, 0, i, axis=1) for i, c in enumerate(coords)]).astype(np.int32)
    )
    return SparseTensor(
        torch.from_numpy(rng.standard_normal((len(coords), channels)).astype(np.float32)),
        coords,
        1,
        KernelMaps({1: coords}),
    )


@pytest.fixture
def attention():
    torch.manual_seed(0)
    module = WindowAttention(8, VOXEL, CUBE, DEGREES)
    with torch.no_grad():
        for table in (module.of_cubes, module.of_cones):
            table.normal_()
    return module.eval()


def slowly(module, x):
    """The block by its definition: every voxel against every other, those of other windows left
    out.
    """
    places = (x.voxel_coords[:, 1:].double() + 0.5) * VOXEL
    distance, ground = places.norm(dim=1), places[:, :2].norm(dim=1)
    azimuth, elevation = torch.atan2(places[:, 1], places[:, 0]), torch.atan2(places[:, 2], ground)
    q, k, v = (
        module.inward(module.before(x.features)).reshape(len(places), 3, module.heads, -1).unbind(1)
    )
    answer = torch.zeros_like(x.features).reshape(len(places), module.heads, -1)
    cone = math.radians(DEGREES)
    for i in range(len(places)):
        for head in range(module.heads):
            in_cubes = head < module.heads // 2
            bias = []
            for j in range(len(places)):
                difference = places[i] - places[j]
                if in_cubes:
                    same = torch.equal(torch.floor(places[i] / CUBE), torch.floor(places[j] / CUBE))
                    bins = difference * BINS / CUBE
                else:
                    same = all(
                        math.floor(a[i] / cone) == math.floor(a[j] / cone)
                        for a in (azimuth, elevation)
                    )
                    far = float(distance[i] - distance[j])
                    octaves = math.copysign(
                        math.floor(2 * math.log2(max(abs(far), NEAR) / NEAR)), far
                    )
                    bins = torch.tensor(
                        [
                            (azimuth[i] - azimuth[j]) * BINS / cone,
                            (elevation[i] - elevation[j]) * BINS / cone,
                            octaves,
                        ]
                    )
                table = (module.of_cubes if in_cubes else module.of_cones)[
                    ..., head % (module.heads // 2)
                ]
                place = [int(torch.round(b).clamp(1 - BINS, BINS - 1)) + BINS - 1 for b in bins]
                number = float(sum(table[axis, place[axis]] for axis in range(3)))
                bias.append(
                    number if same and x.voxel_coords[i, 0] == x.voxel_coords[j, 0] else -math.inf
                )
            weights = torch.softmax(
                q[i, head] @ k[:, head].T / math.sqrt(q.shape[-1]) + torch.tensor(bias), 0
            )
            answer[i, head] = weights @ v[:, head]
    features = x.features + module.outward(answer.flatten(1))
    return features + module.perceptron(module.between(features))


def test_it_is_what_the_definition_says(attention):
    x = make_tensor(2, 45, 2.5)
    with torch.no_grad():
        torch.testing.assert_close(
            attention(x).features, slowly(attention, x), atol=1e-4, rtol=1e-4
        )


def test_voxels_of_other_frames_change_nothing(attention):
    x = make_tensor(2, 400, 4)
    first = x.voxel_coords[:, 0] == 0
    coords = x.voxel_coords[first]
    with torch.no_grad():
        both, alone = (
            attention(x).features[first],
            attention(SparseTensor(x.features[first], coords, 1, KernelMaps({1: coords}))).features,
        )
    torch.testing.assert_close(both, alone, atol=1e-5, rtol=1e-5)


def test_windows_with_more_voxels_than_a_tile_are_cut_and_none_is_lost(attention):
    x = make_tensor(1, 3000, 3)  # hundreds of voxels within 3 m
    with torch.no_grad():
        changed = attention(x).features
    assert (
        changed.shape == x.features.shape
        and torch.isfinite(changed).all()
        and ((changed - x.features).abs().amax(1) > 1e-3).all()
    )


def test_no_voxels_give_none(attention):
    assert attention(make_tensor(1, 0, 1)).features.shape == (0, 8)


@pytest.mark.parametrize("network", ["spv_unet", "u2mkd"])
def test_networks_with_it_train_every_parameter_and_keep_frames_apart(network):
    config = ModelConfig(
        network=network, attention="windows", channels=4, voxel_size=0.3, image_size=(64, 32)
    )
    torch.manual_seed(0)
    module, rng = build_network(config, 5), np.random.default_rng(0)
    frames = [
        Frame(rng.normal(0, 4, (600, 3)).astype(np.float32), rng.random(600, dtype=np.float32))
        for _ in range(2)
    ]
    logits = module(make_batch(frames, grid_of(config))).logits
    torch.nn.functional.cross_entropy(logits, torch.arange(1200) % 5).backward()
    ours = [(name, p) for name, p in module.named_parameters() if ".attention." in name]
    assert (
        len(ours) == 4 * 14
        and [name for name, p in ours if p.grad is None or not torch.isfinite(p.grad).all()] == []
    )
    assert any(p.grad.abs().sum() > 0 for name, p in ours if name.endswith("of_cones"))
    module.eval()
    with torch.no_grad():
        both = module(make_batch(frames, grid_of(config))).logits
        alone = torch.cat([module(make_batch([frame], grid_of(config))).logits for frame in frames])
    torch.testing.assert_close(both, alone, atol=1e-4, rtol=1e-4)


def test_networks_without_a_unet_refuse_it():
    with pytest.raises(SettingsError, match="attention: expected none for network flagship"):
        ModelConfig(network="flagship", attention="windows")
    with pytest.raises(SettingsError, match="channels: expected an even number for attention"):
        ModelConfig(network="spv_unet", attention="windows", channels=5)


@pytest.mark.parametrize("channels, heads", [(4, 2), (24, 2), (64, 4), (112, 4), (256, 16)])
def test_heads_come_in_pairs_and_divide_the_channels(channels, heads):
    assert WindowAttention(channels, VOXEL, CUBE, DEGREES).heads == heads and channels % heads == 0
