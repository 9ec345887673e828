"""Networks of a few numbers, written in the test, that answer a pixel's class by its colour."""

from pathlib import Path

import numpy as np
import pytest

# red, green, blue, black -> these of Cityscapes' 19 classes
COLOURS = {"road": (255, 0, 0), "vegetation": (0, 255, 0), "car": (0, 0, 255), "sky": (0, 0, 0)}
CITYSCAPES = {"road": 0, "vegetation": 8, "sky": 10, "car": 13}


def write_colour_network(path: Path, size: tuple[int | None, int | None] = (32, 32), layout="nchw",
                         num_classes: int = 19, answer: str = "scores") -> Path:  # fmt: skip
    """An ONNX network whose class is what the brightest channel says (COLOURS).

    Its input is (red, green, blue) of 0 to 1, as with mean 0 and std 255. The sky is what has no
    colour. `answer`: scores, or labels (int64, the class itself).
    """
    onnx = pytest.importorskip("onnx", reason="needs onnx; pip install 'cmdfusion_ros[test]'")
    make, kinds = onnx.helper, onnx.TensorProto
    weights = np.zeros((num_classes, 3, 1, 1), np.float32)
    bias = np.full(num_classes, -100.0, np.float32)
    for channel, name in enumerate(("road", "vegetation", "car")):
        weights[CITYSCAPES[name], channel], bias[CITYSCAPES[name]] = 20.0, 0.0
    bias[CITYSCAPES["sky"]] = 10.0
    tensors = [
        onnx.numpy_helper.from_array(weights, "weights"),
        onnx.numpy_helper.from_array(bias, "bias"),
    ]
    shape = [1, 3, *size] if layout == "nchw" else [1, *size, 3]
    shape = [each if each else f"side{place}" for place, each in enumerate(shape)]
    nodes, last = [], "image"
    if layout == "nhwc":
        nodes.append(make.make_node("Transpose", ["image"], ["first"], perm=[0, 3, 1, 2]))
        last = "first"
    nodes.append(make.make_node("Conv", [last, "weights", "bias"], ["scores"]))
    last, kind, rank = "scores", kinds.FLOAT, 4
    if answer == "labels":
        nodes.append(make.make_node("ArgMax", ["scores"], ["labels"], axis=1, keepdims=0))
        last, kind, rank = "labels", kinds.INT64, 3
    elif layout == "nhwc":
        nodes.append(make.make_node("Transpose", ["scores"], ["last"], perm=[0, 2, 3, 1]))
        last = "last"
    graph = make.make_graph(
        nodes,
        "colours",
        [make.make_tensor_value_info("image", kinds.FLOAT, shape)],
        [make.make_tensor_value_info(last, kind, [None] * rank)],
        tensors,
    )
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(path))
    path.with_suffix(".yaml").write_text("mean: [0.0, 0.0, 0.0]\nstd: [255.0, 255.0, 255.0]\n")
    return path
