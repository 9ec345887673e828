"""Terms of distillation by hand, and that gradient reaches the student alone."""

import numpy as np
import pytest
import torch

from cmdfusion_ros.batch import make_batch
from cmdfusion_ros.frame import Frame
from cmdfusion_ros.geometry.voxels import VoxelGrid
from cmdfusion_ros.training.pairs import match_origins, match_voxels
from cmdfusion_ros.training.terms import affinity_error, feature_error, logit_divergence

TERMS = {
    "features": feature_error,
    "features of a unit": lambda a, b: feature_error(a, b, unit="variance"),
    "kl": logit_divergence,
    "absolute": lambda a, b: logit_divergence(a, b, temperature=3.0, kind="absolute"),
    "affinity": lambda a, b: affinity_error(a, b, torch.arange(len(a)) % 3, most=100),
}


def two_sides(seed=0, rows=30):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(rows, 5, generator=generator, requires_grad=True) for _ in range(2))


@pytest.mark.parametrize("term", TERMS.values(), ids=TERMS)
def test_equal_sides_are_at_zero_and_others_above(term):
    student, teacher = two_sides()
    assert term(student, student).item() == pytest.approx(0.0, abs=1e-6)
    assert term(student, teacher).item() > 0.05


@pytest.mark.parametrize("term", TERMS.values(), ids=TERMS)
def test_the_teacher_receives_no_gradient_and_a_step_of_the_student_lowers_the_term(term):
    student, teacher = two_sides()
    before = term(student, teacher)
    before.backward()
    assert teacher.grad is None and student.grad.abs().sum() > 0
    assert term(student - 0.1 * student.grad, teacher) < before


def test_features_by_hand():
    student, teacher = torch.tensor([[1.0, 3.0], [0.0, 0.5]]), torch.zeros(2, 2)
    assert feature_error(student, teacher).item() == pytest.approx((5.0 + 0.125) / 2)
    assert feature_error(student, teacher, floor=1.0).item() == pytest.approx(5.0)
    assert feature_error(student, teacher, floor=9.0).item() == 0.0


def test_what_is_unexplained_is_a_part_of_the_variance_whatever_the_size_of_features():
    ours, theirs = two_sides()
    ours = ours.detach()

    def unexplained(ours, theirs):
        return feature_error(ours, theirs, unit="variance").item()

    assert unexplained(theirs, theirs) == 0.0
    assert unexplained(theirs.mean(0).expand_as(theirs), theirs) == pytest.approx(1.0)
    assert unexplained(10 * ours, 10 * theirs) == pytest.approx(unexplained(ours, theirs), rel=1e-5)
    assert feature_error(10 * ours, 10 * theirs).item() == pytest.approx(
        100 * feature_error(ours, theirs).item(), rel=1e-5
    )
    assert unexplained(torch.tensor([[1.0], [1.0]]), torch.tensor([[0.0], [4.0]])) == pytest.approx(
        (1 + 9) / (4 + 4)
    )


def test_one_pair_or_pairs_alike_do_not_weigh_without_end():
    """Their variance is 0: a hundredth of the mean square takes its place."""
    for rows in (1, 5):
        student, teacher = (
            torch.full((rows, 4), 3.0, requires_grad=True),
            torch.full((rows, 4), 2.0),
        )
        error = feature_error(student, teacher, unit="variance")
        assert error.item() == pytest.approx(1.0 / 0.04)
        error.backward()
        assert torch.isfinite(student.grad).all()
    assert feature_error(torch.zeros(3, 4), torch.zeros(3, 4), unit="variance").item() == 0.0


def test_divergences_by_hand():
    p, q = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.8, 0.2]])
    kl = 0.8 * np.log(1.6) + 0.2 * np.log(0.4)
    assert logit_divergence(p.log(), q.log()).item() == pytest.approx(kl, rel=1e-5)
    assert logit_divergence(p.log(), q.log(), kind="absolute").item() == pytest.approx(
        (0.8 * np.log(1.6) - 0.2 * np.log(0.4)) / 2, rel=1e-5
    )
    assert logit_divergence(2 * p.log(), 2 * q.log(), temperature=2.0).item() == pytest.approx(
        kl, rel=1e-5
    )
    assert logit_divergence(p.log(), q.log(), floor=1.0).item() == 0.0


def test_affinity_by_hand_and_for_each_group_by_itself():
    student = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])
    teacher = torch.tensor([[1.0, 0.0], [5.0, 0.0], [0.0, 1.0]])
    # cosines of rows 0 and 1: student 0, teacher 1; the diagonal is equal
    assert affinity_error(student, teacher, torch.tensor([4, 4, -1]), 10).item() == pytest.approx(
        2 / 4
    )
    assert affinity_error(student, teacher, torch.tensor([4, 4, 7]), 10).item() == pytest.approx(
        2 / 4
    )
    assert affinity_error(student, teacher, torch.full((3,), -1), 10).item() == 0.0
    assert affinity_error(student, teacher, torch.zeros(3, dtype=torch.int64), 2).item() <= 1.0


def frame_of(points, origin):
    points = np.asarray(points, np.float32)
    return Frame(
        points, np.zeros(len(points), np.float32), origin=np.asarray(origin, np.int32), name="made"
    )


def test_points_are_matched_by_the_row_they_came_from():
    points = np.arange(12).reshape(4, 3)
    student = [frame_of(points[[2, 0, 3]], [2, 0, 3]), frame_of(points, [0, 1, 2, 3])]
    teacher = [frame_of(points, [3, -1, 2, 1]), frame_of(points[:0], [])]
    rows, teacher_rows = match_origins(student, teacher)
    assert sorted(zip(rows.tolist(), teacher_rows.tolist(), strict=True)) == [(0, 2), (2, 0)]
    # the other scan first: rows count through the batch
    rows, teacher_rows = match_origins(student[::-1], teacher[::-1])
    assert sorted(zip(rows.tolist(), teacher_rows.tolist(), strict=True)) == [(4, 2), (6, 0)]
    bare = Frame(points.astype(np.float32), np.zeros(4, np.float32), name="bare")
    with pytest.raises(ValueError, match="frame bare: has no origin"):
        match_origins([bare], [bare])


def test_voxels_are_matched_by_their_place():
    rng = np.random.default_rng(0)
    grid = VoxelGrid(0.5, (1, 2))
    clouds = [rng.uniform(-3, 3, (200, 3)) for _ in range(4)]
    batch = make_batch([frame_of(cloud, [-1] * 200) for cloud in clouds[:2]], grid)
    more = [
        frame_of(np.concatenate([b, a[:150]]), [-1] * 350)
        for a, b in zip(clouds[:2], clouds[2:], strict=True)
    ]
    teacher_batch = make_batch(more, grid)
    rows, teacher_rows = match_voxels(batch, teacher_batch)

    def place(each, row):
        return (int(each.frame_index[row]), *np.floor(each.points[row].numpy() / 0.5).astype(int))

    for a, b in zip(rows.tolist(), teacher_rows.tolist(), strict=True):
        assert place(batch, a) == place(teacher_batch, b)
    ours, theirs = (
        {place(each, row) for row in range(len(each.points))} for each in (batch, teacher_batch)
    )
    assert len(rows) == len(ours & theirs)
    with pytest.raises(ValueError, match="the student's are 0.5 m, the teacher's 0.2 m"):
        match_voxels(batch, make_batch(more, VoxelGrid(0.2, (1, 2))))
