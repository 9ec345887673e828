"""Small scans and cameras for tests of networks, and what several of these tests do with them."""

import numpy as np
import torch
from builders.joins import off_identity
from torch import nn

from cmdfusion_ros.batch import Batch, make_batch
from cmdfusion_ros.config import ModelConfig
from cmdfusion_ros.frame import CameraView, Frame
from cmdfusion_ros.geometry.transforms import rigid, yaw_rotation
from cmdfusion_ros.models import build_network, grid_of

# x forward, y left, z up -> x right, y down, z forward
OPTICAL_FROM_AHEAD = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])


def looking(name, yaw, image=None, size=(48, 24), focal=None, seed=()):
    """A camera at the origin that looks `yaw` degrees to the left, 90 degrees wide where `focal`
    (px) does not say otherwise, at `image`: noise of `size`, unless given.
    """
    if image is None:
        rng = np.random.default_rng([*seed, len(name)])
        image = rng.integers(0, 256, (size[1], size[0], 3), np.uint8)
    height, width = image.shape[:2]
    focal = width / 2 if focal is None else focal
    intrinsic = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
    turned = OPTICAL_FROM_AHEAD @ yaw_rotation(np.radians(yaw)).T
    return CameraView(name, image, intrinsic, rigid(turned, np.zeros(3)))


FRONT, LEFT, BACK = (
    looking(name, yaw, seed=(0,)) for name, yaw in (("front", 0), ("left", 60), ("back", 180))
)


def scattered(*views, num_points=300, seed=0, spread=3.0, **fields):
    """A Frame of points around the origin, `spread` metres their standard deviation."""
    rng = np.random.default_rng(seed)
    points = rng.normal(0, spread, (num_points, 3)).astype(np.float32)
    return Frame(points, rng.random(num_points, dtype=np.float32), views=views, **fields)


def flat(*views, num_points=2000, seed=0, offset=0.0):
    """A Frame of a plane with things on it, so that voxels have neighbours."""
    rng = np.random.default_rng(seed)
    points = rng.normal(0, 6, (num_points, 3)) * (1, 1, 0.1) + offset
    return Frame(points.astype(np.float32), rng.random(num_points, dtype=np.float32), views=views)


def flat_batches():
    """Frames of batches with all cameras, with none, and with frames that have no point."""
    return (
        [flat(FRONT, num_points=3000, seed=5)],
        [
            flat(FRONT, LEFT, BACK, num_points=500, seed=6),
            flat(num_points=0),
            flat(BACK, num_points=800, seed=7),
        ],
        [flat(num_points=300)],
        [flat(FRONT, num_points=0)],
    )


def small_network(config, num_classes, frames):
    """A network of `config` whose normalisations have seen `frames`, in evaluation mode."""
    torch.manual_seed(0)
    network = off_identity(build_network(config, num_classes))
    for frame in frames:
        network(make_batch([frame], grid_of(config)))
    return network.eval()


def moved_network(config, frames, learning_rate=0.02):
    """As `small_network`, of 7 classes and after a step a frame, so that every number differs from
    its start.
    """
    torch.manual_seed(0)
    network = build_network(config, 7)
    optimizer = torch.optim.SGD(network.parameters(), lr=learning_rate)
    for frame in frames:
        output = network(make_batch([frame], grid_of(config)))
        loss_of(output, torch.arange(frame.num_points) % 7).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return network.eval()


def logits_of(network: nn.Module, config: ModelConfig, *frames: Frame) -> torch.Tensor:
    with torch.no_grad():
        return network(make_batch(frames, grid_of(config))).logits


def loss_of(output, truth):
    """Cross-entropy of the answer and of every other head."""
    return sum(
        torch.nn.functional.cross_entropy(each.logits, truth)
        for each in (output, *output.auxiliary)
    )


def quadrant(frame):
    """(N,) labels 0 to 3 that the place of a point decides."""
    x, y, z = frame.points.T
    return torch.from_numpy((z > 0).astype(np.int64) + 2 * (y > 0))


def learn(network: nn.Module, batch: Batch, truth: torch.Tensor, steps: int) -> list[float]:
    """Train on one batch; then the part of the points that each head has right."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    for _ in range(steps):
        output = network(batch)
        optimizer.zero_grad()
        loss_of(output, truth).backward()
        optimizer.step()
    output = network(batch)
    return [
        (each.logits.argmax(1) == truth).float().mean().item()
        for each in (output, *output.auxiliary)
    ]


def without_gradient(network):
    """Names of the parameters that received no gradient."""
    return [
        name
        for name, p in network.named_parameters()
        if p.grad is None or not p.grad.abs().sum() > 0
    ]


def require_a_batch_is_its_frames(network, config, *frames):
    """A batch of several gives the logits of batches of one."""
    torch.testing.assert_close(
        logits_of(network, config, *frames),
        torch.cat([logits_of(network, config, frame) for frame in frames]),
        atol=1e-4,
        rtol=1e-4,
    )


def require_order_of_points_has_no_effect(network, config, frame):
    """Shuffled points give shuffled logits."""
    order = np.random.default_rng(1).permutation(frame.num_points)
    shuffled = Frame(frame.points[order], frame.intensity[order], views=frame.views)
    torch.testing.assert_close(
        logits_of(network, config, shuffled),
        logits_of(network, config, frame)[order],
        atol=1e-4,
        rtol=1e-4,
    )
