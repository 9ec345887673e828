"""Images of a batch and the way between points and pixels: by hand, against grid_sample, and in
any order of cameras.
"""

import warnings

import numpy as np
import pytest
import torch
from torch.nn.functional import grid_sample

from cmdfusion_ros.batch import make_batch
from cmdfusion_ros.frame import CameraView, Frame
from cmdfusion_ros.geometry.transforms import rigid, yaw_rotation
from cmdfusion_ros.geometry.uv import UVTransform
from cmdfusion_ros.geometry.voxels import VoxelGrid
from cmdfusion_ros.models.views import IMAGE_MEAN, IMAGE_STD, PixelPairs, gather, make_views, splat

GRID = VoxelGrid(0.5, (1, 2))
# x forward, y left, z up -> x right, y down, z forward
OPTICAL_FROM_AHEAD = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])
SIZE = (32, 16)


def make_view(name="front", yaw=0.0, image=None, intrinsic=None):
    """A camera at the origin that looks `yaw` degrees to the left, 90 degrees wide."""
    image = (
        np.random.default_rng(len(name)).integers(0, 256, (16, 32, 3), np.uint8)
        if image is None
        else image
    )
    height, width = image.shape[:2]
    intrinsic = (
        np.array([[width / 2, 0, (width - 1) / 2], [0, width / 2, (height - 1) / 2], [0, 0, 1]])
        if intrinsic is None
        else intrinsic
    )
    return CameraView(
        name,
        image,
        intrinsic,
        rigid(OPTICAL_FROM_AHEAD @ yaw_rotation(np.radians(yaw)).T, np.zeros(3)),
    )


def make_frame(*views, num_points=300, seed=0, measured=None):
    points = np.random.default_rng(seed).normal(0, 5, (num_points, 3)).astype(np.float32)
    return Frame(points, np.zeros(num_points, np.float32), views=views, measured_points=measured)


def views_of(*frames):
    return make_views(make_batch(frames, GRID), SIZE)


def ramp(height, width):
    """An image whose red is twice its column and whose green is thrice its line."""
    lines, columns = np.mgrid[:height, :width]
    return np.stack([2 * columns, 3 * lines, 0 * lines], 2).astype(np.uint8)


def colours(views, pairs):
    """RGB 0..255 at pairs, with the normalisation undone."""
    mean, std = torch.tensor(IMAGE_MEAN), torch.tensor(IMAGE_STD)
    return (gather(views.images, pairs) * std + mean) * 255


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize(
    "left, top, width, height", [(0, 0, 64, 32), (8, 2, 40, 24), (5, 0, 50, 32)]
)
def test_a_linear_ramp_gives_back_the_pixel_of_every_point_under_crop_mirror_and_resize(
    left, top, width, height, mirrored
):
    plain = make_view(image=ramp(32, 64))
    crop = UVTransform.crop(left, top, (width, height))
    image = plain.image[top : top + height, left : left + width]
    intrinsic = crop.of_intrinsic(plain.intrinsic)
    if mirrored:
        image, intrinsic = image[:, ::-1], UVTransform.mirror(crop.size).of_intrinsic(intrinsic)
    view = CameraView("front", image, intrinsic, plain.camera_from_lidar)
    frame = make_frame(view, num_points=2000)
    views = views_of(frame)
    pairs = views.chosen
    # at the border there is nothing beyond to smooth and interpolate with
    inner = (pairs.uv.abs() < 0.8).all(1)
    x, y, z = frame.points[pairs.point_rows[inner].numpy()].T
    truth = np.stack([2 * (31.5 - 32 * y / x), 3 * (15.5 - 32 * z / x)], 1)
    assert inner.sum() > 50
    np.testing.assert_allclose(colours(views, pairs)[inner, :2].numpy(), truth, atol=0.3)


def test_pairs_are_those_of_the_projection_and_rows_count_through_the_batch():
    behind = make_view("back", 180)
    views = views_of(
        make_frame(make_view(), seed=1), make_frame(num_points=100), make_frame(behind, seed=2)
    )
    assert views.images.shape == (2, 3, 16, 32) and views.images.dtype == torch.float32
    ahead = views.pairs.view_rows == 0
    points = make_batch(
        [make_frame(seed=1), make_frame(num_points=100), make_frame(seed=2)], GRID
    ).points
    assert (points[views.pairs.point_rows[ahead], 0] > 0).all() and (
        points[views.pairs.point_rows[~ahead], 0] < 0
    ).all()
    assert views.pairs.point_rows[ahead].max() < 300 and views.pairs.point_rows[~ahead].min() >= 400
    assert (views.camera_mask[:300] <= 1).all() and not views.camera_mask[300:400].any()
    assert views.camera_mask.count_nonzero() == len(views.pairs.uv) == len(views.chosen.uv)


def test_a_point_between_two_cameras_is_taken_from_the_one_it_is_further_inside():
    points = np.array([[10, 1, 0], [10, 8, 0]], np.float32)  # 6 and 39 degrees to the left
    frame = Frame(points, np.zeros(2, np.float32), views=(make_view("a", 0), make_view("b", 45)))
    views = views_of(frame)
    assert len(views.pairs.uv) == 4 and views.chosen.point_rows.tolist() == [0, 1]
    assert views.chosen.view_rows.tolist() == [0, 1] and views.camera_mask.tolist() == [1, 2]


def test_the_order_of_cameras_has_no_effect_on_what_a_point_sees():
    cameras = [
        make_view(name, yaw)
        for name, yaw in (("front", 0), ("twin", 0), ("left", 60), ("front_left", 30))
    ]
    found = []
    for order in ((0, 1, 2, 3), (3, 2, 1, 0), (1, 3, 0, 2)):
        frame = make_frame(*(cameras[i] for i in order), num_points=1000)
        views = views_of(frame)
        rows = views.chosen.point_rows.argsort()
        names = [
            frame.views[int(bit)].name
            for bit in views.camera_mask[views.camera_mask > 0].float().log2()
        ]
        found.append((gather(views.images, views.chosen)[rows], names))
    assert "twin" not in found[0][1] and {"front", "left", "front_left"} == set(found[0][1])
    for features, names in found[1:]:
        assert torch.equal(features, found[0][0]) and names == found[0][1]


def test_eight_cameras_around_and_none_in_the_next_frame():
    ring = [make_view(f"camera_{i}", 45 * i) for i in range(8)]
    frame = make_frame(*ring, num_points=1000)
    views = views_of(make_frame(num_points=50), frame)
    x, y, z = frame.points.T
    # inside the image's height wherever it is taken
    flat = np.abs(z) < 0.4 * np.hypot(x, y) * np.cos(np.radians(22.5))
    nearest = np.rint(np.degrees(np.arctan2(y, x)) / 45).astype(int) % 8
    central = (
        flat
        & (np.abs((np.degrees(np.arctan2(y, x)) / 45 + 0.5) % 1 - 0.5) < 0.4)
        & (np.hypot(x, y) > 0.5)
    )
    mask = views.camera_mask.numpy()[50:]
    assert central.sum() > 200 and (mask[central] > 0).all() and not views.camera_mask[:50].any()
    # the border that is near is that of the sides: the camera that looks there is the best
    sideways = central & (np.abs(z) < 0.05 * np.hypot(x, y))
    assert sideways.sum() > 20 and (mask[sideways] == 1 << nearest[sideways]).all()
    assert set(np.unique(mask)) == {0, *(1 << np.arange(8))} and len(views.images) == 8


def test_what_is_projected_is_where_the_points_were_measured():
    frame = make_frame(make_view())
    moved = Frame(-frame.points, frame.intensity, views=frame.views, measured_points=frame.points)
    torch.testing.assert_close(views_of(moved).pairs.uv, views_of(frame).pairs.uv)
    pasted = frame.points.copy()
    pasted[::2] = np.nan
    assert (views_of(make_frame(make_view(), measured=pasted)).pairs.point_rows % 2 == 1).all()


def test_without_images_there_is_nothing_to_gather():
    views = views_of(make_frame(), make_frame(num_points=0))
    assert views.images.shape == (0, 3, 16, 32) and not views.camera_mask.any()
    assert gather(torch.zeros(0, 7, 4, 8), views.pairs).shape == (0, 7)
    assert splat(torch.zeros(0, 7), views.pairs, 0, (4, 8), 2).shape == (0, 7, 4, 8)


def random_pairs(num_pairs=200, num_views=3, seed=0, inner=1.0):
    generator = torch.Generator().manual_seed(seed)
    uv = (2 * torch.rand(num_pairs, 2, generator=generator) - 1) * inner
    return PixelPairs(
        torch.arange(num_pairs), torch.randint(num_views, (num_pairs,), generator=generator), uv
    )


@pytest.mark.parametrize("size", [(5, 9), (1, 4), (1, 1)])
def test_gather_and_its_gradient_are_those_of_grid_sample(size):
    pairs, maps = (
        random_pairs(),
        torch.randn(3, 6, *size, generator=torch.Generator().manual_seed(1)).requires_grad_(),
    )
    ours = gather(maps, pairs)
    truth = torch.stack(
        [
            grid_sample(
                maps[view][None], uv[None, None, None], align_corners=False, padding_mode="border"
            )[0, :, 0, 0]
            for view, uv in zip(pairs.view_rows.tolist(), pairs.uv, strict=True)
        ]
    )
    torch.testing.assert_close(ours, truth, atol=1e-5, rtol=1e-5)
    weights = torch.randn(ours.shape, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(
        *(torch.autograd.grad((x * weights).sum(), maps)[0] for x in (ours, truth)),
        atol=1e-5,
        rtol=1e-5,
    )


def test_splat_and_gather_of_a_constant_is_the_constant():
    pairs = random_pairs(60)
    drawn = splat(torch.full((60, 2), 3.0), pairs, 3, (8, 12), 3)
    torch.testing.assert_close(gather(drawn, pairs), torch.full((60, 2), 3.0))


def test_on_one_grid_a_cell_is_the_mean_of_its_points():
    pairs = PixelPairs(
        torch.arange(3),
        torch.tensor([1, 1, 1]),
        torch.tensor([[-0.9, -0.9], [-0.6, -0.8], [0.9, 0.9]]),
    )
    drawn = splat(torch.tensor([[1.0], [3.0], [5.0]], requires_grad=True), pairs, 2, (2, 4), 1)
    assert drawn[1, 0].tolist() == [[2, 0, 0, 0], [0, 0, 0, 5]] and not drawn[0].any()
    drawn.sum().backward()


def test_arrays_that_a_message_owns_are_read_without_a_warning():
    """They are read-only, and torch writes through what it is given unless that is copied."""
    image, points = np.zeros((4, 6, 3), np.uint8), np.ones((2, 3), np.float32)
    image.flags.writeable = points.flags.writeable = False
    view = CameraView("front", image, np.diag([4.0, 4.0, 1.0]), np.eye(4))
    frame = Frame(points, np.zeros(2, np.float32), views=(view,))
    torch.set_warn_always(True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            make_views(make_batch([frame], VoxelGrid(0.5, (1,))), (6, 4))
    finally:
        torch.set_warn_always(False)
