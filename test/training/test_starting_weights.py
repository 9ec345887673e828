"""An image encoder starts from a published ResNet or from another network."""

import pytest
import torch
from builders.small_trainings import SHAPE, make_trainer, recipe

from cmdfusion_ros.checkpoint.file import load_checkpoint
from cmdfusion_ros.training.provenance import scans_seen
from cmdfusion_ros.training.trainer import Trainer


def test_an_image_encoder_starts_from_published_weights(teachers, tmp_path):
    trainer = make_trainer(teachers, tmp_path / "run", "flagship", [], image_weights="resnet.pth")
    published = torch.load(teachers / "resnet.pth", weights_only=True)
    assert torch.equal(trainer.network.images.backbone.conv1.weight, published["conv1.weight"])
    with pytest.raises(ValueError, match="looks at no images"):
        make_trainer(teachers, tmp_path / "other", "spv_pyramid", [], image_weights="resnet.pth")
    with pytest.raises(ValueError, match="another depth or width"):
        Trainer(
            recipe(
                model={**SHAPE, "network": "flagship", "image_depth": 34},
                image_weights="resnet.pth",
            ),
            teachers,
            tmp_path / "other",
        )


def test_an_image_encoder_starts_from_another_network_and_the_card_says_so(teachers, tmp_path):
    trainer = make_trainer(
        teachers, tmp_path / "run", "flagship", [], image_weights="image.safetensors"
    )
    weights = load_checkpoint(teachers / "image.safetensors").weights
    ours = {
        f"images.{name}": tensor for name, tensor in trainer.network.images.state_dict().items()
    }
    assert set(ours) == {name for name in weights if name.startswith("images.")}
    assert all(torch.equal(tensor, weights[name]) for name, tensor in ours.items())
    assert scans_seen(trainer.card()) == set(trainer.scans.names) | scans_seen(
        load_checkpoint(teachers / "image.safetensors").card
    )
    assert trainer.card()["started_from"]["trained_on"]
    # its decoder is four times as wide: the ResNet alone
    wider = make_trainer(
        teachers, tmp_path / "wider", "u2mkd", [], image_weights="image.safetensors"
    )
    assert torch.equal(
        wider.network.images.backbone.conv1.weight, weights["images.backbone.conv1.weight"]
    )
    with pytest.raises(ValueError, match="another depth or width"):
        narrow = {**SHAPE, "network": "flagship", "image_width": 16}
        Trainer(
            recipe(model=narrow, image_weights="image.safetensors"), teachers, tmp_path / "narrow"
        )
