"""CMDFusion: its published form on points, no path for images, both directions trained, and it
learns.
"""

import numpy as np
import pytest
import torch
from builders.small_scans import (
    learn,
    looking,
    loss_of,
    quadrant,
    scattered,
    small_network,
    without_gradient,
)

from cmdfusion_ros.batch import make_batch
from cmdfusion_ros.checkpoint.file import Checkpoint
from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.config import ModelConfig
from cmdfusion_ros.inference import Segmenter
from cmdfusion_ros.models import build_network, grid_of

CONFIG = ModelConfig(network="cmdfusion", channels=8, voxel_size=0.5, strides=(1, 2, 4, 4))
NUM_CLASSES = 5


def batch_of(*frames):
    return make_batch(frames, grid_of(CONFIG))


@pytest.fixture
def network():
    return small_network(CONFIG, NUM_CLASSES, [scattered(seed=seed) for seed in range(3)])


def published_logits(network, frame, gates, head, towards_lidar):
    """CMDFusion's fusion on the points of one frame, from the features of both encoders."""
    batch = batch_of(frame)
    embedded = network.embedding(batch)
    branches = []
    for encoder in (network.lidar, network.knowledge):
        features = zip(encoder(embedded, batch), CONFIG.strides[1:], strict=True)
        branches.append([x[batch.scale(stride).point_to_voxel] for x, stride in features])
    targets, sources = branches if towards_lidar else reversed(branches)
    fused = []
    for gate, target, source in zip(gates, targets, sources, strict=True):
        h = gate.join(torch.cat([target, torch.relu(gate.message(source))], 1))
        g = torch.sigmoid(gate.gate(torch.cat([h, h.mean(0, keepdim=True).expand_as(h)], 1)))
        fused.append(target + torch.relu(h * g))
    return head.logits(torch.relu(head.hidden(torch.cat(fused, 1))))


def test_logits_of_both_directions_are_those_of_the_published_form_frame_by_frame(network):
    frames = [scattered(num_points=120, seed=5), scattered(num_points=80, seed=6)]
    network.eval().training = True  # of the outer module alone: normalisations stay as they are
    with torch.no_grad():
        output = network(batch_of(*frames))
        ahead = torch.cat(
            [
                published_logits(network, frame, network.to_lidar, network.head, True)
                for frame in frames
            ]
        )
        back = torch.cat(
            [
                published_logits(
                    network, frame, network.to_knowledge, network.knowledge_head, False
                )
                for frame in frames
            ]
        )
    torch.testing.assert_close(output.logits, ahead, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(output.auxiliary[0].logits, back, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "channels, strides, encoder, inference",
    [(128, (1, 2, 4, 8, 16), 7.56, 15.5), (256, (1, 2, 4, 8, 16, 16, 16), 45.35, 92.9)],
)
def test_the_papers_widths_have_their_numbers_of_parameters(channels, strides, encoder, inference):
    """In millions, as in the authors' network; inference needs all but gates and the head of the
    other direction. Heads differ by one class.
    """
    with torch.device("meta"):
        network = build_network(
            ModelConfig(network="cmdfusion", channels=channels, strides=strides), 19
        )
    millions = {
        name: sum(p.numel() for p in part.parameters()) / 1e6
        for name, part in network.named_children()
    }
    assert millions["lidar"] == pytest.approx(encoder, abs=0.01)
    assert sum(
        millions[name] for name in ("embedding", "lidar", "knowledge", "to_lidar", "head")
    ) == pytest.approx(inference, abs=0.1)


def test_training_gets_the_other_head_and_the_knowledge_of_every_scale_and_inference_does_not(
    network,
):
    batch = batch_of(scattered())
    output = network.train()(batch)
    assert len(output.auxiliary) == 1 and output.auxiliary[
        0
    ].logits.shape == output.logits.shape == (300, NUM_CLASSES)
    assert [(x.stride, tuple(x.features.shape)) for x in output.knowledge] == [
        (s, (len(batch.scale(s).voxel_coords), 8)) for s in (2, 4, 4)
    ]
    quiet = network.eval()(batch)
    assert quiet.auxiliary == () and quiet.knowledge == ()


def test_every_parameter_receives_gradient_from_the_two_heads():
    torch.manual_seed(0)
    network = build_network(CONFIG, NUM_CLASSES)
    output = network(batch_of(scattered()))
    loss_of(output, torch.arange(300) % NUM_CLASSES).backward()
    assert without_gradient(network) == []


def test_labels_and_confidence_are_the_same_bits_with_and_without_images(network):
    street = load_class_map("street")
    torch.manual_seed(1)
    wide = build_network(CONFIG, street.num_classes)
    wide(batch_of(scattered()))
    segmenter = Segmenter(
        Checkpoint(wide.eval().state_dict(), CONFIG, street), device="cpu", cpu_threads=1
    )
    views = (looking("front", 0), looking("back", 180))
    blind, seeing = (
        segmenter.segment(scattered(seed=4)),
        segmenter.segment(scattered(*views, seed=4)),
    )
    assert np.array_equal(blind.labels, seeing.labels) and np.array_equal(
        blind.confidence, seeing.confidence
    )
    assert not seeing.camera_mask.any()
    with torch.no_grad():
        assert torch.equal(
            network(batch_of(scattered(*views))).logits,
            network(batch_of(scattered())).logits,
        )


def test_it_learns_one_small_scan():
    torch.manual_seed(0)
    frame = scattered(num_points=400)
    config = ModelConfig(network="cmdfusion", channels=16, voxel_size=0.1, strides=(1, 2, 4))
    network, batch = build_network(config, 4), make_batch([frame], grid_of(config))
    assert min(learn(network, batch, quadrant(frame), steps=50)) > 0.95
