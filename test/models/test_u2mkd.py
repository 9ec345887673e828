"""U2MKD: zero views are the same graph as masked ones, any subset of cameras is those cameras
alone, and it reads what only images show.
"""

import dataclasses

import numpy as np
import pytest
import torch
from builders.joins import off_identity

from cmdfusion_ros.batch import make_batch
from cmdfusion_ros.checkpoint.file import Checkpoint
from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.config import ModelConfig
from cmdfusion_ros.frame import CameraView, Frame
from cmdfusion_ros.geometry.transforms import rigid, yaw_rotation
from cmdfusion_ros.inference import Segmenter
from cmdfusion_ros.models import build_network, grid_of
from cmdfusion_ros.models.views import make_views

CONFIG = ModelConfig(network="u2mkd", channels=4, voxel_size=0.5, image_size=(64, 32))
STREET = load_class_map("street")
OPTICAL_FROM_AHEAD = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])


def make_view(name, yaw, seed=0):
    """A camera at the origin that looks `yaw` degrees to the left, 90 degrees wide, at noise."""
    image = np.random.default_rng([seed, len(name)]).integers(0, 256, (24, 48, 3), np.uint8)
    intrinsic = np.array([[24.0, 0, 23.5], [0, 24, 11.5], [0, 0, 1]])
    return CameraView(
        name,
        image,
        intrinsic,
        rigid(OPTICAL_FROM_AHEAD @ yaw_rotation(np.radians(yaw)).T, np.zeros(3)),
    )


FRONT, LEFT, BACK = make_view("front", 0), make_view("left", 60), make_view("back", 180)


def make_frame(*views, num_points=300, seed=0, **fields):
    rng = np.random.default_rng(seed)
    return Frame(
        rng.normal(0, 4, (num_points, 3)).astype(np.float32),
        rng.random(num_points, dtype=np.float32),
        views=views,
        **fields,
    )


def batch_of(*frames):
    return make_batch(frames, grid_of(CONFIG))


@pytest.fixture(scope="module")
def network():
    """A small network whose normalisations have seen some data, in evaluation mode."""
    torch.manual_seed(0)
    network = off_identity(build_network(CONFIG, STREET.num_classes))
    for seed in range(3):
        network(batch_of(make_frame(FRONT, LEFT, BACK, seed=seed)))
    return network.eval()


def logits(network, *frames):
    with torch.no_grad():
        return network(batch_of(*frames)).logits


def test_no_camera_is_as_cameras_that_see_no_point(network):
    masked = make_frame(FRONT, BACK, measured_points=np.full((300, 3), np.nan, np.float32))
    assert torch.equal(logits(network, masked), logits(network, make_frame()))


def test_images_change_the_answer_where_a_camera_sees_points(network):
    seeing, blind, other = (
        logits(network, make_frame(*views))
        for views in ((FRONT,), (), (make_view("front", 0, seed=5),))
    )
    assert (seeing - blind).abs().max() > 1e-3 and (seeing - other).abs().max() > 1e-4


@pytest.mark.parametrize("live", [(FRONT,), (LEFT, BACK), (BACK,)])
def test_a_camera_that_is_missing_is_as_one_that_never_was(network, live):
    """Among frames with other cameras, in any order: the answer is that of a rig with just
    these.
    """
    alone = logits(network, make_frame(*live))
    among = logits(
        network, make_frame(FRONT, LEFT, seed=3), make_frame(*reversed(live)), make_frame(seed=4)
    )[300:600]
    torch.testing.assert_close(among, alone, atol=1e-4, rtol=1e-4)


def test_a_batch_of_two_gives_the_logits_of_two_batches_of_one(network):
    frames = [
        make_frame(FRONT, LEFT, seed=7),
        make_frame(num_points=0),
        make_frame(BACK, num_points=120, seed=8),
    ]
    torch.testing.assert_close(
        logits(network, *frames),
        torch.cat([logits(network, frame) for frame in frames]),
        atol=1e-4,
        rtol=1e-4,
    )


def test_the_first_exchange_by_its_formulas(network):
    """U2MKD's fusion: points drawn into the first map, gated; the imputer's guess where no image
    sees a point; a gate into the voxels.
    """
    frame = make_frame(FRONT, LEFT)
    batch = batch_of(frame)
    views, found = make_views(batch, CONFIG.image_size), []
    hooks = [
        module.register_forward_hook(lambda m, inputs, out: found.append((inputs, out)))
        for module in (network.to_images[0], network.to_voxels[0])
    ]
    with torch.no_grad():
        network(batch)
    [((image, drawn), into_image), ((voxels, filled), into_voxels)] = found
    for hook in hooks:
        hook.remove()
    with torch.no_grad():
        for fusion, target, source, result in (
            (network.to_images[0], image, drawn, into_image),
            (network.to_voxels[0], voxels, filled, into_voxels),
        ):
            gate = torch.sigmoid(
                fusion.gate(
                    torch.tanh(
                        fusion.of_source(fusion.source_norm(source).relu())
                        + fusion.of_target(target)
                    )
                )
            )
            torch.testing.assert_close(
                result, fusion.join(torch.cat([target, gate * fusion.message(source)], 1))
            )
        scale = batch.scale(2)
        maps = into_image.reshape(2, 8, 16, -1).permute(0, 3, 1, 2)
        pixels = torch.stack(
            [
                torch.nn.functional.grid_sample(
                    maps[view][None],
                    uv[None, None, None],
                    align_corners=False,
                    padding_mode="border",
                )[0, :, 0, 0]
                for view, uv in zip(views.chosen.view_rows.tolist(), views.chosen.uv, strict=True)
            ]
        )
        on_points = network.imputers[0](voxels)[scale.point_to_voxel].index_copy(
            0, views.chosen.point_rows, pixels
        )
        truth = torch.stack(
            [on_points[scale.point_to_voxel == voxel].mean(0) for voxel in range(len(voxels))]
        )
    torch.testing.assert_close(filled, truth, atol=1e-4, rtol=1e-4)


def test_training_gets_guesses_and_pixels_of_every_stage_and_the_answer_of_the_images():
    torch.manual_seed(0)
    network = off_identity(build_network(CONFIG, 5))
    batch = batch_of(make_frame(FRONT, BACK), make_frame(FRONT, BACK, seed=1))
    output = network(batch)
    assert [guess.stride for guess in output.knowledge] == [
        2,
        4,
        8,
        16,
    ] and output.deep.stride == 16
    for i, guess in enumerate(output.knowledge):
        assert (
            guess.at_points(batch, output.pixels.point_rows).shape
            == output.pixels.of_scale(i).shape
        )
    (seen,) = output.auxiliary
    assert torch.equal(seen.answered, output.camera_mask > 0)
    truth = torch.arange(600) % 5
    loss = torch.nn.functional.cross_entropy(
        output.logits, truth
    ) + torch.nn.functional.cross_entropy(seen.logits[seen.answered], truth[seen.answered])
    loss.backward()
    assert [
        name
        for name, p in network.named_parameters()
        if p.grad is None or not p.grad.abs().sum() > 0
    ] == []
    blind = network(batch_of(make_frame(), make_frame(seed=1)))
    assert blind.auxiliary == () and blind.pixels is None and len(blind.knowledge) == 4
    quiet = network.eval()(batch)
    assert (
        quiet.auxiliary == quiet.knowledge == ()
        and quiet.pixels is None
        and quiet.deep.stride == 16
    )


def test_cameras_come_and_go_without_a_reload(network):
    """FUSED, PARTIAL, LIDAR_ONLY and back: the same frame gives the same bits as the first time."""
    segmenter = Segmenter(
        Checkpoint(network.state_dict(), CONFIG, STREET), device="cpu", cpu_threads=1
    )
    frames = [make_frame(FRONT, LEFT, BACK), make_frame(BACK), make_frame()]
    first = [segmenter.segment(frame) for frame in frames]
    assert [bool(p.camera_mask.any()) for p in first] == [True, True, False]
    assert not np.array_equal(first[0].confidence, first[2].confidence)
    for frame, before in zip(reversed(frames), reversed(first), strict=True):
        again = segmenter.segment(frame)
        assert np.array_equal(again.labels, before.labels) and np.array_equal(
            again.confidence, before.confidence
        )


def test_its_parts_have_the_sizes_of_the_papers():
    """In the paper 21.8 million in the U-Net, 11.79 in the image branch; our exchange is wider,
    at the last stage 512 channels instead of 128.
    """
    with torch.device("meta"):
        network = build_network(ModelConfig(network="u2mkd", channels=32), 17)
    parts = {
        name: sum(p.numel() for p in module.parameters()) / 1e6
        for name, module in network.named_children()
    }
    assert (
        11.7 < parts["images"] + parts["pixel_head"] < 11.9 and parts["down"] + parts["up"] < 21.8
    )
    assert parts["to_images"] + parts["to_voxels"] + parts["imputers"] < 2.0


def test_it_learns_one_small_scan_with_and_without_its_images():
    torch.manual_seed(0)
    frame = make_frame(FRONT, num_points=400)
    truth = torch.from_numpy(
        (frame.points[:, 2] > 0).astype(np.int64) + 2 * (frame.points[:, 1] > 0)
    )
    config = ModelConfig(network="u2mkd", channels=8, voxel_size=0.4, image_size=(64, 32))
    network, batches = (
        build_network(config, 4),
        [make_batch([f], grid_of(config)) for f in (frame, dataclasses.replace(frame, views=()))],
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    for step in range(16):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(batches[step % 2]).logits, truth).backward()
        optimizer.step()
    for batch in batches:
        assert (network(batch).logits.argmax(1) == truth).float().mean() > 0.95
