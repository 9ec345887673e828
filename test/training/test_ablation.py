"""The ablation: runs are trained once, claims are judged by the seeds, and the knowledge
branch's own answer is what a swapped checkpoint says.
"""

import json
from pathlib import Path

import pytest
import torch
import yaml
from builders.commands import cmdfusion
from builders.paths import REPOSITORY

from cmdfusion_ros.batch import make_batch
from cmdfusion_ros.checkpoint.file import load_checkpoint
from cmdfusion_ros.cli.ablation import _make_world
from cmdfusion_ros.config import SettingsError, settings_from_dict
from cmdfusion_ros.models import grid_of
from cmdfusion_ros.training.ablation import (
    Ablation,
    do_run,
    folder_of,
    with_branches_swapped,
)
from cmdfusion_ros.training.ablation_pictures import markdown_table
from cmdfusion_ros.training.ablation_summary import refuse_closed_gates, summary
from cmdfusion_ros.training.recipe import Recipe
from cmdfusion_ros.training.trainer import LOG, NETWORK, Trainer

CONFIGS = sorted((REPOSITORY / "config" / "ablation").glob("*.yaml"))
VALUES = {
    "name": "small",
    "seeds": 2,
    "hard": ["person", "truck"],
    "test": {"root": "kitti", "sequences": ["01"], "first_scan": 5, "images": True},
    "recipe": {
        "class_map": "semantic_kitti",
        "model": {
            "channels": 8,
            "voxel_size": 0.5,
            "strides": [1, 2, 4],
            "image_size": [64, 32],
            "image_width": 8,
        },
        "train": {"root": "kitti", "sequences": ["01"], "last_scan": 3, "images": True},
        "steps": 2,
    },
    "runs": {
        "lidar": {},
        "image": {"seeds": 1, "model": {"network": "image"}},
        "both": {
            "model": {"network": "cmdfusion"},
            "distill": [{"teacher": "checkpoint", "path": "@image", "features": 1.0}],
        },
        "flagship": {"image_weights": "@image", "model": {"network": "flagship"}},
    },
    "rows": [
        {"row": "a", "title": "LiDAR alone", "run": "lidar"},
        {"row": "d", "title": "both", "run": "both"},
        {"row": "e", "title": "knowledge", "run": "both", "answer": "knowledge"},
        {"row": "h", "title": "no camera", "run": "flagship", "cameras": 0},
    ],
    "curve": ["flagship"],
    "claims": [{"title": "knowledge helps", "better": "d", "than": "a"}],
}


@pytest.fixture
def config(tmp_path):
    def write(**changes):
        path = tmp_path / "small.yaml"
        path.write_text(yaml.safe_dump({**VALUES, **changes}, sort_keys=False))
        return path

    return write


def test_the_command_trains_every_row_and_goes_on_where_it_was_stopped(
    config, street_data, tmp_path, capsys
):
    out = tmp_path / "out"

    def ablation(*words):
        options = ("--data", street_data, "--out", out, "--threads", "1")
        return cmdfusion("ablation", config(), *options, *words)

    assert ablation("--seeds", "0", "--runs", "lidar", "image") == 0
    before = (folder_of(out, "lidar", 0) / LOG).stat().st_mtime_ns
    assert json.loads((out / "ablation.json").read_text())["claims"] == []  # d is not there yet
    assert ablation("--json", tmp_path / "figures.json") == 0
    assert (folder_of(out, "lidar", 0) / LOG).stat().st_mtime_ns == before
    result = json.loads((tmp_path / "figures.json").read_text())
    assert result == json.loads((out / "ablation.json").read_text())
    rows = {row["row"]: row for row in result["table"]}
    assert all(row["seeds"] == [0, 1] and len(row["miou"]["values"]) == 2 for row in rows.values())
    own = [
        json.loads((folder_of(out, "lidar", seed) / "scores.json").read_text())["own"]
        for seed in (0, 1)
    ]
    assert rows["a"]["miou"]["values"] == [each["miou"] for each in own]
    # there is no truck
    assert rows["a"]["hard"]["values"] == [each["iou"]["person"] for each in own]
    assert (
        list(result["live_cameras"]["flagship"]) == ["0", "1"]
        and rows["h"]["miou"] == result["live_cameras"]["flagship"]["0"]
    )
    claim, of_curve = result["claims"]
    one, none = (result["live_cameras"]["flagship"][number]["values"] for number in "10")
    assert of_curve["difference"] == pytest.approx(
        sum(a - b for a, b in zip(one, none, strict=True)) / 2, abs=2e-6
    )
    assert claim["difference"] == pytest.approx(
        rows["d"]["miou"]["mean"] - rows["a"]["miou"]["mean"], abs=2e-6
    )
    assert (out / "ablation_bars.png").stat().st_size > 5000 and (
        out / "ablation_cameras.png"
    ).exists()
    assert "| d | both | 2 |" in capsys.readouterr().out


def test_runs_of_other_seeds_learn_from_the_last_one_that_a_run_has(config, tmp_path):
    ablation = Ablation(config())
    assert [ablation.has_seed("image", seed) for seed in (0, 1)] == [
        True,
        False,
    ] and ablation.has_seed("lidar", 7)
    image = str(folder_of(tmp_path, "image", 0) / NETWORK)
    for seed in (0, 1):
        assert (
            ablation.recipe("both", seed, tmp_path).distill[0].path == image
            and ablation.recipe("flagship", seed, tmp_path).image_weights == image
        )
    free = Ablation(config(runs={**VALUES["runs"], "image": {"model": {"network": "image"}}}))
    assert free.recipe("both", 1, tmp_path).distill[0].path == str(
        folder_of(tmp_path, "image", 1) / NETWORK
    )


def test_a_run_that_was_killed_between_training_and_scoring_is_only_scored(
    config, street_data, tmp_path
):
    ablation, out = Ablation(config()), tmp_path / "out"
    Trainer(ablation.recipe("lidar", 0, out), street_data, folder_of(out, "lidar", 0)).run(
        progress=False
    )
    weights = load_checkpoint(folder_of(out, "lidar", 0) / NETWORK).weights
    assert set(do_run(ablation, "lidar", 0, street_data, out)) == {"own", "test"}
    after = load_checkpoint(folder_of(out, "lidar", 0) / NETWORK).weights
    assert all(torch.equal(weights[name], after[name]) for name in weights)


def test_what_was_made_with_another_file_is_refused_and_kept(config, street_data, tmp_path):
    out = tmp_path / "out"
    made = do_run(Ablation(config()), "lidar", 0, street_data, out)
    scores_path = folder_of(out, "lidar", 0) / "scores.json"
    before = scores_path.read_bytes()
    with pytest.raises(
        ValueError, match="lidar_0: was trained with another recipe than lidar has now"
    ):
        do_run(
            Ablation(config(recipe={**VALUES["recipe"], "steps": 3})), "lidar", 0, street_data, out
        )
    with pytest.raises(ValueError, match="scores.json: holds scores of other scans"):
        do_run(
            Ablation(config(test={**VALUES["test"], "first_scan": 4})), "lidar", 0, street_data, out
        )
    assert scores_path.read_bytes() == before
    assert do_run(Ablation(config()), "lidar", 0, street_data, out) == made
    out.rename(tmp_path / "moved")
    assert do_run(Ablation(config()), "lidar", 0, street_data, tmp_path / "moved") == made


def test_a_network_that_sees_sweeps_is_scored_on_sweeps(config, street_data, tmp_path):
    """Its scores are those that the trainer's own validation has on the same scans."""
    view = {"kind": "multi_sweep", "previous": 2}
    test = {key: value for key, value in VALUES["test"].items() if key != "images"}
    ablation = Ablation(
        config(runs={**VALUES["runs"], "lidar": {"view": view, "validation": test, "steps": 4}})
    )
    scores = do_run(ablation, "lidar", 0, street_data, tmp_path / "out")
    card = load_checkpoint(folder_of(tmp_path / "out", "lidar", 0) / NETWORK).card
    assert scores["own"]["miou"] == pytest.approx(card["validation"]["miou"], abs=1e-6)


def test_a_swapped_checkpoint_gives_the_answer_of_the_knowledge_branch(street_data, tmp_path):
    values = {
        **VALUES["recipe"],
        "model": {**VALUES["recipe"]["model"], "network": "cmdfusion"},
        "steps": 3,
    }
    trainer = Trainer(settings_from_dict(Recipe, values), street_data, tmp_path / "run")
    checkpoint = load_checkpoint(trainer.run(progress=False))
    batch = make_batch([trainer.scans[0]], grid_of(checkpoint.model_config))
    network = checkpoint.build_network()
    for module in network.modules():
        module.training = False
    network.training = True  # for its auxiliary answer, by the statistics of evaluation
    with torch.no_grad():
        output = network(batch)
        swapped = with_branches_swapped(checkpoint).build_network()(batch)
    torch.testing.assert_close(swapped.logits, output.auxiliary[0].logits, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(swapped.logits, output.logits, atol=1e-3)
    lidar = load_checkpoint(
        Trainer(settings_from_dict(Recipe, VALUES["recipe"]), street_data, tmp_path / "lidar").run(
            progress=False
        )
    )
    with pytest.raises(
        ValueError,
        match="expected a cmdfusion network, whose branches can change places, got spv_pyramid",
    ):
        with_branches_swapped(lidar)


def scores(miou, person):
    return {
        "own": {
            "miou": miou,
            "iou": {"person": person, "truck": 0.0},
            "points": {"person": 5, "truck": 0},
            "by_live_cameras": {},
        }
    }


@pytest.mark.parametrize(
    "gains, verdict",
    [
        ((0.02, 0.03, 0.02), "shows"),
        ((-0.02, -0.03, -0.02), "does not show"),
        ((0.05, -0.04, 0.0), "within the spread of the seeds"),
        ((0.02,), "one seed only"),
    ],
)
def test_claims_are_judged_seed_by_seed(config, tmp_path, gains, verdict):
    ablation = Ablation(config(rows=VALUES["rows"][:2], curve=[]))
    for seed, gain in enumerate(gains):
        # seeds differ by more than the gain: only pairs show it
        for run, miou in (("lidar", 0.3 + 0.1 * seed), ("both", 0.3 + 0.1 * seed + gain)):
            folder_of(tmp_path, run, seed).mkdir()
            text = json.dumps(scores(miou, 0.1))
            (folder_of(tmp_path, run, seed) / "scores.json").write_text(text)
            (folder_of(tmp_path, run, seed) / LOG).write_text('{"seconds": 30.0}\n')
    result = summary(ablation, tmp_path, range(len(gains)))
    (claim,) = result["claims"]
    assert claim["verdict"] == verdict and claim["difference"] == pytest.approx(
        sum(gains) / len(gains), abs=1e-6
    )
    assert result["training_minutes"]["lidar"] == 0.5 * len(gains)
    assert f"| {verdict} |" in markdown_table(result)


def test_where_the_test_has_no_hard_class_there_is_no_mean_of_them(config, tmp_path):
    ablation = Ablation(
        config(
            rows=VALUES["rows"][:2],
            curve=[],
            hard=["truck"],
            claims=[{**VALUES["claims"][0], "of": "hard"}],
        )
    )
    for run in ("lidar", "both"):
        folder_of(tmp_path, run, 0).mkdir()
        (folder_of(tmp_path, run, 0) / "scores.json").write_text(json.dumps(scores(0.3, 0.1)))
        (folder_of(tmp_path, run, 0) / LOG).write_text("")
    result = summary(ablation, tmp_path, [0])
    assert (
        all("hard" not in row and row["miou"]["mean"] == 0.3 for row in result["table"])
        and result["claims"] == []
    )
    assert "| a | LiDAR alone | 1 | 30.0 | - |" in markdown_table(result)


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"rows": [{"row": "a", "title": "x", "run": "lidr"}]},
            r"run 'lidr' of a row; did you mean 'lidar'",
        ),
        (
            {"claims": [{"title": "x", "better": "z", "than": "a"}]},
            r"claim 'x': expected rows of a, d, e, h",
        ),
        (
            {"runs": {**VALUES["runs"], "lidar": {"stepps": 3}}},
            r"run lidar: stepps: unknown setting; did you mean 'steps'",
        ),
        ({"rowes": []}, r"rowes: unknown; did you mean 'rows'"),
        (
            {
                "rows": [{"row": "e", "title": "t", "run": "both", "answer": "knowlege"}],
                "claims": [],
            },
            "row e: answer: expected own or knowledge, got 'knowlege'",
        ),
        (
            {"runs": {**VALUES["runs"], "flagship": {"start_from": "@imag"}}},
            "run flagship: @imag: no such run; did you mean 'image'",
        ),
        ({"seeds": 0}, "seeds: expected a number of seeds, 1 or more, got 0"),
        (
            {"runs": {**VALUES["runs"], "image": {"seeds": 0}}},
            "runs: image: seeds: expected a number of seeds",
        ),
        ({"test": {**VALUES["test"], "repeat": 2}}, "test.repeat: every scan is scored once"),
    ],
)
def test_a_wrong_file_is_named(config, changes, message):
    with pytest.raises(SettingsError, match=message):
        Ablation(config(**changes))


def test_a_file_based_on_another_says_what_differs(config, tmp_path):
    config()
    path = tmp_path / "shorter.yaml"
    path.write_text(
        "based_on: small.yaml\nname: shorter\nseeds: 1\nrecipe: {steps: 1}\n"
        "runs: {both: {steps: 3}}\n"
    )
    ablation = Ablation(path)
    assert (ablation.name, ablation.seeds) == ("shorter", 1)
    assert ablation.recipe("lidar", 0, "out").steps == 1
    both = ablation.recipe("both", 0, "out")
    assert both.steps == 3 and both.model.network == "cmdfusion" and both.distill[0].features == 1
    assert [claim.title for claim in ablation.claims] == ["knowledge helps"]

    path.write_text("based_on: smal.yaml\nname: x\n")
    with pytest.raises((SettingsError, FileNotFoundError), match="smal.yaml"):
        Ablation(path)
    (tmp_path / "again.yaml").write_text("based_on: shorter.yaml\nname: x\n")
    with pytest.raises(SettingsError, match="again.yaml: based_on: shorter.yaml is based on"):
        Ablation(tmp_path / "again.yaml")


def test_streets_half_made_are_made_anew_and_what_is_not_ours_stays(tmp_path):
    settings = {"image_scale": 0.1, "weather": "overcast"}
    left = tmp_path / "train" / "sequences" / "00" / "velodyne" / "000007.bin"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"")
    with pytest.raises(ValueError, match="holds what this command did not make"):
        _make_world(tmp_path, "train", 3, 1, 1, settings)
    assert left.exists()
    (tmp_path / "train" / ".begun").write_text("by another file, then killed")
    _make_world(tmp_path, "train", 3, 1, 1, settings)
    assert [path.name for path in left.parent.iterdir()] == ["000000.bin"]
    assert not (tmp_path / "train" / ".begun").exists()
    _make_world(tmp_path, "train", 3, 1, 1, settings)  # is there
    with pytest.raises(ValueError, match="holds streets made otherwise"):
        _make_world(tmp_path, "train", 4, 1, 1, settings)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_ablations_are_valid(path):
    ablation = Ablation(path)
    assert len(ablation.runs) >= 2 and ablation.claims
    teachers = [
        each.path
        for run in ablation.runs
        for each in ablation.recipe(run, 0, "out").distill
        if each.path
    ]
    order = {
        str(folder_of(Path("out").resolve(), run, 0) / NETWORK): place
        for place, run in enumerate(ablation.runs)
    }
    assert teachers and all(teacher in order for teacher in teachers)
    for place, run in enumerate(ablation.runs):
        assert all(
            order[each.path] < place for each in ablation.recipe(run, 0, "out").distill if each.path
        )


def test_a_teacher_that_is_no_better_closes_its_gate(config, tmp_path):
    gate = {"title": "d teaches", "better": "d", "than": "a", "by": 0.02, "before": ["flagship"]}
    path = config(gates=[gate])
    ablation, out = Ablation(path), tmp_path / "out"
    with pytest.raises(ValueError, match="rows d and a are not measured yet"):
        refuse_closed_gates(ablation, "flagship", out, [0, 1])
    for run, miou in (("lidar", 0.3), ("both", 0.31)):
        folder_of(out, run, 0).mkdir(parents=True)
        (folder_of(out, run, 0) / "scores.json").write_text(
            json.dumps({**scores(miou, 0.1), "knowledge": scores(miou, 0.1)["own"]})
        )
    refuse_closed_gates(ablation, "lidar", out, [0, 1])
    with pytest.raises(ValueError, match=r"d - a is \+1.0 points of miou, needed > 2; mend"):
        refuse_closed_gates(ablation, "flagship", out, [0, 1])
    refuse_closed_gates(Ablation(config(gates=[{**gate, "by": 0.0}])), "flagship", out, [0, 1])
    with pytest.raises(SettingsError, match="run 'nobody' of a row"):
        Ablation(config(gates=[{**gate, "before": ["nobody"]}]))
