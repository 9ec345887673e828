"""Every kind of teacher teaches: its term falls when it is all that is trained; it gets no
gradient; one that has nothing to say is an error.
"""

import copy

import pytest
import torch
from builders.small_trainings import make_trainer, recipe

from cmdfusion_ros.batch import make_batch
from cmdfusion_ros.checkpoint.file import load_checkpoint
from cmdfusion_ros.config import SettingsError, settings_from_dict
from cmdfusion_ros.training.distill_settings import DistillSettings
from cmdfusion_ros.training.distillation import MAX_DRY_STEPS, Step
from cmdfusion_ros.training.teachers import TeacherAnswer
from cmdfusion_ros.training.trainer import NETWORK, Trainer

FUSED = {"kind": "instance_fused", "previous": 2, "classes": ["person"]}
SWEEPS = {"kind": "multi_sweep", "previous": 1, "following": 1}


UNET = {"network": "spv_unet", "channels": 8, "voxel_size": 0.5, "image_size": [64, 32]}
# Joins that start as identity have no normalisation behind them, and shared weights are a target
# that moves: both fall in small steps alone.
SMALL_STEPS = {"own images of imputers": 0.01, "completed things, logits": 0.001}
CASES = {  # what is distilled -> (network, settings)
    "images of another network, features": (
        "cmdfusion",
        {"teacher": "checkpoint", "path": "image.safetensors", "features": 1.0},
    ),
    "images of another network, logits": (
        "cmdfusion",
        {"teacher": "checkpoint", "path": "image.safetensors", "logits": 1.0},
    ),
    "a published network": (
        "cmdfusion",
        {"teacher": "published_images", "path": "resnet.pth", "features": 1.0},
    ),
    "own images": ("flagship", {"teacher": "own_images", "features": 1.0}),
    "own images, in parts of their variance": (
        "flagship",
        {"teacher": "own_images", "features": 1.0, "feature_unit": "variance"},
    ),
    "own images of imputers": (
        "u2mkd",
        {"teacher": "own_images", "features": 1.0, "feature_unit": "variance"},
    ),
    "more sweeps, features": (
        "spv_unet",
        {
            "teacher": "checkpoint",
            "path": "spv_unet.safetensors",
            "match": "point",
            "view": SWEEPS,
            "features": 1.0,
        },
    ),
    "more sweeps, logits": (
        "spv_unet",
        {
            "teacher": "checkpoint",
            "path": "spv_unet.safetensors",
            "match": "point",
            "view": SWEEPS,
            "logits": 1.0,
        },
    ),
    "completed things, logits": (
        "spv_pyramid",
        {
            "teacher": "shared",
            "match": "voxel",
            "view": FUSED,
            "logits": 1.0,
            "logit_kind": "absolute",
        },
    ),
    "completed things, affinity": (
        "spv_pyramid",
        {"teacher": "shared", "match": "voxel", "view": FUSED, "affinity": 1.0},
    ),
    "completed things, their labels": (
        "spv_pyramid",
        {"teacher": "shared", "match": "voxel", "view": FUSED, "labels": 1.0},
    ),
    "the average, things of affinity": (
        "spv_pyramid",
        {
            "teacher": "average",
            "match": "voxel",
            "view": FUSED,
            "affinity": 1.0,
            "affinity_group": "instance",
        },
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_term_falls_when_it_is_trained_alone(teachers, tmp_path, case):
    network, settings = CASES[case]
    trainer = make_trainer(teachers, tmp_path / "run", network, [settings])
    (distiller,) = trainer.objective.distillers
    (name,) = {"features", "logits", "affinity", "labels"} & set(settings)
    optimizer = torch.optim.Adam(trainer.parameters, lr=SMALL_STEPS.get(case, 0.03))
    samples = [trainer.samples.plain(index) for index in (0, 1)]
    frames = [sample.frame for sample in samples]
    teacher_frames = (
        None
        if samples[0].teacher_frames[0] is None
        else [sample.teacher_frames[0] for sample in samples]
    )
    trainer.network.train()
    frozen = (
        None
        if distiller.teacher is None
        else copy.deepcopy(distiller.teacher._network.state_dict())
    )
    values = []
    for step in range(25):
        torch.manual_seed(step)
        batch = make_batch(frames, trainer.grid)
        output, networks = trainer.network(batch), (trainer.network, trainer.average)
        loss, row = distiller(Step(output, batch, frames, teacher_frames, *networks))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(row[name])
        assert row["pairs"] > 20
        assert loss.item() == pytest.approx(row[name], rel=1e-5)
    assert sum(values[-5:]) < 0.85 * sum(values[:5]), values
    if frozen is not None:
        assert all(
            torch.equal(frozen[key], tensor)
            for key, tensor in distiller.teacher._network.state_dict().items()
        )


@pytest.mark.parametrize("network, settings", CASES.values(), ids=CASES)
def test_no_tensor_of_a_teacher_has_a_gradient(teachers, tmp_path, network, settings):
    trainer = make_trainer(teachers, tmp_path / "run", network, [settings])
    (distiller,) = trainer.objective.distillers
    sample = trainer.samples.plain(0)
    batch = make_batch([sample.frame], trainer.grid)
    output = trainer.network.train()(batch)
    seen = sample.teacher_frames[0]
    networks = (trainer.network, trainer.average)
    answer, _ = distiller._answer(Step(output, batch, [sample.frame], seen and [seen], *networks))
    tensors = [
        answer.logits,
        *(answer.pixels.levels if answer.pixels else ()),
        answer.deep.features if answer.deep else None,
    ]
    assert any(tensor is not None for tensor in tensors)
    assert not any(tensor.requires_grad for tensor in tensors if tensor is not None)


def test_an_answer_is_detached_where_it_is_made(street_data, tmp_path):
    trainer = make_trainer(street_data, tmp_path / "run", "flagship", [])
    batch = make_batch([trainer.samples.plain(0).frame], trainer.grid)
    output = trainer.network.train()(batch)
    assert output.logits.requires_grad and output.pixels.levels[0].requires_grad
    answer = TeacherAnswer.of(output, batch)
    assert not answer.logits.requires_grad and not any(
        level.requires_grad for level in answer.pixels.levels
    )


def test_shared_weights_on_the_same_cloud_have_nothing_to_teach(street_data, tmp_path):
    """M2SKD without earlier scans: teacher and student see one cloud, so every term is zero."""
    settings = {
        "teacher": "shared",
        "match": "voxel",
        "view": FUSED,
        "logits": 5.0,
        "affinity": 1.0,
        "labels": 0.2,
        "logit_kind": "absolute",
    }
    trainer = make_trainer(street_data, tmp_path / "run", "spv_pyramid", [settings])
    (distiller,) = trainer.objective.distillers
    frame = trainer.samples.plain(0).frame
    batch = make_batch([frame], trainer.grid)
    output, networks = trainer.network.train()(batch), (trainer.network, trainer.average)
    loss, row = distiller(Step(output, batch, [frame], [frame], *networks))
    assert (
        loss.item() == pytest.approx(0.0, abs=1e-5)
        and row["added"] == 0
        and row["pairs"] == len(batch.scales[0].voxel_coords)
    )


def test_a_run_logs_its_terms_and_pairs_and_its_checkpoint_names_its_teacher(teachers, tmp_path):
    fused = {"teacher": "shared", "match": "voxel", "view": FUSED, "logits": 1.0, "labels": 0.2}
    trainer = make_trainer(
        teachers,
        tmp_path / "run",
        "cmdfusion",
        [CASES["images of another network, features"][1], fused],
    )
    trainer.run(progress=False)
    import json

    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert (
        all(row["checkpoint.pairs"] > 20 and row["shared.pairs"] > 100 for row in rows)
        and sum(row["shared.added"] for row in rows) > 0
    )
    assert {
        "checkpoint.features",
        "checkpoint.unexplained",
        "shared.logits",
        "shared.labels",
    } <= set(rows[0])
    card = load_checkpoint(tmp_path / "run" / NETWORK).card
    assert [teacher["name"] for teacher in card["teachers"]] == ["network"] and card["teachers"][0][
        "trained_on"
    ][0].startswith("semantic_kitti/01/")


def test_training_with_teachers_resumes_to_the_same_numbers(teachers, tmp_path):
    from safetensors.torch import load_file

    settings = [
        CASES["a published network"][1],
        {"teacher": "average", "match": "point", "view": SWEEPS, "logits": 1.0},
    ]
    changes = {"save_every": 2, "parts": 2}
    make_trainer(teachers, tmp_path / "whole", "cmdfusion", settings, **changes).run(progress=False)
    killed = make_trainer(teachers, tmp_path / "killed", "cmdfusion", settings, **changes)
    step = killed._train_step

    def dies(weights):
        if killed.step == 3:
            raise KeyboardInterrupt
        return step(weights)

    killed._train_step = dies
    with pytest.raises(KeyboardInterrupt):
        killed.run(progress=False)
    resumed = Trainer(killed.recipe, teachers, tmp_path / "killed", resume=True)
    assert resumed.step == 2
    resumed.run(progress=False)
    whole, again = load_file(tmp_path / "whole" / NETWORK), load_file(tmp_path / "killed" / NETWORK)
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_a_teacher_that_is_missing_or_has_nothing_to_say_is_an_error(teachers, tmp_path):
    def start(network, **settings):
        make_trainer(teachers, tmp_path / "run", network, [settings])

    with pytest.raises(FileNotFoundError, match="absent.safetensors: no such file"):
        start("cmdfusion", teacher="checkpoint", path="absent.safetensors", features=1.0)
    with pytest.raises(FileNotFoundError, match="absent.pth: no such file"):
        start("cmdfusion", teacher="published_images", path="absent.pth", features=1.0)
    with pytest.raises(ValueError, match="no pixel of .* is paired"):
        start("spv_pyramid", teacher="own_images", features=1.0)
    with pytest.raises(
        ValueError, match="features of pixels need a network with a knowledge branch"
    ):
        start("spv_pyramid", teacher="checkpoint", path="image.safetensors", features=1.0)
    with pytest.raises(ValueError, match="those of U-Nets; student or teacher is none"):
        start("spv_pyramid", teacher="shared", match="voxel", view=FUSED, features=1.0)
    with pytest.raises(
        ValueError, match="instance_fused adds no point to any of the 3 training scans"
    ):
        start(
            "spv_pyramid",
            teacher="shared",
            match="voxel",
            view={**FUSED, "classes": ["two_wheeler"]},
            logits=1.0,
        )
    with pytest.raises(
        ValueError, match="with no weight; set features, logits, affinity or labels"
    ):
        start("spv_pyramid", teacher="average", match="point")


def test_without_images_nothing_can_be_learnt_from_images(teachers, tmp_path):
    data = {"root": "kitti", "sequences": ["01"], "first_scan": 2, "last_scan": 4}
    with pytest.raises(
        ValueError, match="no pixel of semantic_kitti/01/000002 is paired; are the images read"
    ):
        make_trainer(
            teachers,
            tmp_path / "run",
            *CASES["a published network"][:1],
            [CASES["a published network"][1]],
            train=data,
        )


def test_cameras_that_are_always_missing_stop_the_training(street_data, tmp_path):
    settings = {"teacher": "own_images", "features": 1.0}
    trainer = make_trainer(
        street_data,
        tmp_path / "run",
        "flagship",
        [settings],
        augment={"camera_dropout": 1.0},
        steps=100,
    )
    trainer.objective.distillers[0].dry_steps.fill_(MAX_DRY_STEPS - 1)
    trainer._train_step(torch.ones(12))
    with pytest.raises(ValueError, match=f"nothing was paired in {MAX_DRY_STEPS} steps"):
        trainer._train_step(torch.ones(12))


FROZEN = {
    "teacher": "checkpoint",
    "path": "spv_unet.safetensors",
    "match": "point",
    "view": SWEEPS,
    "logits": 1.0,
}


def test_a_teacher_that_saw_the_validation_scans_is_refused(teachers, tmp_path):
    train = {"root": "kitti", "sequences": ["01"], "first_scan": 4}
    validation = {"root": "kitti", "sequences": ["01"], "first_scan": 2, "last_scan": 3}
    with pytest.raises(
        ValueError, match="teacher network was trained on 2 of the validation scans"
    ):
        make_trainer(
            teachers, tmp_path / "run", "spv_unet", [FROZEN], train=train, validation=validation
        )


def test_a_teacher_of_other_classes_is_refused(teachers, tmp_path):
    with pytest.raises(ValueError, match="classes of street; the student's are semantic_kitti"):
        make_trainer(teachers, tmp_path / "run", "spv_unet", [FROZEN], class_map="semantic_kitti")


@pytest.mark.parametrize(
    "values, message",
    [
        ({"teacher": "checkpoint"}, "with path ''"),
        ({"path": "x"}, "with path 'x'"),
        ({"match": "point"}, "own_images has features of pixels and nothing else"),
        ({"logits": 1.0}, "own_images has features of pixels and nothing else"),
        ({"teacher": "average", "view": SWEEPS}, "match pixel with view multi_sweep"),
        (
            {"teacher": "average", "match": "voxel", "view": FUSED, "labels": 1.0},
            "shared weights learn from points",
        ),
        ({"teachr": "average"}, "did you mean 'teacher'"),
        ({"feature_unit": "variance"}, "feature_unit with features 0 would do nothing"),
        ({"features": 1.0, "temperature": 2.0}, "temperature with logits 0 would do nothing"),
        (
            {"features": 1.0, "affinity_classes": ["car"]},
            "affinity_classes with affinity 0 would do nothing",
        ),
    ],
)
def test_contradictory_settings_are_named(values, message):
    with pytest.raises(SettingsError, match=message):
        settings_from_dict(DistillSettings, values)


def test_recipes_that_cannot_be_are_named():
    by_voxel = {"teacher": "shared", "match": "voxel", "view": FUSED, "logits": 1.0}
    with pytest.raises(SettingsError, match="one teacher may be matched by voxel"):
        recipe(distill=[by_voxel, by_voxel])
    with pytest.raises(SettingsError, match="one teacher may be matched by voxel"):
        recipe(distill=[by_voxel], view=SWEEPS)
    with pytest.raises(
        SettingsError, match="instance_fused needs the labels that a network shall find"
    ):
        recipe(view=FUSED, distill=[{"teacher": "own_images", "features": 1.0}])
    with pytest.raises(SettingsError, match="parts: expected a divisor of batch_size 2, got 3"):
        recipe(parts=3)
    with pytest.raises(SettingsError, match="start_from gives every weight"):
        recipe(start_from="a.safetensors", image_weights="b.safetensors")
    with pytest.raises(SettingsError, match="a network of images alone"):
        recipe(network="image", validation={"root": "kitti", "sequences": ["01"]})
    with pytest.raises(SettingsError, match="validation.repeat: every scan is scored once"):
        recipe(validation={"root": "kitti", "sequences": ["01"], "repeat": 2})
