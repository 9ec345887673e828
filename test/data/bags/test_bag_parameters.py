"""What is found in a bag becomes parameters of the node and files of calibration."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import yaml
from builders.bag_messages import (
    COMPRESSED,
    INFO,
    MS,
    OPTICAL_FROM_LIDAR,
    START,
    camera,
    clouds,
    header,
    info,
    make,
    place,
    write,
)

from cmdfusion_ros.data.bags.bag_layout import inspect_bag
from cmdfusion_ros.data.bags.bag_parameters import (
    node_parameters,
    write_calibration_files,
    write_parameter_file,
)

JPEG = cv2.imencode(".jpg", np.zeros((2, 2, 3), np.uint8))[1].reshape(-1)


def test_node_parameters_say_topics_clocks_and_how_long_to_wait(tmp_path):
    messages = (
        clouds()
        + camera("front", -20 * MS)
        + camera("left", 30 * MS, late=90 * MS)
        + place("front", "left", "up")
    )
    for index in range(10):
        stamp = START + index * 100 * MS
        messages.append(
            (
                "/up/compressed_image",
                COMPRESSED,
                stamp + 40 * MS,
                make(COMPRESSED, header(stamp, "up_optical"), "jpeg", JPEG),
            )
        )
        messages.append(("/up/camera_info", INFO, stamp + 39 * MS, info(stamp, "up_optical")))
    layout = inspect_bag(write(tmp_path / "bag", messages))
    parameters, remaps = node_parameters(layout)
    assert parameters["points.topic"] == "/lidar/points" and parameters["cameras"] == [
        "front",
        "left",
        "up",
    ]
    assert (
        parameters["front.time_offset"] == -0.02
        and parameters["left.time_offset"] == 0.03
        and parameters["front.transport"] == "raw"
    )
    # left comes 90 ms after the cloud, and 10 ms to spare
    assert parameters["sync.max_wait"] == pytest.approx(0.1, abs=1e-3)
    assert parameters["up.transport"] == "compressed" and "front.calibration_file" not in parameters
    assert remaps == {"/up/compressed_image/compressed": "/up/compressed_image"}
    write_parameter_file(tmp_path / "node.yaml", parameters)
    assert yaml.safe_load((tmp_path / "node.yaml").read_text()) == {
        "/**": {"ros__parameters": parameters}
    }


def test_calibration_files_hold_lens_and_place_and_refuse_what_they_cannot_say(tmp_path):
    layout = inspect_bag(write(tmp_path / "bag", clouds() + camera("front", 0) + place("front")))
    paths = write_calibration_files(tmp_path, layout)
    values = yaml.safe_load(paths["front"].read_text())
    assert values["camera_matrix"]["data"][0] == 100 and (
        values["image_width"],
        values["image_height"],
    ) == (2, 2)
    np.testing.assert_allclose(
        np.reshape(values["camera_from_lidar"]["data"], (4, 4)), OPTICAL_FROM_LIDAR, atol=1e-12
    )
    assert node_parameters(layout, paths)[0]["front.calibration_file"] == str(paths["front"])
    binned = inspect_bag(
        write(tmp_path / "binned", clouds() + camera("front", 0, binning=2) + place("front"))
    )
    binned = replace(binned, cameras=(replace(binned.cameras[0], problems=()),))
    with pytest.raises(ValueError, match="front: its CameraInfo has binning"):
        write_calibration_files(tmp_path, binned)
