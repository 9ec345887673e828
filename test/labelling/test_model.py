"""Opening the network from the node's parameters."""

import hashlib
import time

import numpy as np
import pytest

from cmdfusion_ros.config import SettingsError
from cmdfusion_ros.frame import Frame
from cmdfusion_ros.labelling.model import FakeSegmenter, open_segmenter
from cmdfusion_ros.labelling.sections import ModelSettings

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A small network with random weights."""
    from cmdfusion_ros.checkpoint.file import save_checkpoint
    from cmdfusion_ros.class_map import load_class_map
    from cmdfusion_ros.config import ModelConfig
    from cmdfusion_ros.models import build_network

    class_map, config = load_class_map("street"), ModelConfig(channels=4)
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_checkpoint(path, build_network(config, class_map.num_classes), config, class_map, {})
    return path


def test_the_fake_needs_no_file_and_says_what_it_is():
    segmenter, info = open_segmenter(ModelSettings(backend="fake"))
    assert (
        isinstance(segmenter, FakeSegmenter)
        and info.checkpoint == "fake"
        and "mean nothing" in info.backend
    )
    prediction = segmenter.segment(Frame(np.zeros((3, 3), np.float32), np.zeros(3, np.float32)))
    assert (
        prediction.labels.tolist() == [0, 0, 0]
        and prediction.confidence.tolist() == [0, 0, 0]
        and prediction.camera_mask.tolist() == [0, 0, 0]
    )


def test_a_checkpoint_is_opened_checked_and_warmed_up(checkpoint):
    sha256 = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    segmenter, info = open_segmenter(
        ModelSettings(
            checkpoint=str(checkpoint), sha256=sha256.upper(), device="cpu", warmup=1, cpu_threads=1
        )
    )
    assert (info.checkpoint, info.sha256, info.device) == ("small.safetensors", sha256, "cpu")
    assert info.num_parameters > 0 and info.warmup_ms > 0 and segmenter.class_map.name == "street"


def test_without_warm_up_no_scan_is_labelled(checkpoint, monkeypatch):
    monkeypatch.setattr(time, "monotonic", lambda: pytest.fail("a scan was timed"))
    assert (
        open_segmenter(ModelSettings(checkpoint=str(checkpoint), device="cpu", warmup=0))[
            1
        ].warmup_ms
        == 0
    )


def test_a_network_with_images_is_warmed_up_for_scans_with_and_without_them(tmp_path, monkeypatch):
    from cmdfusion_ros.checkpoint.file import save_checkpoint
    from cmdfusion_ros.class_map import load_class_map
    from cmdfusion_ros.config import ModelConfig
    from cmdfusion_ros.inference import Segmenter
    from cmdfusion_ros.models import build_network

    class_map, config = (
        load_class_map("street"),
        ModelConfig(
            network="flagship", channels=4, voxel_size=1.0, strides=(1, 2), image_size=(64, 32)
        ),
    )
    save_checkpoint(
        tmp_path / "net.safetensors",
        build_network(config, class_map.num_classes),
        config,
        class_map,
        {},
    )
    seen, segment = [], Segmenter.segment
    monkeypatch.setattr(
        Segmenter,
        "segment",
        lambda self, frame: seen.append((len(frame.views), segment(self, frame).camera_mask.any())),
    )
    open_segmenter(
        ModelSettings(
            checkpoint=str(tmp_path / "net.safetensors"), device="cpu", warmup=2, cpu_threads=1
        )
    )
    assert seen == [(0, False), (1, True)] * 2


def test_another_file_than_the_one_meant_is_refused(checkpoint):
    with pytest.raises(SettingsError, match="model.sha256: expected 00ff"):
        open_segmenter(ModelSettings(checkpoint=str(checkpoint), sha256="00ff"))


def test_a_file_that_is_not_there_is_refused_with_a_way_out():
    with pytest.raises(SettingsError, match="model.checkpoint: .*no/such.*model.backend fake"):
        open_segmenter(ModelSettings(checkpoint="no/such.safetensors"))


@pytest.mark.parametrize(
    ("values", "message"), [({"device": "tpu"}, "device"), ({"backend": "magic"}, "backend")]
)
def test_an_unknown_device_or_backend_is_refused(checkpoint, values, message):
    with pytest.raises(ValueError, match=message):
        open_segmenter(ModelSettings(checkpoint=str(checkpoint), **values))
