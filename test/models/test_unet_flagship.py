"""The U-Net that looks through cameras: a LiDAR network at the start, the same for every way a
camera can be missing, and its inference form.
"""

import dataclasses

import numpy as np
import pytest
import torch
from builders.small_scans import logits_of, looking, scattered

from cmdfusion_ros.batch import make_batch
from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.config import ModelConfig
from cmdfusion_ros.frame import Frame
from cmdfusion_ros.geometry.transforms import rigid
from cmdfusion_ros.models import build_network, grid_of
from cmdfusion_ros.models.focal_views import make_focal_views, scaled_size
from cmdfusion_ros.models.folded.folded_unet import FoldedUnet

CONFIG = ModelConfig(
    network="unet_flagship", channels=8, voxel_size=0.5, widths="slim", image_focal=40.0
)
LIDAR = dataclasses.replace(CONFIG, network="spv_unet")
STREET = load_class_map("street")


FRONT, LEFT, BACK = (
    looking("front", 0),
    looking("left", 60, size=(64, 40), focal=24.0),
    looking("back", 180),
)


def make_frame(*views, seed=0):
    return scattered(*views, num_points=400, seed=seed)


def batch_of(*frames):
    return make_batch(frames, grid_of(CONFIG))


def logits(network, *frames):
    return logits_of(network, CONFIG, *frames)


@pytest.fixture(scope="module")
def network():
    """A small network whose normalisations have seen data and whose joins say something."""
    torch.manual_seed(0)
    network = build_network(CONFIG, STREET.num_classes)
    for seed in range(12):
        network(batch_of(make_frame(FRONT, LEFT, BACK, seed=seed)))
    for join in network.joins:
        torch.nn.init.normal_(join.join.weight, std=0.02)
    return network.eval()


def test_its_joins_start_as_identity():
    """So the LiDAR network that it starts from is what it begins as, with cameras and without."""
    torch.manual_seed(0)
    lidar = build_network(LIDAR, STREET.num_classes).eval()
    network = build_network(CONFIG, STREET.num_classes).eval()
    network.load_state_dict({**network.state_dict(), **lidar.state_dict()})
    for frame in (make_frame(), make_frame(FRONT, LEFT)):
        assert torch.allclose(logits(network, frame), logits(lidar, frame), atol=1e-6)


def test_its_joins_learn_from_that_start():
    torch.manual_seed(0)
    network = build_network(CONFIG, STREET.num_classes).train()
    network(batch_of(make_frame(FRONT))).logits.square().mean().backward()
    assert all(join.join.weight.grad.abs().max() > 0 for join in network.joins)


def test_images_reach_the_answer(network):
    blind, seeing = logits(network, make_frame()), logits(network, make_frame(FRONT))
    assert (blind - seeing).abs().max() > 1e-3


def test_no_camera_is_bit_by_bit_cameras_that_see_nothing(network):
    up = dataclasses.replace(
        FRONT, camera_from_lidar=rigid(np.eye(3), np.array([0.0, 0.0, -1000.0]))
    )
    assert torch.equal(logits(network, make_frame(up)), logits(network, make_frame()))


def test_the_order_of_cameras_has_no_effect(network):
    one, other = make_frame(FRONT, LEFT, BACK), make_frame(BACK, FRONT, LEFT)
    assert torch.allclose(logits(network, one), logits(network, other), atol=1e-4)


def test_a_frame_is_answered_alike_in_any_company(network):
    first, second = make_frame(FRONT, LEFT), make_frame(BACK, seed=1)
    both = logits(network, first, make_frame(seed=2), second)
    assert torch.allclose(both[:400], logits(network, first), atol=1e-4)
    assert torch.allclose(both[800:], logits(network, second), atol=1e-4)


def test_training_also_answers_without_images_and_by_images_alone(network):
    frame = make_frame(FRONT)
    network.train()
    with torch.no_grad():
        output = network(batch_of(frame))
    network.eval()
    assert output.without_images is not None and len(output.auxiliary) == 1
    assert torch.equal(output.auxiliary[0].answered, output.camera_mask > 0)
    assert [one.stride for one in output.knowledge] == [4, 8, 16]
    assert len(output.pixels.levels) == 3


@pytest.mark.parametrize("views", [(), (FRONT,), (FRONT, LEFT, BACK)], ids=len)
@pytest.mark.parametrize("threads", [1, 2])
def test_its_inference_form_gives_the_same_numbers(network, views, threads):
    folded = FoldedUnet(network, threads)
    batch = batch_of(make_frame(*views), make_frame(LEFT, seed=1))
    with torch.no_grad():
        truth = network(batch)
    output = folded(batch)
    folded.close()
    assert torch.allclose(output.row_logits, truth.row_logits, atol=1e-4)
    assert torch.equal(output.camera_mask, truth.camera_mask)


def test_images_come_to_one_focal_length_whatever_their_size():
    assert scaled_size(looking("a", 0, size=(100, 50), focal=50.0), 40.0) == (80, 40)
    assert scaled_size(looking("b", 0, size=(400, 200), focal=200.0), 40.0) == (80, 40)
    assert scaled_size(looking("c", 0, size=(100, 50), focal=500.0), 40.0) == (
        32,
        32,
    )  # the smallest
    views = make_focal_views(batch_of(make_frame(FRONT, LEFT)), 40.0)
    assert [tuple(image.shape) for image in views.images] == [(1, 3, 40, 80), (1, 3, 67, 107)]


def test_a_point_that_something_nearer_hides_is_read_from_no_image():
    y, z = np.meshgrid(np.linspace(-1, 1, 21), np.linspace(-0.5, 0.5, 11))
    wall = np.c_[np.full(y.size, 3.0), y.ravel(), z.ravel()]
    behind, beside = np.array([[6.0, 0.1, 0.05]]), np.array([[6.0, 4.0, 0.05]])
    points = np.concatenate([wall, behind, beside]).astype(np.float32)
    frame = Frame(points, np.zeros(len(points), np.float32), views=(FRONT,))
    mask = make_focal_views(batch_of(frame), 40.0).camera_mask
    assert mask[: len(wall)].all() and mask[-2] == 0 and mask[-1] == 1
