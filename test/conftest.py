"""Fixtures that several rooms need."""

import os
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from builders.messages import FRONT, make_camera_info, make_cloud, make_jpeg, make_paired

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.cli.runs.domains import own_domain
from cmdfusion_ros.data.bags.frame_bag import write_frame_bag
from cmdfusion_ros.frame import CameraView, Frame
from cmdfusion_ros.geometry.transforms import rigid

# A background job of a shell ignores SIGINT, and the processes that tests start and interrupt would
# inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
if not torch.cuda.is_available():
    # read when triton is first imported, by whatever test comes first
    os.environ["TRITON_INTERPRET"] = "1"


@pytest.fixture(scope="session")
def small_bag(tmp_path_factory):
    """A bag of 8 scans of 2,000 points at 10 Hz with the cameras front and left, 64 x 48 pixels,
    stamped like the clouds; labels beside it.
    """
    rng = np.random.default_rng(0)
    optical = {
        "front": np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]]),
        "left": np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]),
    }
    class_map = load_class_map("street")
    frames = []
    for index in range(8):
        stamp = 1_700_000_000_000_000_000 + index * 100_000_000
        points = rng.uniform((-30, -30, -2), (30, 30, 3), (2000, 3)).astype(np.float32)
        image = rng.integers(0, 255, (48, 64, 3)).astype(np.uint8)
        intrinsic = np.array([[40.0, 0, 31.5], [0, 40, 23.5], [0, 0, 1]])
        views = tuple(
            CameraView(name, image, intrinsic, rigid(turn, (0.0, 0.1, 0.2)), None, stamp)
            for name, turn in optical.items()
        )
        labels = rng.integers(0, class_map.num_classes, len(points)).astype(np.uint8)
        frames.append(
            Frame(
                points,
                rng.uniform(0, 1, len(points)).astype(np.float32),
                stamp,
                "lidar",
                views,
                labels,
            )
        )
    path = tmp_path_factory.mktemp("bags") / "small"
    write_frame_bag(path, frames, class_map)
    return path


@pytest.fixture
def ros_domain():
    """A ROS domain of this test's own."""
    with own_domain() as number:
        yield number


@pytest.fixture
def one_torch_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def messages():
    """Makers of messages, see `builders/messages.py`."""
    return SimpleNamespace(
        cloud=make_cloud,
        jpeg=make_jpeg,
        camera_info=make_camera_info,
        paired=make_paired,
        camera_from_lidar=rigid(FRONT, (0.0, 0.0, 0.0)),
    )
