"""What holds for every network: its name builds it, its checkpoint builds it again, and 16 bits
change little.
"""

import dataclasses

import numpy as np
import pytest
import torch
from builders.joins import off_identity

from cmdfusion_ros.batch import make_batch
from cmdfusion_ros.checkpoint.file import Checkpoint
from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.config import ModelConfig
from cmdfusion_ros.frame import CameraView, Frame
from cmdfusion_ros.models import build_network, grid_of

NETWORKS = ModelConfig.__dataclass_fields__["network"].metadata["choices"]
STREET = load_class_map("street")


def make_frame(seed=0, num_points=600):
    rng = np.random.default_rng(seed)
    image, intrinsic = (
        rng.integers(0, 256, (24, 48, 3), np.uint8),
        np.array([[24.0, 0, 23.5], [0, 24, 11.5], [0, 0, 1]]),
    )
    view = CameraView(
        "front",
        image,
        intrinsic,
        np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]]),
    )
    points = rng.normal(0, 3, (num_points, 3)).astype(np.float32)
    return Frame(points, rng.random(num_points, dtype=np.float32), views=(view,))


@pytest.fixture(scope="module", params=NETWORKS)
def trained(request):
    """(config, network in evaluation mode whose normalisations have seen data, batch)."""
    torch.manual_seed(0)
    config = ModelConfig(network=request.param, channels=8, voxel_size=0.4, image_size=(64, 32))
    network, batch = (
        build_network(config, STREET.num_classes),
        make_batch([make_frame(), make_frame(1)], grid_of(config)),
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
    frame = make_frame(num_points=1)
    frame.points[:] = (5.0, 0.0, 0.0) if seen else (-5.0, 0.0, 0.0)
    kept = {name: value.clone() for name, value in network.state_dict().items()}
    network.train()
    output = network(make_batch([frame], grid_of(config)))
    sum(head.logits.square().mean() for head in (output, *output.auxiliary)).backward()
    network.load_state_dict(kept)
    network.eval()
    assert output.logits.shape == (1, STREET.num_classes)
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", ["flagship", "u2mkd"])
def test_a_spoilt_image_changes_the_answer_and_is_no_target(name):
    """Blank and shuffled pictures teach the gate to shut, not the guess to say what they say."""
    torch.manual_seed(0)
    config = ModelConfig(network=name, channels=8, voxel_size=0.4, image_size=(64, 32))
    network = off_identity(build_network(config, STREET.num_classes)).train()
    frame = make_frame()
    front = frame.views[0]
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
