"""What a training starts from, and which parts of a network keep it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cmdfusion_ros.checkpoint.file import is_checkpoint, load_checkpoint
from cmdfusion_ros.checkpoint.published import load_published_lite, load_published_resnet
from cmdfusion_ros.class_map import ClassMap
from cmdfusion_ros.config import ModelConfig
from cmdfusion_ros.models import build_network
from cmdfusion_ros.models.efficientnet import EfficientNetLite
from cmdfusion_ros.models.resnet import ResNet
from cmdfusion_ros.training.provenance import kept_of
from cmdfusion_ros.training.recipe import Recipe


def start_from(
    path: str | Path, network: nn.Module, recipe: Recipe, class_map: ClassMap
) -> dict[str, Any]:
    """Give `network`, which speaks `class_map`, the weights of a checkpoint. Returns what its card
    says of its training; with `start_partly` also what was taken and what was not, under "taken".

    Raises:
        ValueError: it holds another network; with `start_partly`, none of its parts.
    """
    checkpoint = load_checkpoint(path)
    ours = (recipe.model, class_map.name)
    theirs = (checkpoint.model_config, checkpoint.class_map.name)
    known = kept_of(checkpoint.card)
    same_classes = checkpoint.class_map.names == class_map.names
    if ours == theirs and same_classes:
        network.load_state_dict(checkpoint.weights)
        return known
    told = f"{theirs[0]} for {theirs[1]}, the recipe asks for {ours[0]} for {ours[1]}"
    if ours == theirs:
        told += ", whose classes are others"
    if not recipe.start_partly:
        raise ValueError(
            f"start_from: {path}: holds {told}; change model or class_map of the recipe, or set "
            "start_partly"
        )
    same = ("voxel_size", "inputs")
    if any(getattr(ours[0], x) != getattr(theirs[0], x) for x in same):
        raise ValueError(
            f"start_from: {path}: holds {told}; start_partly needs the same {' and '.join(same)}"
        )
    if same_classes:
        return {**known, "taken": take_parts(path, network, checkpoint.weights)}
    kin = kin_of(class_map, checkpoint.class_map)
    of_classes = class_tensors(checkpoint.model_config, checkpoint.class_map.num_classes)
    weights = {name: t for name, t in checkpoint.weights.items() if name not in of_classes}
    own = network.state_dict()
    for name, axis in of_classes.items():
        if name in own and any(kin):
            weights[name] = _rows_of_kin(own[name], checkpoint.weights[name], axis, kin)
    taken = take_parts(path, network, weights)
    names = zip(class_map.names, kin, strict=True)
    taken["classes"] = {
        name: [checkpoint.class_map.names[label] for label in labels] for name, labels in names
    }
    return {**known, "taken": taken}


def kin_of(class_map: ClassMap, other: ClassMap) -> list[list[int]]:
    """For each class of a map the labels of another map that stand for some of the same things:
    those that a raw id of a data set folds onto which both read; where there are none of these, the
    one of the same name.
    """
    kin: list[set[int]] = [set() for _ in class_map.names]
    for dataset in set(class_map.folds) & set(other.folds):
        for raw, name in class_map.folds[dataset].items():
            theirs = other.folds[dataset].get(raw)
            if name is not None and theirs is not None:
                kin[class_map.label(name)].add(other.label(theirs))
    by_name = [{other.label(name)} if name in other.names else set() for name in class_map.names]
    return [sorted(found or named) for found, named in zip(kin, by_name, strict=True)]


def class_tensors(config: ModelConfig, num_classes: int) -> dict[str, int]:
    """{name: axis} of the tensors of a network that have an entry for each class."""
    with torch.device("meta"):
        some, more = (build_network(config, num_classes + extra) for extra in (0, 1))
    shapes = {name: tensor.shape for name, tensor in more.state_dict().items()}
    return {
        name: next(axis for axis, size in enumerate(tensor.shape) if size != shapes[name][axis])
        for name, tensor in some.state_dict().items()
        if tensor.shape != shapes[name]
    }


def _rows_of_kin(own, theirs, axis, kin):
    """`own` with each class's entry along `axis` the mean of its kin's in `theirs`, where it has
    any and all else has the same shape."""
    ours, others = own.transpose(0, axis).clone(), theirs.transpose(0, axis)
    if ours.shape[1:] != others.shape[1:]:
        return theirs  # which then does not fit
    for label, labels in enumerate(kin):
        if labels:
            ours[label] = others[labels].to(ours).mean(0)
    return ours.transpose(0, axis).contiguous()


def take_parts(
    path: str | Path, network: nn.Module, weights: Mapping[str, torch.Tensor]
) -> dict[str, Any]:
    """Give `network` those of `weights` that it has by name and shape.

    Returns:
        {"taken", "new", "left": sorted names of modules}: whose tensors were taken, those of the
        network that had none, and those in the file that it has no place for.

    Raises:
        ValueError: there is none to take.
    """
    own = network.state_dict()
    taken = {name: t for name, t in weights.items() if name in own and own[name].shape == t.shape}
    if not taken:
        raise ValueError(f"start_from: {path}: no tensor fits this network by name and shape")
    network.load_state_dict({**own, **taken})

    def modules(names):
        return sorted({name.split(".")[0] for name in names})

    return {
        "taken": modules(taken),
        "new": modules(set(own) - set(taken)),
        "left": modules(set(weights) - set(taken)),
    }


def told_start(start_from: str, known: Mapping[str, Any] | None) -> list[str]:
    """Lines that say what a training took of what it started from: `known` is what `start_from`
    returned, None for a start from nothing.
    """
    taken = (known or {}).get("taken")
    if taken is None:
        return [f"started from {start_from}"] if start_from else []
    lines = [f"started from {start_from}: took {', '.join(taken['taken'])}"]
    lines += [
        f"  {what}: {', '.join(taken[key])}"
        for key, what in (("new", "new"), ("left", "of no use here"))
        if taken[key]
    ]
    for name, rows in taken.get("classes", {}).items():
        lines.append(f"  class {name}: {'as ' + ', '.join(rows) if rows else 'from nothing'}")
    return lines


def start_images_from(path: str | Path, network: nn.Module) -> dict[str, Any] | None:
    """Give the image encoder of a network published weights (a ResNet's or EfficientNet-lite0's),
    or those of another network's image encoder: the backbone, and the decoder where it has the
    same shape. Returns what that network's card says of its training; None for published weights.

    Raises:
        ValueError: the network looks at no images, or by a backbone of another kind or shape.
    """
    kinds = (ResNet, EfficientNetLite)
    backbones = [module for module in network.modules() if isinstance(module, kinds)]
    if not backbones:
        raise ValueError("image_weights: the network looks at no images; leave it out")
    if is_checkpoint(path):
        checkpoint = load_checkpoint(path)
        encoder = _below(checkpoint.weights, "images.")
        published = _below(encoder, "backbone.")
        if _shapes(encoder) == _shapes(network.images.state_dict()):
            network.images.load_state_dict(encoder)
    elif isinstance(backbones[0], EfficientNetLite):
        checkpoint, published = None, load_published_lite(path).state_dict()
    else:
        checkpoint, published = None, load_published_resnet(path).state_dict()
    for backbone in backbones:
        if _shapes(published) != _shapes(backbone.state_dict()):
            raise ValueError(
                f"image_weights: {path}: a backbone of another depth or width than the network's; "
                "change model.image_depth or model.image_width"
            )
        backbone.load_state_dict(published)
    return None if checkpoint is None else kept_of(checkpoint.card)


def freeze(network: nn.Module, parts: Sequence[str]) -> None:
    """Let no parameter learn that belongs to one of `parts` (names of modules).

    Raises:
        ValueError: the network has no such module.
    """
    for module in _parts(network, parts):
        module.requires_grad_(False)


def still(network: nn.Module, parts: Sequence[str]) -> None:
    """Put `parts` into evaluation mode, so that the statistics of their normalisations stay."""
    for module in _parts(network, parts):
        module.eval()


def _parts(network: nn.Module, parts: Sequence[str]) -> list:
    modules = dict(network.named_modules())
    for name in parts:
        if name not in modules:
            raise ValueError(
                f"frozen: the network has no part {name!r}; it has "
                f"{', '.join(key for key, _ in network.named_children())}"
            )
    return [modules[name] for name in parts]


def _below(weights: dict, prefix: str) -> dict:
    return {n.removeprefix(prefix): t for n, t in weights.items() if n.startswith(prefix)}


def _shapes(weights: dict) -> dict:
    return {name: tensor.shape for name, tensor in weights.items()}
