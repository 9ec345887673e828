"""The network that ships says truly what it is, labels streets it was not trained on, and takes
any number of cameras.
"""

from dataclasses import replace

import numpy as np
import pytest
from builders.paths import DATA, REPOSITORY

from cmdfusion_ros.checkpoint.file import load_checkpoint
from cmdfusion_ros.data.readers.semantic_kitti import SemanticKitti
from cmdfusion_ros.data.synthetic.sequence import Sequence, SequenceSettings
from cmdfusion_ros.evaluation.metrics import score
from cmdfusion_ros.inference import Segmenter, default_checkpoint_path
from cmdfusion_ros.training.provenance import scans_seen

DOCS = REPOSITORY / "docs"
SHIPPED = sorted(default_checkpoint_path().parent.glob("*.safetensors"))


@pytest.fixture(scope="module")
def checkpoint():
    return load_checkpoint(default_checkpoint_path())


@pytest.fixture(scope="module")
def segmenter(checkpoint):
    return Segmenter(checkpoint, device="cpu")


def test_the_card_names_data_licence_and_whom_to_thank(checkpoint):
    card = checkpoint.card
    assert checkpoint.class_map.name == "street"
    assert checkpoint.model_config.network == "unet_flagship"
    seen = scans_seen(card)
    real = {name for name in seen if not name.startswith("street_")}
    assert len(seen) > len(real) + 500
    assert {name.split("/")[0] for name in real} == {"pandaset", "pandaset_forward"}
    frames = {int(name.split("/")[-1]) for name in real}
    assert not frames & set(range(36, 56)), "the scans of the demo's bag"
    assert max(frames) < 73, "the scans that validate"
    assert not set(card["trained_on"]) & set(card["validation"]["scans"])
    assert card["licence"] == "CC BY 4.0"
    assert (
        "Scale AI" in card["attribution"]
        and "Hesai" in card["attribution"]
        and "PandaSet" in card["attribution"]
        and "EfficientNet-lite0" in card["attribution"]
    )


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_model_card_shows_the_figures_of_the_checkpoint(path):
    text = (DOCS / f"model_card_{path.stem}.md").read_text()
    card = load_checkpoint(path).card
    assert card["date"] in text and card["attribution"] in text
    for name, iou in card["validation"]["iou"].items():
        assert f"| {name} | " in text
        assert iou is None or f" {100 * iou:.1f} |" in text, name
    assert "| **mean** | " in text and f"**{100 * card['validation']['miou']:.1f}**" in text


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_weights_stay_small(path):
    assert path.stat().st_size < 10e6


def test_road_cars_and_buildings_of_a_later_scan_are_found(segmenter):
    if not (DATA / "pandaset").is_dir():
        pytest.skip(f"needs {DATA / 'pandaset'}; set CMDFUSION_DATA")
    for images in (False, True):
        scans = SemanticKitti(
            DATA / "pandaset",
            ["002"],
            segmenter.class_map,
            "pandaset",
            scans={48},
            poses=False,
            images=images,
        )
        scores = score(segmenter.segment, scans, segmenter.class_map).to_dict()
        assert (
            scores["iou"]["road"] > 0.75
            and scores["iou"]["car"] > 0.65
            and scores["iou"]["building"] > 0.75
        ), images


def test_any_number_of_cameras_is_taken_and_none_as_if_they_saw_nothing(segmenter):
    frame = Sequence(
        4712, "00", 1, SequenceSettings(rig="nuscenes", image_scale=0.16, weather="overcast")
    ).frame(0, segmenter.class_map)
    labelled = frame.labels != 255
    for number in range(len(frame.views) + 1):
        prediction = segmenter.segment(replace(frame, views=frame.views[:number]))
        assert (prediction.labels == frame.labels)[labelled].mean() > 0.6, number
        assert len(np.unique(prediction.camera_mask)) == number + 1
    away = [
        replace(
            view,
            camera_from_lidar=np.array(
                [[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, -1000], [0, 0, 0, 1]]
            ),
        )
        for view in frame.views
    ]
    blind, none = (
        segmenter.segment(replace(frame, views=tuple(away))),
        segmenter.segment(replace(frame, views=())),
    )
    assert np.array_equal(blind.labels, none.labels) and not blind.camera_mask.any()
