"""mCE, mRR and the curve over cameras, worked out by hand on networks that are made up."""

from dataclasses import replace

import numpy as np
import pytest

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.evaluation.robustness import (
    corruption_error,
    measure,
    names_of,
    resilience,
    with_before,
)
from cmdfusion_ros.evaluation.robustness_picture import draw_robustness, table
from cmdfusion_ros.frame import CameraView, Frame, Prediction

STREET = load_class_map("street")


class MadeUp:
    """Says the true label, which the intensity holds, of points that a rule picks; else class 0."""

    def __init__(self, rule, uses_images=False, class_map=STREET):
        self.rule, self.uses_images, self.class_map = rule, uses_images, class_map

    def segment(self, frame):
        labels = np.where(self.rule(frame), np.rint(frame.intensity * 10), 0).astype(np.uint8)
        number = len(labels)
        return Prediction(labels, np.ones(number, np.float32), np.zeros(number, np.uint32))


def make_frame(cameras=0, name="set/00/000000"):
    """Half of the points are of class 0 and half of class 1, in a grid of 16 beams."""
    elevation = np.repeat(np.radians(np.linspace(-20, 10, 16)), 40)
    azimuth = np.tile(np.linspace(0.1, 2 * np.pi - 0.1, 40), 16)
    flat = 10 * np.cos(elevation)
    points = np.c_[flat * np.cos(azimuth), flat * np.sin(azimuth), 10 * np.sin(elevation)]
    labels = (np.arange(640) // 20 % 2).astype(np.uint8)
    image, intrinsic = (
        np.full((16, 16, 3), 9, np.uint8),
        np.array([[8.0, 0, 8], [0, 8, 8], [0, 0, 1]]),
    )
    views = tuple(CameraView(f"cam{row}", image, intrinsic, np.eye(4)) for row in range(cameras))
    intensity = (labels / 10).astype(np.float32)
    return Frame(points.astype(np.float32), intensity, views=views, labels=labels, name=name)


def everywhere(frame):
    return np.ones(frame.num_points, bool)


def nowhere(frame):
    return np.zeros(frame.num_points, bool)


def test_the_formulas_are_those_of_robo3d():
    # SemanticKITTI-C, 2DPASS against MinkUNet-18, per level as published, fog alone
    ours, theirs = (0.4889, 0.4670, 0.2578), (0.6171, 0.5832, 0.4759)
    assert corruption_error(ours, theirs) == pytest.approx(1.7863 / 1.3238, abs=1e-5)
    assert resilience(ours, 0.6461) == pytest.approx(np.mean(ours) / 0.6461, abs=1e-5)
    assert corruption_error(ours, ()) is None and resilience(ours, 0.0) is None


def test_a_network_that_is_always_right_keeps_everything():
    names = ["robo3d/beam_missing", "robo3d/cross_sensor"]
    result = measure(MadeUp(everywhere), MadeUp(nowhere), [(make_frame(), None)], names)
    assert result["clean"] == 1.0 and result["suites"]["robo3d"] == {"mce": 0.0, "mrr": 1.0}
    # the baseline says class 0 of all: IoU 1/2 and 0
    assert result["baseline_clean"] == 0.25
    levels = result["corruptions"]["robo3d/cross_sensor"]["levels"]
    assert list(levels) == ["light", "moderate", "heavy"] and levels["light"]["numbers"] == [4]


def test_without_a_baseline_there_is_no_mce():
    result = measure(MadeUp(everywhere), None, [(make_frame(), None)], ["robo3d/fog"])
    assert (
        result["suites"]["robo3d"]["mce"] is None and result["suites"]["robo3d"]["mrr"] is not None
    )


def test_the_baseline_is_its_own_measure():
    rule = lambda frame: frame.points[:, 0] > 0  # noqa: E731
    result = measure(MadeUp(rule), MadeUp(rule), [(make_frame(), None)], ["robo3d/motion_blur"])
    assert result["suites"]["robo3d"]["mce"] == 1.0


def test_every_subset_of_the_cameras_is_scored_and_the_worst_named():
    def with_camera_2(frame):
        return np.full(frame.num_points, "cam2" in [view.name for view in frame.views])

    network = MadeUp(with_camera_2, uses_images=True)
    result = measure(network, None, [(make_frame(3), None)], [])
    curve = result["by_live_cameras"]
    assert [entry["subsets"] for entry in curve.values()] == [1, 3, 3, 1]
    assert curve["1"]["miou"] == pytest.approx((1.0 + 0.25 + 0.25) / 3, abs=1e-6)
    assert curve["2"]["lowest"] == 0.25 and curve["2"]["without"] == ["cam2"]
    assert curve["3"]["without"] == [] and curve["0"]["without"] == ["cam0", "cam1", "cam2"]
    drawn = measure(network, None, [(make_frame(3), None)], [], max_subsets=2)
    assert [entry["subsets"] for entry in drawn["by_live_cameras"].values()] == [1, 2, 2, 1]


def test_a_network_without_images_has_no_camera_curve():
    assert measure(MadeUp(everywhere), None, [(make_frame(2), None)], [])["by_live_cameras"] == {}


def test_what_changes_images_alone_is_left_out_without_any():
    assert names_of(["robobev", "calib"], with_images=False) == []
    assert len(names_of(["robo3d"], with_images=False)) == 8
    assert "multicorrupt/temporal_misalignment_lidar" in names_of(["multicorrupt"], False)
    with pytest.raises(ValueError, match="expected some of robo3d, .*got 'weather'"):
        names_of(["weather"], True)


def test_the_scan_before_is_of_the_same_sequence():
    names = ["set/00/000000", "set/00/000001", "set/01/000000"]

    class Scans(list):
        def name(self, row):
            return names[row]

    scans = Scans(make_frame(name=name) for name in names)
    late = ["multicorrupt/temporal_misalignment_lidar"]
    before = [pair[1] for pair in with_before(scans, [0, 1, 2], late)]
    assert before[0] is None and before[1] is scans[0] and before[2] is None
    assert all(pair[1] is None for pair in with_before(scans, [0, 1, 2], ["robo3d/fog"]))


def test_other_classes_and_no_labels_are_named():
    kitti = load_class_map("semantic_kitti")
    with pytest.raises(ValueError, match="has the classes of semantic_kitti, the network those of"):
        measure(MadeUp(everywhere), MadeUp(everywhere, class_map=kitti), [], [])
    with pytest.raises(ValueError, match="expected labelled scans, got none"):
        measure(MadeUp(everywhere), None, [], [])
    one, two = make_frame(2), make_frame(2)
    two = replace(two, views=two.views[:1], name="other")
    with pytest.raises(ValueError, match="other: has cameras"):
        measure(MadeUp(everywhere, True), None, [(one, None), (two, None)], [])


def test_the_table_and_the_picture_hold_every_corruption(tmp_path):
    result = measure(
        MadeUp(everywhere, True),
        MadeUp(nowhere),
        [(make_frame(2), None)],
        ["robo3d/fog", "robobev/low_light"],
    )
    text = "\n".join(table(result))
    for word in ("robo3d/fog", "low_light", "mCE", "mRR", "2 live cameras"):
        assert word in text
    figure = draw_robustness({**result, "checkpoint": "a", "baseline": "b"})
    figure.savefig(tmp_path / "plot.png")
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [
        "robo3d/fog",
        "robobev/low_light",
    ]
    assert len(figure.axes) == 2
