"""A network of images alone: it answers what cameras see and nothing else, learns from labels of
points, and teaches without learning.
"""

import dataclasses

import numpy as np
import pytest
import torch
from builders.small_scans import looking, scattered, small_network

from cmdfusion_ros.batch import make_batch
from cmdfusion_ros.checkpoint.file import Checkpoint
from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.config import ModelConfig
from cmdfusion_ros.inference import Segmenter
from cmdfusion_ros.models import build_network, grid_of
from cmdfusion_ros.models.image_network import BackboneTeacher
from cmdfusion_ros.models.resnet import ResNet

CONFIG = ModelConfig(network="image", channels=8, strides=(1, 2), image_size=(64, 32))


def make_view(name, yaw, image=None):
    return looking(name, yaw, image, size=(64, 32), focal=31.5)


def make_frame(*views, num_points=300, seed=0):
    return scattered(*views, num_points=num_points, seed=seed, spread=5.0)


def batch_of(*frames):
    return make_batch(frames, grid_of(CONFIG))


@pytest.fixture(scope="module")
def network():
    return small_network(CONFIG, 5, [make_frame(make_view("front", 0))])


def test_it_answers_the_points_that_a_camera_sees_and_no_other(network):
    batch = batch_of(make_frame(make_view("front", 0)), make_frame(seed=1))
    with torch.no_grad():
        output = network(batch)
    assert (
        torch.equal(output.answered, output.camera_mask > 0)
        and 0 < output.answered.sum() < 300
        and not output.answered[300:].any()
    )
    assert not output.logits[~output.answered].any() and output.logits[output.answered].any(1).all()
    assert torch.equal(output.pixels.point_rows, output.answered.nonzero()[:, 0])
    assert [level.shape for level in output.pixels.levels] == [(int(output.answered.sum()), 8)] * 4


def test_nothing_is_learnt_of_the_pixels_of_a_spoilt_image(network):
    """It is seen all the same: the mask has it, and the other image's answers stay."""
    front, back = make_view("front", 0), make_view("back", 180)
    whole, spoilt = (
        batch_of(make_frame(front, each))
        for each in (back, dataclasses.replace(back, is_spoilt=True))
    )
    with torch.no_grad():
        before, after = network(whole), network(spoilt)
    of_front = before.camera_mask == 1
    assert (
        torch.equal(after.camera_mask, before.camera_mask)
        and torch.equal(after.answered, of_front)
        and 0 < of_front.sum() < before.answered.sum()
    )
    assert torch.equal(after.logits[of_front], before.logits[of_front])
    assert (
        torch.equal(after.pixels.point_rows, of_front.nonzero()[:, 0])
        and len(after.pixels.levels[0]) == of_front.sum()
    )
    teacher = BackboneTeacher(ResNet(18), (64, 32))
    assert torch.equal(teacher(spoilt).point_rows, after.pixels.point_rows)


def test_without_images_nothing_is_answered(network):
    output = network(batch_of(make_frame()))
    assert (
        output.logits.shape == (300, 5)
        and not output.logits.any()
        and not output.answered.any()
        and output.pixels is None
    )
    output.logits.sum().backward()  # a step in which every camera was dropped is a step
    assert not network.head.logits.bias.grad.any()


def test_it_learns_one_image_from_the_labels_of_points():
    torch.manual_seed(0)
    image = np.zeros((32, 64, 3), np.uint8)
    image[:, 32:] = 200
    image[16:, :, 0] = 90
    frame = make_frame(make_view("front", 0, image), num_points=800)
    network, batch = build_network(CONFIG, 4), batch_of(frame)
    truth = torch.from_numpy(
        (frame.points[:, 1] < 0).astype(np.int64) + 2 * (frame.points[:, 2] < 0)
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    for _ in range(60):  # after 20, other CPUs round to anything from 80 % to 98
        output = network(batch)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(
            output.logits[output.answered], truth[output.answered]
        ).backward()
        optimizer.step()
    output = network(batch)
    assert (output.logits.argmax(1) == truth)[output.answered].float().mean() > 0.95


def test_a_backbone_teaches_and_does_not_change():
    torch.manual_seed(0)
    resnet = ResNet(18)
    teacher = BackboneTeacher(resnet, (64, 32)).train()
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    pixels = teacher(batch_of(make_frame(make_view("front", 0))))
    assert [level.shape[1] for level in pixels.levels] == [64, 128, 256, 512]
    assert not any(level.requires_grad for level in pixels.levels) and not any(
        p.requires_grad for p in teacher.parameters()
    )
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())
    assert pixels.of_scale(0) is pixels.levels[0] and pixels.of_scale(5) is pixels.levels[3]
    assert teacher(batch_of(make_frame())) is None


def test_it_is_not_taken_to_label_scans(network):
    with pytest.raises(
        ValueError,
        match="a network that sees images alone has no answer for most points; use it as a teacher",
    ):
        Segmenter(Checkpoint(network.state_dict(), CONFIG, load_class_map("street")), device="cpu")
