"""Frames become tensors and voxels: by hand, and whole against its parts."""

import numpy as np
import pytest
import torch

from cmdfusion_ros.batch import make_batch
from cmdfusion_ros.frame import CameraView, Frame
from cmdfusion_ros.geometry.voxels import VoxelGrid

GRID = VoxelGrid(0.5, (1, 2, 4))


def make_frame(num_points=300, seed=0, labels=True):
    rng = np.random.default_rng(seed)
    points = rng.normal(0, 4, (num_points, 3)).astype(np.float32)
    intensity = rng.random(num_points, dtype=np.float32)
    return Frame(
        points,
        intensity,
        labels=rng.integers(0, 5, num_points).astype(np.uint8) if labels else None,
    )


def frame_of(*points, **fields):
    points = np.array(points, np.float32).reshape(-1, 3)
    return Frame(points, np.zeros(len(points), np.float32), **fields)


def test_voxels_by_hand():
    batch = make_batch(
        [frame_of((1.2, -0.1, 0), (0.9, 0, 0), (1.3, -0.4, 0.3), (-0.1, 0, 0))], GRID
    )
    fine, middle, coarse = batch.scales
    assert fine.voxel_coords.tolist() == [[0, -1, 0, 0], [0, 1, 0, 0], [0, 2, -1, 0]]
    assert fine.point_to_voxel.tolist() == [2, 1, 2, 0]
    assert fine.num_points.tolist() == [1, 1, 2]
    assert middle.voxel_coords.tolist() == [[0, -1, 0, 0], [0, 0, 0, 0], [0, 1, -1, 0]]
    assert coarse.voxel_coords.tolist() == [[0, -1, 0, 0], [0, 0, -1, 0], [0, 0, 0, 0]]
    assert coarse.point_to_voxel.tolist() == [1, 2, 1, 0]
    assert [scale.stride for scale in batch.scales] == [1, 2, 4]


@pytest.mark.parametrize("level", range(3))
def test_the_voxels_of_every_scale_are_sorted_and_hold_their_points(level):
    frames = [make_frame(seed=0), make_frame(seed=1)]
    batch = make_batch(frames, GRID)
    scale = batch.scales[level]
    coords = scale.voxel_coords.numpy()
    points = np.concatenate([frame.points for frame in frames])
    truth = np.column_stack([np.repeat([0, 1], 300), np.floor(points / (0.5 * scale.stride))])
    assert (coords[scale.point_to_voxel.numpy()] == truth).all()
    assert (coords == np.unique(truth, axis=0)).all()
    assert scale.num_points.tolist() == np.unique(truth, axis=0, return_counts=True)[1].tolist()


def test_dtypes_are_those_of_the_contract():
    batch = make_batch([make_frame()], GRID)
    scale = batch.scales[-1]
    kinds = [
        batch.points,
        batch.intensity,
        batch.frame_index,
        batch.labels,
        scale.voxel_coords,
        scale.point_to_voxel,
        scale.num_points,
    ]
    assert [x.dtype for x in kinds] == [
        torch.float32,
        torch.float32,
        torch.int64,
        torch.int64,
        torch.int32,
        torch.int64,
        torch.float32,
    ]


def test_a_batch_of_two_is_two_batches_of_one():
    frames = [make_frame(200, seed=0), make_frame(300, seed=1)]
    both = make_batch(frames, GRID)
    assert both.frame_index.tolist() == [0] * 200 + [1] * 300 and both.num_frames == 2
    for index, rows in enumerate((slice(0, 200), slice(200, 500))):
        alone = make_batch([frames[index]], GRID)
        assert torch.equal(both.points[rows], alone.points) and torch.equal(
            both.labels[rows], alone.labels
        )
        for scale, of_one in zip(both.scales, alone.scales, strict=True):
            mine = scale.voxel_coords[:, 0] == index
            assert torch.equal(scale.voxel_coords[mine][:, 1:], of_one.voxel_coords[:, 1:])
            assert torch.equal(
                scale.voxel_coords[scale.point_to_voxel[rows]][:, 1:],
                of_one.voxel_coords[of_one.point_to_voxel][:, 1:],
            )


def test_shuffled_points_lie_in_the_same_voxels():
    frame = make_frame()
    order = np.random.default_rng(3).permutation(frame.num_points)
    plain, shuffled = (
        make_batch([frame], GRID),
        make_batch([Frame(frame.points[order], frame.intensity[order])], GRID),
    )
    for a, b in zip(plain.scales, shuffled.scales, strict=True):
        assert torch.equal(a.voxel_coords, b.voxel_coords)
        assert torch.equal(a.point_to_voxel[torch.from_numpy(order)], b.point_to_voxel)


def test_an_empty_frame_alone_gives_no_voxels():
    batch = make_batch([frame_of()], GRID)
    assert batch.num_frames == 1 and batch.points.shape == (0, 3)
    assert all(
        scale.voxel_coords.shape == (0, 4) and scale.point_to_voxel.shape == (0,)
        for scale in batch.scales
    )


def test_an_empty_frame_among_others_keeps_its_number():
    full = make_frame(50, labels=False)
    batch = make_batch([frame_of(), full, frame_of(), full], GRID)
    assert batch.num_frames == 4
    assert sorted(set(batch.frame_index.tolist())) == [1, 3]
    assert sorted(set(batch.scales[0].voxel_coords[:, 0].tolist())) == [1, 3]


def test_labels_are_there_only_when_every_frame_has_them():
    assert make_batch([make_frame(), make_frame()], GRID).labels.shape == (600,)
    assert make_batch([make_frame(), make_frame(labels=False)], GRID).labels is None


def test_views_ride_along_by_frame():
    view = CameraView("front", np.zeros((4, 6, 3), np.uint8), np.eye(3), np.eye(4))
    batch = make_batch([frame_of((0, 0, 0), views=(view,)), frame_of((0, 0, 0))], GRID)
    assert batch.views == ((view,), ())


def test_a_scale_is_found_by_its_stride():
    batch = make_batch([make_frame()], GRID)
    assert batch.scale(4) is batch.scales[2]
    with pytest.raises(ValueError, match=r"no scale of stride 8; it was made with \[1, 2, 4\]"):
        batch.scale(8)


def test_no_frames_are_refused():
    with pytest.raises(ValueError, match="expected at least one frame, got none"):
        make_batch([], GRID)


def test_a_point_beyond_the_reach_of_voxel_indices_is_refused():
    with pytest.raises(ValueError, match="x must lie in"):
        make_batch([frame_of((1e6, 0, 0))], GRID)
