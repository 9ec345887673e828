"""U2MKD: zero views are the same graph as masked ones, any subset of cameras is those cameras
alone, and it reads what only images show.
"""

import dataclasses

import pytest
import torch
from builders.joins import off_identity
from builders.small_scans import (
    BACK,
    FRONT,
    LEFT,
    quadrant,
    scattered,
    small_network,
    without_gradient,
)

from cmdfusion_ros.batch import make_batch
from cmdfusion_ros.config import ModelConfig
from cmdfusion_ros.models import build_network, grid_of
from cmdfusion_ros.models.views import make_views

CONFIG = ModelConfig(network="u2mkd", channels=4, voxel_size=0.5, image_size=(64, 32))


def make_frame(*views, **options):
    return scattered(*views, spread=4.0, **options)


def batch_of(*frames):
    return make_batch(frames, grid_of(CONFIG))


@pytest.fixture(scope="module")
def network():
    frames = [make_frame(FRONT, LEFT, BACK, seed=seed) for seed in range(3)]
    return small_network(CONFIG, 12, frames)


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
    assert without_gradient(network) == []
    blind = network(batch_of(make_frame(), make_frame(seed=1)))
    assert blind.auxiliary == () and blind.pixels is None and len(blind.knowledge) == 4
    quiet = network.eval()(batch)
    assert (
        quiet.auxiliary == quiet.knowledge == ()
        and quiet.pixels is None
        and quiet.deep.stride == 16
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
    truth = quadrant(frame)
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
