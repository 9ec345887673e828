"""What holds for every network that labels points with the help of cameras: they come and go, and
what is not seen changes nothing.
"""

import numpy as np
import pytest
from builders.small_scans import (
    BACK,
    FRONT,
    LEFT,
    logits_of,
    looking,
    require_a_batch_is_its_frames,
    scattered,
    small_network,
)
from torch.testing import assert_close

from cmdfusion_ros.checkpoint.file import Checkpoint
from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.config import ModelConfig
from cmdfusion_ros.inference import Segmenter

STREET = load_class_map("street")
SMALL = {"voxel_size": 0.5, "image_size": (64, 32)}
FLAGSHIP = {"network": "flagship", "channels": 8, "strides": (1, 2, 4, 4), **SMALL}
CONFIGS = {
    "flagship": ModelConfig(**FLAGSHIP),
    "flagship with a gate": ModelConfig(image_trust="learned", **FLAGSHIP),
    "u2mkd": ModelConfig(network="u2mkd", channels=4, **SMALL),
}


@pytest.fixture(scope="module", params=CONFIGS)
def config(request):
    return CONFIGS[request.param]


@pytest.fixture(scope="module")
def network(config):
    frames = [scattered(FRONT, LEFT, BACK, seed=seed) for seed in range(3)]
    return small_network(config, STREET.num_classes, frames)


@pytest.fixture(scope="module")
def logits(network, config):
    """Called with Frames."""
    return lambda *frames: logits_of(network, config, *frames)


def test_no_camera_is_as_cameras_that_see_no_point(logits):
    masked = scattered(FRONT, BACK, measured_points=np.full((300, 3), np.nan, np.float32))
    assert (logits(masked) == logits(scattered())).all()


def test_images_change_the_answer_where_a_camera_sees_points(logits):
    other = looking("front", 0, seed=(5,))
    seeing, blind, elsewhere = (logits(scattered(*views)) for views in ((FRONT,), (), (other,)))
    assert (seeing - blind).abs().max() > 1e-3 and (seeing - elsewhere).abs().max() > 1e-4


@pytest.mark.parametrize("live", [(FRONT,), (LEFT, BACK), (BACK,)])
def test_a_camera_that_is_missing_is_as_one_that_never_was(logits, live):
    """Among frames with other cameras, in any order: the answer is that of a rig with just
    these.
    """
    among = logits(scattered(FRONT, LEFT, seed=3), scattered(*reversed(live)), scattered(seed=4))[
        300:600
    ]
    assert_close(among, logits(scattered(*live)), atol=1e-4, rtol=1e-4)


def test_a_batch_of_three_gives_the_logits_of_batches_of_one(network, config):
    require_a_batch_is_its_frames(
        network,
        config,
        scattered(FRONT, LEFT, seed=7),
        scattered(num_points=0),
        scattered(BACK, num_points=120, seed=8),
    )


def test_cameras_come_and_go_without_a_reload(network, config):
    """FUSED, PARTIAL, LIDAR_ONLY and back: the same frame gives the same bits as the first time."""
    checkpoint = Checkpoint(network.state_dict(), config, STREET)
    segmenter = Segmenter(checkpoint, device="cpu", cpu_threads=1)
    frames = [scattered(FRONT, LEFT, BACK), scattered(BACK), scattered()]
    first = [segmenter.segment(frame) for frame in frames]
    assert [bool(p.camera_mask.any()) for p in first] == [True, True, False]
    assert not np.array_equal(first[0].confidence, first[2].confidence)
    for frame, before in zip(reversed(frames), reversed(first), strict=True):
        again = segmenter.segment(frame)
        assert np.array_equal(again.labels, before.labels)
        assert np.array_equal(again.confidence, before.confidence)
