"""What a teacher is shown, what it may be trained on, and what its student is compared with."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from builders.small_trainings import make_trainer, recipe

from cmdfusion_ros.batch import make_batch
from cmdfusion_ros.checkpoint.file import load_checkpoint
from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.config import SettingsError
from cmdfusion_ros.data.augment.scan_context import ViewSettings
from cmdfusion_ros.frame import IGNORE_LABEL, Frame
from cmdfusion_ros.models.gated_fusion import ScalarGatedFusion
from cmdfusion_ros.models.output import Output, PixelFeatures, ScaleFeatures
from cmdfusion_ros.training.distillation import Step
from cmdfusion_ros.training.feature_pairs import completed_points, pixel_pairs
from cmdfusion_ros.training.samples import Samples, shown
from cmdfusion_ros.training.teacher_scores import told
from cmdfusion_ros.training.teachers import TeacherAnswer

STREET = load_class_map("street")
FUSED = {"kind": "instance_fused", "previous": 2, "classes": ["person"]}
SWEEPS = {"kind": "multi_sweep", "previous": 2}
UNET = {"channels": 8, "voxel_size": 0.5}


def test_a_teacher_sees_the_students_points_whatever_the_sector(street_data):
    distill = {"teacher": "average", "match": "point", "view": SWEEPS, "logits": 1.0}
    augment = {"sector": 120.0, "yaw": 180.0, "flip": 0.5, "point_dropout": 0.2, "thin_chance": 0.5}
    settings = recipe("spv_pyramid", [distill], augment=augment)
    samples = Samples(settings.open_training(street_data, STREET), settings, STREET)
    wider = 0
    for item in range(12):
        sample = samples.draw(item)
        own, theirs = sample.frame.origin, sample.teacher_frames[0].origin
        assert len(own) and np.isin(own, theirs).all()
        wider += len(np.setdiff1d(theirs[theirs >= 0], own))
        again = samples.draw(item)
        np.testing.assert_array_equal(again.frame.points, sample.frame.points)
    assert wider  # the teacher looks beyond the sector's edges


def test_a_student_without_such_a_teacher_draws_as_before(street_data):
    settings = recipe("spv_pyramid", [], augment={"sector": 120.0, "yaw": 180.0})
    samples = Samples(settings.open_training(street_data, STREET), settings, STREET)
    assert samples._sector(samples.plain(0).frame, 3) is None
    assert 0 < samples.draw(3).frame.num_points < samples.plain(0).frame.num_points


def test_a_network_may_be_trained_on_completed_clouds_and_is_scored_on_the_scan(
    street_data, tmp_path
):
    data = {"root": "kitti", "sequences": ["01"]}
    trainer = make_trainer(
        street_data,
        tmp_path / "run",
        "spv_unet",
        [],
        view=FUSED,
        train={**data, "last_scan": 2},
        validation={**data, "first_scan": 3},
        steps=2,
    )
    card = load_checkpoint(trainer.run(progress=False)).card
    *_, frame = shown(trainer.validation_scans, trainer.recipe.view, STREET)
    *_, scan = trainer.validation_scans
    assert frame.num_points > scan.num_points
    assert (frame.labels[scan.num_points :] == IGNORE_LABEL).all()
    labelled = sum((each.labels != IGNORE_LABEL).sum() for each in trainer.validation_scans)
    assert sum(card["validation"]["points"].values()) == labelled
    with pytest.raises(SettingsError, match="good for a teacher alone; leave distill out"):
        recipe("spv_pyramid", [{"teacher": "own_images", "features": 1.0}], view=FUSED)


def test_two_passes_of_a_unet_on_one_cloud_are_the_same(street_data, tmp_path):
    trainer = make_trainer(street_data, tmp_path / "run", "spv_unet", [])
    network = trainer.network.train()
    frame = trainer.samples.plain(0).frame
    batch = make_batch([frame], trainer.grid)
    one, two = (network(batch).row_logits for _ in range(2))
    torch.testing.assert_close(one, two)  # M2SKD's logit term was dropout noise


def test_added_points_weigh_as_points_of_the_whole_cloud(street_data, tmp_path):
    distill = {"teacher": "shared", "match": "voxel", "view": FUSED, "labels": 1.0}
    trainer = make_trainer(street_data, tmp_path / "run", "spv_unet", [distill])
    sample = trainer.samples.plain(2)
    (seen,) = sample.teacher_frames
    network = trainer.network.eval()
    batch = make_batch([sample.frame], trainer.grid)
    (distiller,) = trainer.objective.distillers
    _, row = distiller(Step(network(batch), batch, [sample.frame], [seen], network, network))
    logits = network(make_batch([seen], trainer.grid)).logits
    added = torch.from_numpy(seen.origin < 0)
    errors = torch.nn.functional.cross_entropy(
        logits[added], torch.from_numpy(seen.labels.astype(np.int64))[added], reduction="sum"
    )
    assert added.sum() > 0 and (seen.labels != IGNORE_LABEL).all()
    assert row["labels"] == pytest.approx(errors.item() / seen.num_points, rel=1e-4)


def test_a_join_starts_as_identity():
    torch.manual_seed(0)
    fusion = ScalarGatedFusion(6, 4)
    target, source = torch.randn(50, 6), torch.randn(50, 4)
    for mode in (fusion.train(), fusion.eval()):
        torch.testing.assert_close(mode(target, source), target, atol=1e-6, rtol=0)
    fusion(target, source).square().sum().backward()
    assert fusion.join.weight.grad[:, 6:].abs().sum() > 0  # and learns what the source is good for


def test_u2mkd_starts_from_its_lidar_unet_and_answers_the_same(street_data, tmp_path):
    base = make_trainer(street_data, tmp_path / "base", "spv_unet", [], steps=2)
    path = base.run(progress=False)
    trainer = make_trainer(
        street_data, tmp_path / "run", "u2mkd", [], start_from=str(path), start_partly=True
    )
    frame = replace(trainer.samples.plain(0).frame, views=())
    batch = make_batch([frame], trainer.grid)
    ours, theirs = (each.eval()(batch).row_logits for each in (trainer.network, base.average))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    with_image = make_batch([trainer.samples.plain(0).frame], trainer.grid)
    assert with_image.views[0]
    torch.testing.assert_close(trainer.network(with_image).row_logits, theirs, atol=1e-5, rtol=1e-5)
    taken = trainer.started_from["taken"]
    assert {"imputers", "to_voxels", "to_images", "images"} <= set(taken["new"])
    assert not taken["left"]
    assert trainer.started_from["trained_on"] == list(base.scans.names)
    with pytest.raises(ValueError, match="the recipe asks for"):
        make_trainer(street_data, tmp_path / "other", "spv_pyramid", [], start_from=str(path))


def test_imputed_features_are_compared_with_the_mean_over_a_voxel():
    points = np.array([[0.1, 0.1, 0.1], [0.2, 0.1, 0.1], [0.4, 0.1, 0.1], [3, 3, 3]], np.float32)
    from cmdfusion_ros.geometry.voxels import VoxelGrid

    batch = make_batch([Frame(points, np.zeros(4, np.float32))], VoxelGrid(0.5, (1,)))
    guess = torch.tensor([[1.0], [5.0]])
    pixels = PixelFeatures(torch.tensor([0, 1, 3]), (torch.tensor([[2.0], [4.0], [9.0]]),))
    output = Output(
        torch.zeros(2, 3), batch.scale(1).point_to_voxel, knowledge=(ScaleFeatures(1, guess),)
    )
    answer = TeacherAnswer(batch, pixels=pixels)
    ((ours, theirs),) = pixel_pairs(output, batch, answer, in_voxels=True)
    np.testing.assert_array_equal(ours, [[1.0], [5.0]])
    np.testing.assert_array_equal(theirs, [[3.0], [9.0]])
    ((ours, theirs),) = pixel_pairs(output, batch, answer, in_voxels=False)
    np.testing.assert_array_equal(ours, [[1.0], [1.0], [5.0]])


def test_completed_things_are_those_that_got_points(street_data):
    settings = recipe("spv_pyramid", [])
    scans = settings.open_training(street_data, STREET)
    scan = replace(scans[2], origin=np.arange(scans[2].num_points, dtype=np.int32))
    view = ViewSettings(kind="instance_fused", previous=2, classes=("person",))
    fused = view.apply(scan, scans.neighbours(2, view.offsets), STREET)
    assert fused.num_points > scan.num_points
    completed = completed_points([scan], [fused]).numpy()
    person = scan.labels == STREET.label("person")
    np.testing.assert_array_equal(completed, person)
    assert not completed_points([scan], [scan]).any()


def test_features_of_m2skd_are_tapped_at_both_ends(street_data, tmp_path):
    trainer = make_trainer(
        street_data,
        tmp_path / "teacher",
        "spv_unet",
        [],
        view=FUSED,
        steps=2,
        train={"root": "kitti", "sequences": ["01"], "first_scan": 2, "last_scan": 4},
    )
    path = trainer.run(progress=False)
    distill = {
        "teacher": "checkpoint",
        "path": str(path),
        "match": "voxel",
        "view": FUSED,
        "features": 1.0,
        "feature_place": "ends",
        "feature_rows": "completed",
    }
    student = make_trainer(street_data, tmp_path / "run", "spv_unet", [distill], steps=2)
    network, sample = student.network.train(), student.samples.plain(2)
    output = network(make_batch([sample.frame], student.grid))
    assert [tap.stride for tap in output.taps] == [2, 1]
    student.run(progress=False)
    with pytest.raises(SettingsError, match="feature_rows completed with view single"):
        recipe("spv_pyramid", [{**distill, "view": {}, "match": "point"}])
    with pytest.raises(SettingsError, match="feature_rows voxels with match voxel"):
        recipe("spv_pyramid", [{**distill, "feature_rows": "voxels"}])


def test_a_run_says_how_good_its_teachers_are(street_data, tmp_path):
    data = {"root": "kitti", "sequences": ["01"]}
    scans = {"train": {**data, "last_scan": 2}, "validation": {**data, "first_scan": 3}}
    teacher = make_trainer(
        street_data, tmp_path / "teacher", "spv_unet", [], view=FUSED, steps=60, **scans
    )
    path = teacher.run(progress=False)
    distill = {"teacher": "checkpoint", "path": str(path), "match": "voxel", "view": FUSED}
    run = make_trainer(
        street_data,
        tmp_path / "run",
        "spv_unet",
        [{**distill, "logits": 1.0}],
        steps=1,
        learning_rate=1e-6,
        **scans,
    )
    card = load_checkpoint(run.run(progress=False)).card
    (entry,) = card["validation"]["teachers"]
    labelled = sum((scan.labels != IGNORE_LABEL).sum() for scan in run.validation_scans)
    assert entry["view"] == "instance_fused" and entry["points"] == labelled
    own = teacher.validation["iou"]["person"]  # scored as itself, by the same rule
    assert entry["miou"] == pytest.approx(own, abs=2e-3)
    assert entry["better"] == (entry["miou"] > entry["student"])
    worse = {**entry, "better": False}
    assert "WARNING" in told(worse) and "WARNING" not in told({**entry, "better": True})
