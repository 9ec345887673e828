"""`cmdfusion calibrate`, from the command line to what evaluate says of it."""

import json

import cv2
import numpy as np
import pytest
import torch
import yaml
from builders.commands import cmdfusion, evaluate_pandaset

from cmdfusion_ros.batch import make_batch
from cmdfusion_ros.checkpoint.file import load_checkpoint, save_checkpoint
from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.config import ModelConfig
from cmdfusion_ros.data.readers.semantic_kitti import SemanticKitti
from cmdfusion_ros.models import build_network, grid_of

STREET = load_class_map("street")
CONFIG = ModelConfig(channels=8, voxel_size=0.5, strides=(1, 2))
ROAD, BUILDING = 7, 41  # raw ids of PandaSet


def write_scan(folder, scan, rng):
    """A road and a wall, of whose labels one in four is the other: nobody can be right more
    often than that.
    """
    road = np.c_[rng.uniform(-25, 25, (900, 2)), np.full(900, -1.7), np.full(900, 0.1)]
    wall = np.c_[
        rng.uniform(-25, 25, 600), np.full(600, 6.0), rng.uniform(0, 4, 600), np.full(600, 0.5)
    ]
    np.concatenate([road, wall]).astype(np.float32).tofile(folder / "velodyne" / f"{scan:06d}.bin")
    raw = np.repeat(np.array([ROAD, BUILDING], np.uint32), (900, 600))
    raw[rng.random(len(raw)) < 0.25] ^= np.uint32(ROAD ^ BUILDING)
    raw.tofile(folder / "labels" / f"{scan:06d}.label")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for name in ("velodyne", "labels"):
        (root / "01" / name).mkdir(parents=True)
    for scan in range(5):
        write_scan(root / "01", scan, rng)
    return root


@pytest.fixture(scope="module")
def plain(data, tmp_path_factory):
    """A network fitted to scan 0, then made far too sure: its last layer says everything five
    times as loud.
    """
    torch.manual_seed(0)
    network = build_network(CONFIG, STREET.num_classes)
    frame = SemanticKitti(data, ("01",), STREET, "pandaset", range(1), poses=False)[0]
    batch = make_batch([frame], grid_of(CONFIG))
    optimizer = torch.optim.Adam(network.parameters(), 0.02)
    for _ in range(40):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(
            network(batch).logits, torch.from_numpy(frame.labels.astype(np.int64))
        ).backward()
        optimizer.step()
    with torch.no_grad():
        for name in ("weight", "bias"):
            network.get_parameter(f"head.logits.{name}").mul_(5)
    path = tmp_path_factory.mktemp("network") / "plain.safetensors"
    save_checkpoint(path, network.eval(), CONFIG, STREET, {"trained_on": ["pandaset/01/000000"]})
    return path


def calibrate(data, path, *options):
    return cmdfusion("calibrate", path, "--data", data, "--device", "cpu", *options)


def evaluate(data, path, out, *options):
    assert evaluate_pandaset(path if isinstance(path, list) else [path], data, out, *options) == 0
    return json.loads(out.read_text())


SOME = ("--dataset", "pandaset", "--sequences", "01", "--first-scan", "1", "--last-scan", "2")


@pytest.fixture(scope="module")
def calibrated(data, plain, tmp_path_factory):
    out = tmp_path_factory.mktemp("calibrated")
    before = plain.read_bytes()
    path = out / "calibrated.safetensors"
    assert (
        calibrate(
            data,
            plain,
            "--out",
            path,
            "--json",
            out / "fit.json",
            "--picture",
            out / "fit.png",
            *SOME,
        )
        == 0
    )
    assert plain.read_bytes() == before
    return path


def test_the_checkpoint_says_how_it_was_calibrated_and_keeps_its_weights(plain, calibrated):
    before, after = load_checkpoint(plain), load_checkpoint(calibrated)
    assert all(torch.equal(before.weights[name], after.weights[name]) for name in before.weights)
    card = after.card["calibration"]
    assert card["scans"] == ["pandaset/01/000001", "pandaset/01/000002"] and card["points"] == 3000
    assert card["ece_uncalibrated"] > 0.15 and card["ece"] < card["ece_uncalibrated"] / 3
    assert card["sets"] == [
        {"dataset": "pandaset", "sequences": ["01"], "first_scan": 1, "last_scan": 2}
    ]
    assert [entry["temperature"] for entry in card["by_distance"].values()] == list(
        after.temperatures.values
    )
    assert after.temperatures.values[0] > 2
    fit = json.loads((calibrated.parent / "fit.json").read_text())
    assert (
        fit["ece"] == card["ece"]
        and fit["by_distance"] == card["by_distance"]
        and len(fit["reliability"]["calibrated"]) == 15
    )
    assert cv2.imread(str(calibrated.parent / "fit.png")).std() > 10


def test_the_error_falls_on_scans_that_were_not_fitted_on_and_the_labels_stay(
    data, plain, calibrated, tmp_path, capsys
):
    before = evaluate(data, plain, tmp_path / "before.json", "--first-scan", "3")
    capsys.readouterr()
    after = evaluate(
        data,
        calibrated,
        tmp_path / "after.json",
        "--first-scan",
        "3",
        "--page",
        str(tmp_path / "page.html"),
    )
    assert (
        f"ECE {100 * after['ece']:.1f} (uncalibrated {100 * before['ece']:.1f})"
        in capsys.readouterr().out
    )
    assert after["iou"] == before["iou"] and after["accuracy"] == before["accuracy"]
    assert before["ece"] == before["ece_uncalibrated"] == after["ece_uncalibrated"] > 0.15
    assert (
        after["ece"] < before["ece"] / 3
        and after["by_distance"]["10-20"]["ece"] < before["by_distance"]["10-20"]["ece"]
    )
    assert (
        after["calibrated_on"] == []
        and before["reliability"]["calibrated"] == after["reliability"]["uncalibrated"]
    )
    page = (tmp_path / "page.html").read_text()
    assert "<h2>Calibration</h2>" in page and page.count("data:image/png;base64") == 3


def test_an_evaluation_on_the_scans_of_the_fit_says_so(data, calibrated, tmp_path, capsys):
    result = evaluate(
        data,
        calibrated,
        tmp_path / "scores.json",
        "--first-scan",
        "1",
        "--page",
        str(tmp_path / "page.html"),
    )
    assert result["calibrated_on"] == ["pandaset/01/000001", "pandaset/01/000002"]
    assert "NOTE: temperatures were fitted on 2 of these 4 scans" in capsys.readouterr().out
    assert "fitted on 2 of these scans" in (tmp_path / "page.html").read_text()


def test_changed_scans_and_several_checkpoints_keep_labels_and_count_both_errors(
    data, plain, calibrated, tmp_path
):
    before, after = (
        evaluate(data, path, tmp_path / "scores.json", "--first-scan", "3", "--tta", "flip4")
        for path in (plain, calibrated)
    )
    assert (
        after["iou"] == before["iou"] and after["ece"] < after["ece_uncalibrated"] == before["ece"]
    )
    both = evaluate(data, [plain, calibrated], tmp_path / "scores.json", "--first-scan", "3")
    assert both["spread"]["checkpoints"] == 2 and both["ece"] < both["ece_uncalibrated"]


def test_scans_that_the_checkpoint_was_trained_on_are_refused(data, plain, capsys):
    before = plain.read_bytes()
    assert calibrate(data, plain, "--dataset", "pandaset", "--sequences", "01") == 2
    assert (
        "was trained on 1 of these 5 scans (pandaset/01/000000, ...)" in capsys.readouterr().err
        and plain.read_bytes() == before
    )


def test_several_sets_are_fitted_together_and_fitting_again_replaces(data, calibrated, tmp_path):
    again = tmp_path / "again.safetensors"
    again.write_bytes(calibrated.read_bytes())
    common = {"dataset": "pandaset", "sequences": ["01"]}
    sets = [{**common, "first_scan": 1, "last_scan": 1, "repeat": 3}, {**common, "first_scan": 3}]
    (tmp_path / "sets.yaml").write_text(yaml.safe_dump({"sets": sets}))
    assert calibrate(data, again, "--keep", "--sets", tmp_path / "sets.yaml") == 0
    card = load_checkpoint(again).card["calibration"]
    assert (
        card["scans"] == ["pandaset/01/000001", "pandaset/01/000003", "pandaset/01/000004"]
        and card["points"] == 4500
    )
    assert card["ece_uncalibrated"] > 0.15  # of the network, not of the temperatures before


def test_without_keep_or_out_nothing_is_written_and_few_scans_are_warned_of(data, plain, capsys):
    before = plain.read_bytes()
    assert calibrate(data, plain, *SOME) == 0 and plain.read_bytes() == before
    told = capsys.readouterr().out
    assert "not written; --keep or --out FILE does" in told
    assert "WARNING: 2 scans are few" in told
    assert calibrate(data, plain, "--keep", "--out", "other.safetensors", *SOME) == 2
    assert "give one of them" in capsys.readouterr().err and plain.read_bytes() == before


@pytest.mark.parametrize("options", [(), ("--sequences", "01", "--sets", "x.yaml")])
def test_either_sequences_or_sets_must_be_given(data, plain, options, capsys):
    assert calibrate(data, plain, *options) == 2
    assert "either --sequences of one set, or --sets" in capsys.readouterr().err
