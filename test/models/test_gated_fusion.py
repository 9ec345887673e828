"""Gated fusion against its formula on points, frame by frame."""

import torch

from cmdfusion_ros.models.gated_fusion import GatedFusion, ScalarGatedFusion, frame_means

FRAMES = torch.tensor([0, 0, 0, 2, 2])  # frame 1 is empty
COUNTS = torch.tensor([1.0, 3.0, 2.0, 4.0, 1.0])


def random_features(seed, num_rows=5, channels=6):
    return torch.randn(num_rows, channels, generator=torch.Generator().manual_seed(seed))


def test_the_mean_of_a_frame_is_over_its_points():
    features = random_features(0)
    on_points = features.repeat_interleave(COUNTS.long(), 0)
    means = frame_means(features, FRAMES, COUNTS, 3)
    torch.testing.assert_close(
        means, torch.stack([on_points[:6].mean(0), torch.zeros(6), on_points[6:].mean(0)])
    )


def test_the_mean_of_a_large_frame_is_true_in_16_bits():
    features, counts = (
        torch.full((30_000, 2), 0.5, dtype=torch.bfloat16),
        torch.full((30_000,), 3.0),
    )
    assert frame_means(features, torch.zeros(30_000, dtype=torch.int64), counts, 1).tolist() == [
        [0.5, 0.5]
    ]


def test_it_is_the_published_formula_on_the_points_of_each_frame():
    torch.manual_seed(0)
    fusion, target, source = GatedFusion(6), random_features(1), random_features(2)
    fused = fusion(target, source, FRAMES, COUNTS, 3).repeat_interleave(COUNTS.long(), 0)
    for rows in (slice(0, 6), slice(6, 11)):
        z, other = (x.repeat_interleave(COUNTS.long(), 0)[rows] for x in (target, source))
        h = fusion.join(torch.cat([z, torch.relu(fusion.message(other))], 1))
        gate = torch.sigmoid(fusion.gate(torch.cat([h, h.mean(0, keepdim=True).expand_as(h)], 1)))
        torch.testing.assert_close(fused[rows], z + torch.relu(h * gate))


def test_a_frame_does_not_feel_its_company():
    torch.manual_seed(0)
    fusion, target, source = GatedFusion(6), random_features(1), random_features(2)
    alone = fusion(target[:3], source[:3], FRAMES[:3], COUNTS[:3], 1)
    torch.testing.assert_close(fusion(target, source, FRAMES, COUNTS, 3)[:3], alone)


def test_nothing_fuses_to_nothing():
    empty = torch.zeros(0, 6)
    assert GatedFusion(6)(empty, empty, FRAMES[:0], COUNTS[:0], 2).shape == (0, 6)


def test_a_closed_scalar_gate_lets_nothing_of_the_source_through():
    torch.manual_seed(0)
    fusion = ScalarGatedFusion(6, 4).eval()
    target = random_features(1)
    torch.nn.init.constant_(fusion.gate.bias, -100.0)
    shut = [fusion(target, random_features(seed, channels=4)) for seed in (2, 3)]
    torch.testing.assert_close(*shut)
    torch.nn.init.constant_(fusion.gate.bias, 0.0)
    opened = [fusion(target, random_features(seed, channels=4)) for seed in (2, 3)]
    torch.testing.assert_close(opened, [target, target])  # it starts as identity, open or shut
    torch.nn.init.normal_(fusion.join.weight)
    opened = [fusion(target, random_features(seed, channels=4)) for seed in (2, 3)]
    assert not torch.allclose(*opened) and opened[0].shape == (5, 6)
