"""What a network starts from: a whole checkpoint, or the image encoder of another network."""

from pathlib import Path
from typing import Any

from torch import nn

from cmdfusion_ros.checkpoint.file import is_checkpoint, load_checkpoint
from cmdfusion_ros.checkpoint.published import load_published_resnet
from cmdfusion_ros.models.resnet import ResNet
from cmdfusion_ros.training.provenance import kept_of
from cmdfusion_ros.training.recipe import Recipe


def start_from(path: str | Path, network: nn.Module, recipe: Recipe) -> dict[str, Any]:
    """Give `network` the weights of a checkpoint. Returns what its card says of its training."""
    checkpoint = load_checkpoint(path)
    if checkpoint.model_config != recipe.model or checkpoint.class_map.name != recipe.class_map:
        ours, theirs = (
            f"{model} for {name}"
            for model, name in (
                (recipe.model, recipe.class_map),
                (checkpoint.model_config, checkpoint.class_map.name),
            )
        )
        raise ValueError(
            f"start_from: {path}: holds {theirs}, the recipe asks for {ours}; change model or "
            "class_map of the recipe"
        )
    network.load_state_dict(checkpoint.weights)
    return kept_of(checkpoint.card)


def start_images_from(path: str | Path, network: nn.Module) -> dict[str, Any] | None:
    """Give the image encoder of a network the weights of a published ResNet, or of another
    network's image encoder: the ResNet, and the decoder where it has the same shape. Returns what
    that network's card says of its training; None for published weights.

    Raises:
        ValueError: the network has no ResNet, or one of another shape.
    """
    resnets = [module for module in network.modules() if isinstance(module, ResNet)]
    if not resnets:
        raise ValueError("image_weights: the network looks at no images; leave it out")
    if is_checkpoint(path):
        checkpoint = load_checkpoint(path)
        encoder = {
            name.removeprefix("images."): tensor
            for name, tensor in checkpoint.weights.items()
            if name.startswith("images.")
        }
        published = {
            name.removeprefix("backbone."): tensor
            for name, tensor in encoder.items()
            if name.startswith("backbone.")
        }
        if _shapes(encoder) == _shapes(network.images.state_dict()):
            network.images.load_state_dict(encoder)
    else:
        checkpoint, published = None, load_published_resnet(path).state_dict()
    for resnet in resnets:
        if _shapes(published) != _shapes(resnet.state_dict()):
            raise ValueError(
                f"image_weights: {path}: a ResNet of another depth or width than the network's; "
                "change model.image_depth or model.image_width"
            )
        resnet.load_state_dict(published)
    return None if checkpoint is None else kept_of(checkpoint.card)


def _shapes(weights):
    return {name: tensor.shape for name, tensor in weights.items()}
