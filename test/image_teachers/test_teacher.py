"""A 2D network's answer becomes classes of ours: whatever its sizes, layout, classes and file."""

import json
import sys

import numpy as np
import pytest
from builders.paths import DATA
from builders.tiny_teachers import COLOURS, write_colour_network

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.frame import IGNORE_LABEL
from cmdfusion_ros.image_teachers.class_lists import (
    class_list_names,
    class_list_of,
    load_class_list,
    named_class_list,
)
from cmdfusion_ros.image_teachers.teacher import open_image_teacher
from cmdfusion_ros.image_teachers.tiles import tiling

STREET = load_class_map("street")


def painted(width: int = 96, height: int = 48) -> np.ndarray:
    """An image in four upright stripes: road, vegetation, car, sky."""
    image = np.zeros((height, width, 3), np.uint8)
    for stripe, colour in enumerate(COLOURS.values()):
        image[:, stripe * width // 4 : (stripe + 1) * width // 4] = colour
    return image


def stripes_of(labels: np.ndarray) -> list[int]:
    """The label in the middle of each of the four stripes."""
    return [int(labels[labels.shape[0] // 2, (2 * k + 1) * labels.shape[1] // 8]) for k in range(4)]


EXPECTED = [STREET.label("road"), STREET.label("vegetation"), STREET.label("car"), IGNORE_LABEL]


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("answer", ["scores", "labels"])
@pytest.mark.parametrize("size", [(32, 32), (48, 96), (64, 32), (None, None)])
def test_every_layout_and_size_gives_the_same_stripes(tmp_path, layout, answer, size):
    pytest.importorskip(
        "onnxruntime", reason="needs onnxruntime; pip install 'cmdfusion_ros[onnx]'"
    )
    path = write_colour_network(tmp_path / "cityscapes.onnx", size, layout, answer=answer)
    found = open_image_teacher(path, threads=1).answer(painted())
    assert stripes_of(found.labels) == EXPECTED
    assert found.labels.shape == found.confidence.shape and found.labels.dtype == np.uint8
    assert found.confidence.min() > 0.3 and found.confidence.max() <= 1.0001


def test_confidence_is_the_probability_of_all_classes_that_mean_the_same(tmp_path):
    pytest.importorskip("onnxruntime")
    teacher = open_image_teacher(write_colour_network(tmp_path / "cityscapes.onnx"), threads=1)
    grey = np.full((32, 32, 3), 128, np.uint8)  # three scores of 20 * 128 / 255, the sky's is 10
    scores = np.exp(np.array([20 * 128 / 255] * 3 + [10.0]))
    assert teacher.answer(grey).confidence.max() == pytest.approx(
        scores.max() / scores.sum(), abs=1e-3
    )


def test_bgr_and_names_from_the_file_beside_a_network(tmp_path):
    pytest.importorskip("onnxruntime")
    path = write_colour_network(tmp_path / "robot.onnx")
    names = ["?"] * 19
    names[0], names[8], names[13], names[10] = "Sidewalk", "grass", "van", "sky"
    path.with_suffix(".yaml").write_text(
        f"classes: {json.dumps([n if n != '?' else f'class {k}' for k, n in enumerate(names)])}\n"
        "channels: bgr\nmean: [0.0, 0.0, 0.0]\nstd: [255.0, 255.0, 255.0]\nflip: true\n"
        "folds: {large_vehicle: [van]}\n"
    )
    found = stripes_of(open_image_teacher(path, threads=1).answer(painted()).labels)
    assert found == [
        STREET.label("large_vehicle"),
        STREET.label("terrain"),
        STREET.label("sidewalk"),
        255,
    ]


def test_an_export_of_hugging_face_brings_its_own_names_and_numbers(tmp_path):
    pytest.importorskip("onnxruntime")
    path = write_colour_network(tmp_path / "model.onnx", (None, None))
    path.with_suffix(".yaml").unlink()
    names = {str(k): f"thing {k}" for k in range(19)} | {"0": "road", "8": "tree", "13": "car"}
    (tmp_path / "config.json").write_text(json.dumps({"id2label": names}))
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps(
            {"image_mean": [0, 0, 0], "image_std": [1, 1, 1], "size": {"height": 64, "width": 64}}
        )
    )
    assert stripes_of(open_image_teacher(path, threads=1).answer(painted()).labels) == EXPECTED


def test_what_a_teacher_lacks_is_said(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="teacher .*absent.onnx: no such file"):
        open_image_teacher(tmp_path / "absent.onnx")
    (tmp_path / "net.pth").write_bytes(b"x")
    with pytest.raises(ValueError, match="expected a file .onnx or .tflite, got .pth; export"):
        open_image_teacher(tmp_path / "net.pth")
    (tmp_path / "net.onnx").write_bytes(b"no network")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModuleNotFoundError, match=r"needs onnxruntime.*cmdfusion_ros\[onnx\]"):
        open_image_teacher(tmp_path / "net.onnx")
    (tmp_path / "net.tflite").write_bytes(b"no network")
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(ModuleNotFoundError, match=r"needs ai_edge_litert.*cmdfusion_ros\[tflite\]"):
        open_image_teacher(tmp_path / "net.tflite")


def test_a_broken_network_and_wrong_classes_are_named(tmp_path):
    pytest.importorskip("onnxruntime")
    (tmp_path / "net.onnx").write_bytes(b"no network")
    with pytest.raises(ValueError, match="net.onnx: not readable as ONNX"):
        open_image_teacher(tmp_path / "net.onnx")
    labels = write_colour_network(tmp_path / "robot.onnx", answer="labels")
    with pytest.raises(
        ValueError, match="labels, which do not tell whose classes they are.*robot.yaml"
    ):
        open_image_teacher(labels).answer(painted())
    odd = write_colour_network(tmp_path / "odd.onnx", num_classes=33)
    with pytest.raises(ValueError, match="has 33 classes, which no known list has"):
        open_image_teacher(odd).answer(painted())
    wrong = write_colour_network(tmp_path / "ade20k.onnx")
    with pytest.raises(ValueError, match="answers 19 classes, its list ade20k has 150"):
        open_image_teacher(wrong).answer(painted())
    wrong.with_suffix(".yaml").write_text("means: [0, 0, 0]\n")
    with pytest.raises(ValueError, match="means: unknown setting; did you mean 'mean'"):
        open_image_teacher(wrong)


def test_known_lists_have_the_numbers_of_classes_that_networks_answer():
    sizes = {name: len(load_class_list(name).names) for name in class_list_names()}
    assert sizes == {"ade20k": 150, "cityscapes": 19, "coco_stuff": 171, "mapillary": 65}
    assert class_list_of(66).name == "mapillary" and class_list_of(66).meanings[-1] is None
    every = {meaning for name in sizes for meaning in load_class_list(name).meanings}
    assert every - {None} == set(STREET.names)
    matrix = load_class_list("cityscapes").matrix(STREET)
    assert matrix.shape == (19, 13) and (matrix.sum(1) == 1).all() and matrix[10, 12] == 1  # sky
    assert matrix[17, STREET.label("two_wheeler")] == 1 and matrix[1, STREET.label("sidewalk")] == 1


def test_a_word_means_what_it_does_in_the_set_that_the_other_words_are_from():
    """ADE20K's wall is that of a room, Cityscapes' stands beside the road."""
    street = named_class_list(("road", "sidewalk", "wall", "terrain", "rider", "Traffic_Light"))
    assert street.meanings == ("road", "sidewalk", "barrier", "terrain", "two_wheeler", "pole_sign")
    room = named_class_list(("wall", "floor", "ceiling", "bed", "windowpane", "tree"))
    assert room.meanings[0] is None and room.meanings[-1] == "vegetation"
    with pytest.raises(ValueError, match="none of its classes"):
        named_class_list(("bed", "ceiling"))
    with pytest.raises(ValueError, match="'rode' is no class of the network; did you mean 'road'"):
        named_class_list(("road",), {"road": ["rode"]})


def test_tiles_cover_an_image_and_a_small_rest_is_squeezed_in():
    wide = tiling((1242, 375), (513, 513))  # scaled to 1699 x 513
    assert wide.size[1] == 513 and [left for left, _ in wide.corners][0] == 0
    assert wide.corners[-1][0] + 513 == wide.size[0] and len(wide.corners) == 4
    steps = np.diff([left for left, _ in wide.corners])
    assert steps.max() <= 513 and steps.max() - steps.min() <= 1
    assert tiling((960, 540), (1024, 512)).corners == ((0, 0),)  # 1024 x 576, squeezed into 512
    assert tiling((100, 300), (50, 50)).corners == ((0, 0), (0, 50), (0, 100))


def test_the_tflite_teacher_sees_a_real_street():
    paths = sorted((DATA / "teachers").glob("*.tflite"))
    if not paths:
        pytest.skip(f"needs {DATA / 'teachers'}; set CMDFUSION_DATA")
    pytest.importorskip(
        "ai_edge_litert", reason="needs LiteRT; pip install 'cmdfusion_ros[tflite]'"
    )
    import cv2

    image = cv2.imread(str(next((DATA / "pandaset" / "002" / "image_2").glob("*"))))[:, :, ::-1]
    found = open_image_teacher(paths[0], threads=1).answer(np.ascontiguousarray(image))
    low, high = found.labels[-len(found.labels) // 3 :], found.labels[: len(found.labels) // 3]
    assert (low == STREET.label("road")).mean() > 0.5
    assert (
        np.isin(high, [IGNORE_LABEL, STREET.label("building"), STREET.label("vegetation")]).mean()
        > 0.5
    )


@pytest.mark.parametrize(
    "kind, why", [("STRING", "input, got string"), ("DOUBLE", "input, got"), ("", "has 0 inputs")]
)
def test_a_network_whose_input_is_no_picture_is_refused(tmp_path, kind, why):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    make, types = onnx.helper, onnx.TensorProto
    if kind:
        node, shape = make.make_node("Identity", ["x"], ["y"]), [1, 3, 4, 4]
        code = getattr(types, kind)
        inputs = [make.make_tensor_value_info("x", code, shape)]
    else:
        value = make.make_tensor("v", types.FLOAT, [1], [1.0])
        node, shape, code, inputs = make.make_node("Constant", [], ["y"], value=value), [1], 1, []
    graph = make.make_graph(
        [node], "graph", inputs, [make.make_tensor_value_info("y", code, shape)]
    )
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "cityscapes.onnx"
    onnx.save(model, path)
    with pytest.raises(ValueError, match=why):
        open_image_teacher(path, threads=1)
