"""That networks can use intensity: two paints on one flat floor, which nothing else tells apart."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from cmdfusion_ros.batch import make_batch
from cmdfusion_ros.config import ModelConfig
from cmdfusion_ros.data.augment.scans import without_intensity, without_intensity_rank
from cmdfusion_ros.frame import Frame
from cmdfusion_ros.models import build_network, grid_of
from cmdfusion_ros.models.folded.folded_pyramid import FoldedSpvPyramid
from cmdfusion_ros.models.folded.folded_unet import FoldedUnet


def painted_floor(seed):
    """A floor of 20 m in stripes 2 m wide, which lie elsewhere in every scan."""
    rng = np.random.default_rng(seed)
    points = np.c_[rng.uniform(-10, 10, (1500, 2)), rng.normal(-1.7, 0.02, 1500)]
    labels = (np.floor(points[:, 0] / 2 + 2 * rng.random()) % 2).astype(np.uint8)
    intensity = np.where(labels, 0.32, 0.24) + rng.normal(0, 0.01, 1500)
    return Frame(points.astype(np.float32), intensity.astype(np.float32), labels=labels)


@pytest.fixture(scope="module", params=["spv_pyramid", "spv_unet"])
def trained(request):
    torch.manual_seed(0)
    config = ModelConfig(network=request.param, channels=8, voxel_size=0.5)
    network, grid = build_network(config, 2), grid_of(config)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
    falling = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, total_iters=60)
    for step in range(60):
        batch = make_batch([painted_floor(step)], grid)
        optimizer.zero_grad()
        cross_entropy(network(batch).logits, batch.labels).backward()
        optimizer.step()
        falling.step()
    return network.eval(), grid


def accuracy(network, grid, change):
    batch = make_batch([change(painted_floor(1000))], grid)
    with torch.no_grad():
        return (network(batch).logits.argmax(1) == batch.labels).float().mean().item()


def test_a_trained_network_uses_intensity_and_loses_by_its_absence(trained):
    assert accuracy(*trained, lambda frame: frame) > 0.85
    assert accuracy(*trained, without_intensity) < 0.7


def test_either_half_of_intensity_changes_its_answers(trained):
    network, grid = trained
    frame = painted_floor(1000)
    whole = network(make_batch([frame], grid)).logits
    assert not torch.equal(whole, network(make_batch([without_intensity_rank(frame)], grid)).logits)


def test_its_inference_form_reads_intensity_alike(trained):
    network, grid = trained
    batch = make_batch([painted_floor(1000)], grid)
    form = FoldedUnet if hasattr(network, "stem") else FoldedSpvPyramid
    folded = form(network, 1)
    with torch.no_grad():
        assert torch.allclose(folded(batch).logits, network(batch).logits, atol=1e-3)
    folded.close()
