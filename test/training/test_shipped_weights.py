"""The network that ships says truly what it is, and labels streets it was not trained on."""

import os
from pathlib import Path

import pytest

from cmdfusion_ros.checkpoint import load_checkpoint
from cmdfusion_ros.data.semantic_kitti import SemanticKitti
from cmdfusion_ros.inference import Segmenter, default_checkpoint_path
from cmdfusion_ros.training.metrics import score

DATA = Path(os.environ.get("CMDFUSION_DATA", Path(__file__).resolve().parents[2].parent / "shared" / "data"))
MODEL_CARD = Path(__file__).resolve().parents[2] / "docs" / "model_card_street_lidar.md"


@pytest.fixture(scope="module")
def checkpoint():
    return load_checkpoint(default_checkpoint_path())


def test_the_card_names_data_licence_and_whom_to_thank(checkpoint):
    card = checkpoint.card
    assert checkpoint.class_map.name == "street"
    made_up = {name for name in card["trained_on"] if name.startswith("street_world_")}
    real = {*card["trained_on"], *card["started_from"]["trained_on"]} - made_up
    assert len(made_up) == 372 and len(real) == 15 and max(real) == "pandaset/002/000028"
    assert min(card["validation"]["scans"]) > max(real)
    assert card["licence"] == "CC BY 4.0"
    assert "Scale AI" in card["attribution"] and "Hesai" in card["attribution"] and "PandaSet" in card["attribution"]


def test_the_model_card_shows_the_figures_of_the_checkpoint(checkpoint):
    text = MODEL_CARD.read_text()
    scores = checkpoint.card["validation"]
    assert checkpoint.card["date"] in text and checkpoint.card["attribution"] in text
    for name, iou in scores["iou"].items():
        assert f"| {name} | " in text
        assert iou is None or f" {100 * iou:.1f} |" in text, name
    assert "| **mean** | " in text and f"**{100 * scores['miou']:.1f}**" in text


def test_the_weights_stay_small():
    assert default_checkpoint_path().stat().st_size < 4e6


def test_road_cars_and_buildings_of_a_later_scan_are_found(checkpoint):
    if not (DATA / "pandaset").is_dir():
        pytest.skip(f"needs {DATA / 'pandaset'}")
    scans = SemanticKitti(DATA / "pandaset", ["002"], checkpoint.class_map, "pandaset", scans={44}, poses=False)
    scores = score(Segmenter(checkpoint, device="cpu").segment, scans, checkpoint.class_map).to_dict()
    assert scores["iou"]["road"] > 0.8 and scores["iou"]["car"] > 0.75 and scores["iou"]["building"] > 0.75
