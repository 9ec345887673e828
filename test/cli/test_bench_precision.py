"""`cmdfusion bench precision`: the weights that ship label alike in bfloat16."""

import json

import numpy as np
import pytest

from cmdfusion_ros.cli.benches.precision import compare, made_up
from cmdfusion_ros.cli.main import main
from cmdfusion_ros.inference import Segmenter
from cmdfusion_ros.sparse import native

needs_half = pytest.mark.skipif(
    native.kernels() is None or not native.kernels().has_half,
    reason="no compiled kernels, or a CPU without AVX512-BF16",
)


@needs_half
def test_the_shipped_weights_label_alike_in_both(tmp_path, capsys):
    path = tmp_path / "precision.json"
    assert main(["bench", "precision", "--scans", "1", "--json", str(path)]) == 0
    result = json.loads(path.read_text())
    assert result["scans"] == 3 and list(result["precisions"]) == ["float32", "bfloat16"]
    assert 0.995 <= result["least_equal"] <= result["equal"] < 1.0
    assert "the same label" in capsys.readouterr().out


def test_two_that_are_the_same_give_the_same():
    segmenter = Segmenter(device="cpu", cpu_threads=1, precision="float32")
    (frame,) = made_up(segmenter.class_map, 1)[:1]
    result = compare([segmenter, segmenter], [frame])
    assert result["equal"] == 1.0 and result["points"] == frame.num_points
    labels = segmenter.segment(frame).labels
    known = frame.labels != 255
    right = np.mean(labels[known] == frame.labels[known])
    assert result["precisions"]["float32"]["accuracy"] == pytest.approx(right)


def test_data_without_sequences_says_what_is_missing(tmp_path, capsys):
    options = ["bench", "precision", "--data", str(tmp_path)]
    assert main(options) == 2
    assert "--sequences" in capsys.readouterr().err
