"""Networks in the node's pipeline: FUSED, PARTIAL and LIDAR_ONLY change what they see, with one
set of weights that is loaded once.
"""

import numpy as np
import pytest
from builders.joins import off_identity

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.config import LiveSettings, ModelConfig
from cmdfusion_ros.labelling.extrinsics import Extrinsics
from cmdfusion_ros.labelling.pipeline import Pipeline
from cmdfusion_ros.labelling.settings import node_settings
from cmdfusion_ros.messages.transforms import TransformBuffer
from cmdfusion_ros.pairing.paired_cloud import Mode

torch = pytest.importorskip("torch")
POINTS = np.random.default_rng(0).uniform((2, -6, -1), (12, 6, 2), (400, 3)).astype(np.float32)


class Placed(Extrinsics):
    """Every camera at the LiDAR, looking ahead."""

    def __init__(self, settings, camera_info, matrix):
        super().__init__(TransformBuffer(), settings)
        self.matrix = matrix
        for camera in settings.current.cameras:
            self.take_camera_info(camera, camera_info)

    def camera_from_lidar(self, camera, frame_id, cloud_stamp, image_stamp):
        return self.matrix


@pytest.fixture(scope="module", params=["cmdfusion", "flagship", "u2mkd"])
def segmenter(request):
    from cmdfusion_ros.checkpoint.file import Checkpoint
    from cmdfusion_ros.inference import Segmenter
    from cmdfusion_ros.models import build_network

    torch.manual_seed(0)
    config, street = (
        ModelConfig(network=request.param, channels=4, voxel_size=0.5, image_size=(64, 32)),
        load_class_map("street"),
    )
    network = off_identity(build_network(config, street.num_classes))
    return Segmenter(
        Checkpoint(network.state_dict(), config, street),
        device="cpu",
        cpu_threads=1,
        precision="float32",  # what an untrained U2MKD takes from images is small
    )


def test_modes_change_what_the_network_sees_and_nothing_is_loaded_again(
    segmenter, messages, monkeypatch
):
    monkeypatch.setattr(
        "cmdfusion_ros.checkpoint.file.Checkpoint.build_network",
        lambda self: pytest.fail("a network was built"),
    )
    settings = LiveSettings(node_settings({"cameras": ["front", "left"]}))
    pipeline = Pipeline(
        segmenter,
        Placed(settings, messages.camera_info(), messages.camera_from_lidar),
        settings,
        lambda payload, kind: payload,
    )
    results = {}
    for names in (("front", "left"), ("left",), (), ("front", "left")):
        labelled = pipeline(
            messages.paired(messages.cloud(POINTS), {name: messages.jpeg() for name in names})
        )
        results.setdefault(names, []).append(labelled)
    pipeline.close()
    fused, partial, blind, again = (
        results["front", "left"][0],
        results["left",][0],
        results[()][0],
        results["front", "left"][1],
    )
    modes = (Mode.FUSED, Mode.PARTIAL) if segmenter.uses_images else (Mode.LIDAR_ONLY,) * 2
    assert (fused.mode, partial.mode, blind.mode) == (*modes, Mode.LIDAR_ONLY)
    confidences = [one.prediction.confidence for one in (fused, partial, blind, again)]
    assert np.array_equal(confidences[0], confidences[3])
    assert (
        segmenter.uses_images
        == bool(fused.prediction.camera_mask.any())
        == bool(partial.prediction.camera_mask.any())
    )
    assert segmenter.uses_images != np.array_equal(confidences[0], confidences[2])
    assert not blind.prediction.camera_mask.any()
