"""`cmdfusion label --teacher`: a 2D network's labels on the points that cameras see, as a bag."""

import re

import numpy as np
import pytest
from builders.commands import cmdfusion
from builders.tiny_teachers import write_colour_network

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.data.bags.bag import read_labelled_clouds
from cmdfusion_ros.data.bags.frame_bag import write_frame_bag
from cmdfusion_ros.frame import CameraView, Frame
from cmdfusion_ros.geometry.transforms import apply, invert, rigid
from cmdfusion_ros.labelling.offline import LABELLED_TOPIC

STREET = load_class_map("street")
LOOKS_AHEAD = rigid(np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]]), np.zeros(3))
START, STEP, LATE, SPEED = 1_700_000_000_000_000_000, 100_000_000, 40_000_000, 10.0


def red_and_green(left_edge: float) -> np.ndarray:
    """An image that is red (road) left of a column and green (vegetation) right of it."""
    image = np.zeros((96, 128, 3), np.uint8)
    image[:, : round(left_edge), 0] = 255
    image[:, round(left_edge) :, 1] = 255
    return image


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    """A drive to the left past a line at world y = 0 that parts red from green, camera 40 ms late:
    by then the vehicle is 0.4 m further, which is 6 pixels of points 8 m ahead.
    """
    frames = []
    y, z = np.meshgrid(np.arange(-3, 3, 0.1), np.arange(-1, 1, 0.1))
    wall = np.column_stack([np.full(y.size, 8.0), y.ravel(), z.ravel()])
    intrinsic = np.array([[120.0, 0, 63.5], [0, 120, 47.5], [0, 0, 1]])
    for place in range(6):
        stamp = START + place * STEP
        pose, then = (
            rigid(np.eye(3), (0, SPEED * t, 0)) for t in (place * 0.1, place * 0.1 + 0.04)
        )
        edge = 63.5 - 120 * (
            apply(invert(then), np.array([[8.0, SPEED * place * 0.1, 0]]))[0, 1] / 8
        )
        view = CameraView("front", red_and_green(edge), intrinsic, LOOKS_AHEAD, stamp=stamp + LATE)
        points = wall.astype(np.float32)  # moves along with the vehicle, as the line does
        labels = np.where(points[:, 1] > 0, STREET.label("road"), STREET.label("vegetation"))
        frames.append(
            Frame(
                points,
                np.zeros(len(points), np.float32),
                stamp,
                "lidar",
                (view,),
                labels.astype(np.uint8),
                world_from_lidar=pose,
            )  # fmt: skip
        )
    path = tmp_path_factory.mktemp("drive") / "line"
    write_frame_bag(path, frames, STREET)
    return path


def test_points_take_the_class_that_the_picture_shows_there(bag, tmp_path, capsys):
    pytest.importorskip(
        "onnxruntime", reason="needs onnxruntime; pip install 'cmdfusion_ros[onnx]'"
    )
    teacher = write_colour_network(tmp_path / "cityscapes.onnx")
    assert cmdfusion("label", bag, "--out", tmp_path / "out", "--teacher", teacher) == 0
    said = capsys.readouterr().out
    share = float(re.search(r"([\d.]+) % of the points have a label", said).group(1))
    assert 60 < share < 100 and "mIoU" not in said  # wide points are outside the picture
    # 0.4 m of motion not taken out would make 7 % wrong; the last picture has no transform after it
    right = float(re.search(r"([\d.]+) % of those whose true class is known are right", said)[1])
    assert right > 98
    _, columns = list(read_labelled_clouds(tmp_path / "out", LABELLED_TOPIC))[2]
    known = columns["label"] > 0
    known &= np.abs(columns["y"]) > 0.15  # a pixel of the network's is 0.1 m here
    left = columns["y"] > 0
    assert known.any() and (columns["label"][known & left] == 1).all()  # raw id of road
    assert (columns["label"][known & ~left] == 4).all()
    assert (columns["camera_mask"][known] == 1).all()
    assert (columns["confidence"][columns["label"] == 0] == 0).all()


def test_what_is_no_teacher_is_refused(bag, tmp_path, capsys):
    out = ["--out", str(tmp_path / "out")]
    assert cmdfusion("label", bag, *out, "--teacher", tmp_path / "absent.onnx") == 2
    assert "expected a .onnx or .tflite file" in capsys.readouterr().err
    teacher = write_colour_network(tmp_path / "cityscapes.onnx")
    both = ["--teacher", str(teacher), "--checkpoint", "x.safetensors"]
    assert cmdfusion("label", bag, *out, *both) == 2
    assert "give one" in capsys.readouterr().err
