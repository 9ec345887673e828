"""What holds for every network: its name builds it, its checkpoint builds it again, and 16 bits
change little.
"""

import dataclasses

import numpy as np
import pytest
import torch
from builders.joins import off_identity
from builders.small_scans import (
    looking,
    require_a_batch_is_its_frames,
    require_order_of_points_has_no_effect,
    scattered,
)

from cmdfusion_ros.batch import make_batch
from cmdfusion_ros.checkpoint.file import Checkpoint
from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.config import ModelConfig
from cmdfusion_ros.models import build_network, grid_of

NETWORKS = ModelConfig.__dataclass_fields__["network"].metadata["choices"]
STREET = load_class_map("street")
FRONT = looking("front", 0)


@pytest.fixture(scope="module", params=NETWORKS)
def trained(request):
    """(config, network in evaluation mode whose normalisations have seen data, batch)."""
    torch.manual_seed(0)
    config = ModelConfig(network=request.param, channels=8, voxel_size=0.4, image_size=(64, 32))
    network, batch = (
        build_network(config, STREET.num_classes),
        make_batch(
            [scattered(FRONT, num_points=600, seed=seed) for seed in range(2)], grid_of(config)
        ),
    )
    for _ in range(8):
        network(batch)
    return config, network.eval(), batch


def test_a_checkpoint_builds_it_again(trained):
    config, network, batch = trained
    again = Checkpoint(network.state_dict(), config, STREET).build_network()
    with torch.no_grad():
        assert torch.equal(again(batch).row_logits, network(batch).row_logits)


def test_layers_that_compute_with_16_bits_say_nearly_the_same_and_train(trained):
    _, network, batch = trained
    with torch.no_grad():
        truth = network(batch).logits
        with torch.autocast("cpu", torch.bfloat16):
            rough = network(batch).logits.float()
    assert (rough - truth).abs().mean() < 0.02 * truth.abs().max()
    network.train()
    with torch.autocast("cpu", torch.bfloat16):
        output = network(batch)
    sum(head.logits.float().square().mean() for head in (output, *output.auxiliary)).backward()
    network.eval()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


@pytest.mark.parametrize("seen", [True, False])
def test_a_single_point_is_trained_on(trained, seen):
    """One voxel at every scale, and one point in a camera's view or beside it."""
    config, network, _ = trained
    frame = scattered(FRONT, num_points=1)
    frame.points[:] = (5.0, 0.0, 0.0) if seen else (-5.0, 0.0, 0.0)
    kept = {name: value.clone() for name, value in network.state_dict().items()}
    network.train()
    output = network(make_batch([frame], grid_of(config)))
    sum(head.logits.square().mean() for head in (output, *output.auxiliary)).backward()
    network.load_state_dict(kept)
    network.eval()
    assert output.logits.shape == (1, STREET.num_classes)
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


def test_a_batch_of_three_gives_the_logits_of_batches_of_one(trained):
    config, network, _ = trained
    frames = [
        scattered(FRONT, seed=7),
        scattered(num_points=0),
        scattered(num_points=120, seed=8),
    ]
    require_a_batch_is_its_frames(network, config, *frames)


def test_shuffled_points_give_shuffled_logits(trained):
    config, network, _ = trained
    require_order_of_points_has_no_effect(network, config, scattered(FRONT))


@pytest.mark.parametrize("name", ["flagship", "u2mkd"])
def test_a_spoilt_image_changes_the_answer_and_is_no_target(name):
    """Blank and shuffled pictures teach the gate to shut, not the guess to say what they say."""
    torch.manual_seed(0)
    config = ModelConfig(network=name, channels=8, voxel_size=0.4, image_size=(64, 32))
    network = off_identity(build_network(config, STREET.num_classes)).train()
    frame, front = scattered(FRONT, num_points=600), FRONT
    turned = np.diag([-1.0, 1, -1, 1])
    back = dataclasses.replace(
        front,
        name="back",
        image=front.image[::-1].copy(),
        camera_from_lidar=turned @ front.camera_from_lidar,
    )

    def answer(*views):
        torch.manual_seed(1)  # of what is dropped in training
        with torch.no_grad():
            return network(make_batch([dataclasses.replace(frame, views=views)], grid_of(config)))

    output, whole, front_alone = (
        answer(front, dataclasses.replace(back, is_spoilt=True)),
        answer(front, back),
        answer(front),
    )
    assert torch.equal(output.logits, whole.logits) and not torch.equal(
        output.logits, front_alone.logits
    )
    assert torch.equal(
        output.pixels.point_rows, (output.camera_mask == 1).nonzero()[:, 0]
    ) and 0 < len(output.pixels.point_rows) < len(whole.pixels.point_rows)
    assert all(len(level) == len(output.pixels.point_rows) for level in output.pixels.levels)
