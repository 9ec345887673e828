"""The network as a library: the weights that ship, arrays, many scans, and the notebook."""

import json
import re

import numpy as np
import pytest
import torch
from builders.paths import REPOSITORY, load_script

from cmdfusion_ros.data.synthetic.sequence import Sequence, SequenceSettings
from cmdfusion_ros.frame import Frame
from cmdfusion_ros.inference import Segmenter, default_checkpoint_path


@pytest.fixture(scope="module")
def segmenter():
    return Segmenter(device="cpu")


@pytest.fixture(scope="module")
def frame(segmenter):
    street = Sequence(5, "00", 1, SequenceSettings(rig="kitti", image_scale=0.1))
    return street.frame(0, segmenter.class_map)


def test_without_a_path_it_opens_the_weights_that_ship(segmenter, frame):
    named = Segmenter(default_checkpoint_path(), device="cpu")
    ours, theirs = segmenter.segment(frame), named.segment(frame)
    assert np.array_equal(ours.labels, theirs.labels)
    assert segmenter.uses_images and segmenter.images_reason.startswith("looked at")


def test_arrays_are_a_frame_without_images(segmenter, frame):
    plain = segmenter.segment(Frame(frame.points, frame.intensity))
    arrays = segmenter.segment(frame.points, frame.intensity)
    assert np.array_equal(arrays.labels, plain.labels)
    assert np.array_equal(arrays.confidence, plain.confidence)
    dark = segmenter.segment(frame.points)  # a sensor without intensity
    zero = segmenter.segment(frame.points, np.zeros(frame.num_points, np.float32))
    assert np.array_equal(dark.labels, zero.labels)
    assert len(segmenter.segment(np.zeros((0, 3), np.float32)).labels) == 0


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda points: (points.astype(np.float64),), r"points: expected dtype float32, got float"),
        (lambda points: (points[:, :2],), r"points: expected shape \(N, 3\), got \(\d+, 2\)"),
        (
            lambda points: (points.T,),
            r"expected shape \(N, 3\).*use np.ascontiguousarray\(array.T\)",
        ),
        (
            lambda points: (points.tolist(),),
            r"points: expected a .*, got list; use np.array\(..., np",
        ),
        (lambda points: (torch.from_numpy(points),), r"got Tensor; use .cpu\(\).numpy\(\)"),
        (
            lambda points: (points, np.full(len(points), 200.0, np.float32)),
            r"0 to 1, got up to 200",
        ),
        (lambda points: (points, np.zeros(3, np.float32)), "intensity"),
        (lambda points: (points * np.nan,), "NaN"),
    ],
)
def test_arrays_of_another_kind_are_refused_by_name(segmenter, frame, wrong, told):
    with pytest.raises(ValueError, match=told):
        segmenter.segment(*wrong(frame.points))


def test_an_intensity_beside_a_frame_is_refused(segmenter, frame):
    with pytest.raises(ValueError, match="a Frame has its own intensity"):
        segmenter.segment(frame, frame.intensity)


def test_the_page_runs_as_a_newcomer_types_it(frame, tmp_path, monkeypatch):
    page = (REPOSITORY / "docs" / "library.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    np.c_[frame.points, frame.intensity].tofile(tmp_path / "000000.bin")
    monkeypatch.chdir(tmp_path)
    typed: dict = {}
    exec(compile(code, "library.md", "exec"), typed)
    assert len(typed["names"]) == frame.num_points and "road" in typed["names"]


def test_arrays_go_wherever_a_frame_does(segmenter, frame):
    pair = (frame.points, frame.intensity)
    (answer,) = segmenter.segment_all([pair])
    assert np.array_equal(answer.labels, segmenter.segment(*pair).labels)
    shares, _ = segmenter.probabilities(*pair)
    assert np.array_equal(shares.argmax(1), answer.labels)


def test_many_scans_come_one_at_a_time_in_their_order(segmenter, frame):
    asked = []

    def scans():
        for number in range(3):
            asked.append(number)
            yield frame.points[number::3]

    answers = segmenter.segment_all(scans())
    assert len(next(answers).labels) == len(frame.points[0::3]) and asked == [0]
    assert [len(answer.labels) for answer in answers] == [len(frame.points[n::3]) for n in (1, 2)]


def test_probabilities_are_those_of_the_labels(segmenter, frame):
    probabilities, _ = segmenter.probabilities(frame)
    prediction = segmenter.segment(frame)
    assert probabilities.shape == (frame.num_points, segmenter.class_map.num_classes)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)
    assert (probabilities.argmax(1) == prediction.labels).mean() > 0.9999
    np.testing.assert_allclose(probabilities.max(1), prediction.confidence, atol=1e-4)


def test_the_cells_of_the_notebook_run_and_show_what_they_should():
    maker = load_script("docs/make_notebook.py")
    cells = [c for c in json.loads(maker.NOTEBOOK.read_text())["cells"] if c["cell_type"] == "code"]
    names: dict = {}
    shown = [maker.outputs_of("".join(cell["source"]), names) for cell in cells]
    kinds = [[output["output_type"] for output in outputs] for outputs in shown]
    kept = [[output["output_type"] for output in cell["outputs"]] for cell in cells]
    assert kinds == kept and sum("display_data" in each for each in kinds) == 2
    right = [line for line in shown[-2][0]["text"].splitlines() if "points right" in line]
    assert len(right) == 2 and all(int(line.split(": ")[1].split()[0]) > 60 for line in right)
