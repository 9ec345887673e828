"""Points that an image sees have its features, all others a guess."""

import torch

from cmdfusion_ros.batch import Scale
from cmdfusion_ros.models.imputer import Imputer, impute_voxels


def rows(*numbers):
    return torch.tensor(numbers, dtype=torch.int64)


def one_point_each(number):
    return Scale(1, None, torch.arange(number), torch.ones(number))


def test_only_points_without_a_pixel_are_guessed():
    torch.manual_seed(0)
    imputer, features = Imputer(6, 4).eval(), torch.randn(5, 6)
    guessed, pixels = imputer(features), torch.randn(2, 4)
    whole = impute_voxels(guessed, pixels, rows(3, 1), one_point_each(5))
    torch.testing.assert_close(whole[[3, 1]], pixels)
    assert torch.equal(whole[[0, 2, 4]], guessed[[0, 2, 4]])
    assert torch.equal(
        impute_voxels(guessed, torch.zeros(0, 4), rows(), one_point_each(5)), guessed
    )


def test_a_voxel_is_the_mean_over_its_points_seen_and_unseen():
    point_to_voxel = torch.tensor([0, 1, 0, 0, 2])
    scale = Scale(1, None, point_to_voxel, torch.tensor([3.0, 1.0, 1.0]))
    guessed, pixels, seen = torch.randn(3, 4), torch.randn(3, 4), rows(2, 4, 0)
    on_points = guessed[point_to_voxel].index_copy(0, seen, pixels)
    truth = torch.stack([on_points[point_to_voxel == voxel].mean(0) for voxel in range(3)])
    torch.testing.assert_close(impute_voxels(guessed, pixels, seen, scale), truth)


def test_no_gradient_reaches_a_guess_that_is_not_used():
    guessed = torch.randn(3, 4, requires_grad=True)
    impute_voxels(guessed, torch.randn(2, 4), rows(0, 2), one_point_each(3)).sum().backward()
    assert not guessed.grad[[0, 2]].any() and guessed.grad[1].all()
