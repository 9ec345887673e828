"""The flagship: CMDFusion without cameras, image features where there are some, the same for
every way a camera can be missing.
"""

import dataclasses

import numpy as np
import pytest
import torch
from builders.small_scans import (
    BACK,
    FRONT,
    LEFT,
    OPTICAL_FROM_AHEAD,
    learn,
    logits_of,
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
from cmdfusion_ros.frame import CameraView, Frame
from cmdfusion_ros.geometry.transforms import rigid
from cmdfusion_ros.inference import Segmenter
from cmdfusion_ros.models import build_network, grid_of

CONFIG = ModelConfig(
    network="flagship", channels=8, voxel_size=0.5, strides=(1, 2, 4, 4), image_size=(64, 32)
)
STREET = load_class_map("street")


def batch_of(*frames):
    return make_batch(frames, grid_of(CONFIG))


@pytest.fixture(scope="module", params=["full", "learned"])
def config(request):
    return dataclasses.replace(CONFIG, image_trust=request.param)


@pytest.fixture(scope="module")
def network(config):
    frames = [scattered(FRONT, LEFT, BACK, seed=seed) for seed in range(3)]
    return small_network(config, STREET.num_classes, frames)


@pytest.fixture(scope="module")
def segmenter(network, config):
    return Segmenter(Checkpoint(network.state_dict(), config, STREET), device="cpu", cpu_threads=1)


def test_without_cameras_it_is_cmdfusion_bit_by_bit(network):
    torch.manual_seed(1)
    plain = build_network(dataclasses.replace(CONFIG, network="cmdfusion"), STREET.num_classes)
    plain.load_state_dict(
        {
            name: tensor
            for name, tensor in network.state_dict().items()
            if not name.startswith(("images.", "trust."))
        }
    )
    assert torch.equal(
        logits_of(network, CONFIG, scattered()), logits_of(plain.eval(), CONFIG, scattered())
    )


def test_cameras_that_see_no_point_are_no_cameras(network):
    # looks up from a kilometre above
    up = dataclasses.replace(
        FRONT, camera_from_lidar=rigid(np.diag([1.0, 1, 1]), np.array([0.0, 0, -1000]))
    )
    assert torch.equal(
        logits_of(network, CONFIG, scattered(up)), logits_of(network, CONFIG, scattered())
    )


@pytest.mark.parametrize("config", ["learned"], indirect=True)
def test_the_gate_goes_from_the_guess_to_the_image(network):
    """Shut, images change nothing; wide open, the answer is that of a network without a gate."""
    frame, gates = scattered(FRONT, BACK), [gate.gate.bias for gate in network.trust]
    before, plain = (
        [bias.detach().clone() for bias in gates],
        build_network(CONFIG, STREET.num_classes).eval(),
    )
    plain.load_state_dict(
        {
            name: tensor
            for name, tensor in network.state_dict().items()
            if not name.startswith("trust.")
        }
    )
    answers = {}
    for value in (-1000.0, 1000.0):
        with torch.no_grad():
            for bias in gates:
                bias.fill_(value)
        answers[value] = logits_of(network, CONFIG, frame)
    with torch.no_grad():
        for bias, old in zip(gates, before, strict=True):
            bias.copy_(old)
    assert torch.equal(answers[-1000.0], logits_of(network, CONFIG, scattered()))
    torch.testing.assert_close(
        answers[1000.0], logits_of(plain, CONFIG, frame), atol=1e-4, rtol=1e-4
    )
    assert (answers[1000.0] - answers[-1000.0]).abs().max() > 1e-3


def test_the_mask_tells_which_view_a_point_was_seen_by(segmenter):
    frame = scattered(BACK, FRONT)
    prediction = segmenter.segment(frame)
    x, y, z = frame.points.T
    wide = (np.abs(y) < 0.95 * np.abs(x)) & (np.abs(z) < 0.45 * np.abs(x)) & (np.abs(x) > 0.2)
    assert wide.sum() > 30
    assert (prediction.camera_mask[wide & (x < 0)] == 1).all() and (
        prediction.camera_mask[wide & (x > 0)] == 2
    ).all()
    assert not prediction.camera_mask[np.abs(y) > 1.1 * np.abs(x)].any()


def test_training_also_answers_without_images_and_every_parameter_receives_gradient(config):
    torch.manual_seed(0)
    network = build_network(config, 5)
    output = network(batch_of(scattered(FRONT, BACK), scattered(FRONT, BACK, seed=1)))
    assert len(output.auxiliary) == 2 and len(output.knowledge) == 3
    loss_of(output, torch.arange(600) % 5).backward()
    assert without_gradient(network) == []
    assert len(network(batch_of(scattered())).auxiliary) == 1


def test_training_gets_what_images_say_beside_what_the_knowledge_branch_guesses():
    torch.manual_seed(0)
    network = build_network(CONFIG, 5)
    frame = scattered(FRONT, BACK)
    batch = batch_of(frame)
    output = network.train()(batch)
    assert torch.equal(output.pixels.point_rows.sort().values, output.camera_mask.nonzero()[:, 0])
    for i, guess in enumerate(output.knowledge):
        assert (
            guess.at_points(batch, output.pixels.point_rows).shape
            == output.pixels.of_scale(i).shape
        )
    assert network(batch_of(scattered())).pixels is None
    quiet = network.eval()(batch)
    assert quiet.knowledge == () and quiet.pixels is None


def test_one_image_is_enough_to_train_on():
    torch.manual_seed(0)
    config = dataclasses.replace(CONFIG, image_size=(64, 64))
    network = build_network(config, 5)
    assert torch.isfinite(network(make_batch([scattered(FRONT)], grid_of(config))).logits).all()


def test_it_learns_one_small_scan_with_and_without_its_images():
    torch.manual_seed(0)
    frame = scattered(FRONT, num_points=400)
    config = ModelConfig(
        network="flagship", channels=16, voxel_size=0.2, strides=(1, 2), image_size=(64, 32)
    )
    network, batch = build_network(config, 4), make_batch([frame], grid_of(config))
    right = learn(network, batch, quadrant(frame), steps=80)
    assert len(right) == 3 and min(right) > 0.95


def painted_wall(seed):
    """A wall 5 m ahead with squares painted on it that no geometry betrays, and for each point
    whether it is on a bright one.
    """
    rng = np.random.default_rng(seed)
    paint = rng.integers(0, 2, (4, 8))
    across, up = rng.uniform(-4.9, 4.9, 300), rng.uniform(-2.4, 2.4, 300)
    # 32 x 64
    image = np.repeat(np.repeat(paint * 255, 8, 0), 8, 1)[:, :, None].repeat(3, 2).astype(np.uint8)
    view = CameraView(
        "front",
        image,
        np.array([[31.5, 0, 31.5], [0, 31.5, 15.5], [0, 0, 1]]),
        rigid(OPTICAL_FROM_AHEAD, np.zeros(3)),
    )
    columns, lines = (
        np.rint(31.5 - 31.5 * across / 5).astype(int),
        np.rint(15.5 - 31.5 * up / 5).astype(int),
    )
    points = np.stack([np.full(300, 5.0), across, up], 1).astype(np.float32)
    return Frame(points, np.zeros(300, np.float32), views=(view,)), torch.from_numpy(
        (image[lines, columns, 0] > 0).astype(np.int64)
    )


def test_it_learns_what_only_the_image_shows():
    """Every step shows a new wall, so no place can be learnt by heart; walls it has not seen are
    then read by the camera, and only guessed without.
    """
    torch.manual_seed(0)
    config = ModelConfig(
        network="flagship", channels=8, voxel_size=0.2, strides=(1, 2), image_size=(64, 32)
    )
    network = build_network(config, 2)
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    for seed in range(36):
        frame, truth = painted_wall(seed)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(
            network(make_batch([frame], grid_of(config))).logits, truth
        ).backward()
        optimizer.step()
    frame, truth = painted_wall(1000)
    network.eval()
    right = [
        (network(make_batch([f], grid_of(config))).logits.argmax(1) == truth).float().mean()
        for f in (frame, dataclasses.replace(frame, views=()))
    ]
    assert right[0] > 0.85 and right[1] < 0.75
