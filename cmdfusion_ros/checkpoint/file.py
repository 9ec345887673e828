"""One file holds a network: a safetensors file with the weights, and in its metadata everything
needed to build and judge it again.

Nothing is ever unpickled, so a checkpoint from a stranger cannot run code.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from cmdfusion_ros.checkpoint.temperatures import Temperatures
from cmdfusion_ros.class_map import ClassMap
from cmdfusion_ros.config import ModelConfig, settings_from_dict, settings_to_dict
from cmdfusion_ros.models import build_network

FORMAT_VERSION = 1


class CheckpointError(ValueError):
    """A file that is no checkpoint, or one whose parts do not belong together."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A trained network as data.

    Attributes:
        weights: {name: tensor}, on the CPU.
        model_config: ModelConfig of the network.
        class_map: ClassMap whose labels are the network's outputs.
        card: plain values about the network: trained_on (names of scans), metrics, licence,
            attribution, ...
        source: where it was read from, for error messages.
        temperatures: Temperatures that make its confidence that of `cmdfusion calibrate`; None = as
            the softmax says.
        halved: whether its file keeps matrices in 16 bits, in half the size; `weights` have 32.
    """

    weights: dict
    model_config: ModelConfig
    class_map: ClassMap
    card: dict = field(default_factory=dict)
    source: str = "checkpoint"
    temperatures: Temperatures | None = None
    halved: bool = False

    def build_network(self) -> nn.Module:
        """The network with these weights, in evaluation mode, on the CPU.

        Raises:
            CheckpointError: tensors are missing, left over or of the wrong shape for `model_config`
                and the number of classes.
        """
        with torch.device("meta"):  # no memory, no random numbers: every tensor is replaced below
            network = build_network(self.model_config, self.class_map.num_classes)
        expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
        got = {name: tuple(tensor.shape) for name, tensor in self.weights.items()}
        wrong = [
            ("misses tensors", sorted(set(expected) - set(got))),
            ("has unknown tensors", sorted(set(got) - set(expected))),
            (
                "has wrong shapes",
                [
                    f"{name} {got[name]} instead of {expected[name]}"
                    for name in expected
                    if name in got and got[name] != expected[name]
                ],
            ),
        ]
        problems = [f"{what}: {_shortened(names)}" for what, names in wrong if names]
        if problems:
            network_name = (
                f"network {self.model_config.network} with {self.class_map.num_classes} classes "
                f"({self.class_map.name})"
            )
            raise CheckpointError(
                f"{self.source}: does not fit {network_name}: {'; '.join(problems)}"
            )
        network.load_state_dict(
            {name: tensor.clone() for name, tensor in self.weights.items()}, assign=True
        )
        return network.eval()


def save_checkpoint(
    path: str | Path,
    network: nn.Module,
    model_config: ModelConfig,
    class_map: ClassMap,
    card: dict[str, Any],
    halved: bool = False,
) -> None:
    """Write a network to one safetensors file; a file already there is replaced only when the new
    one is complete.

    Args:
        path: file to write.
        network: the module that `build_network(model_config, class_map.num_classes)` gave.
        model_config, class_map: as in Checkpoint.
        card: plain JSON values.
        halved: see Checkpoint.
    """
    weights = {
        name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()
    }
    _write(Path(path), Checkpoint(weights, model_config, class_map, card, halved=halved))


def replace_card(
    path: str | Path,
    card: dict[str, Any],
    temperatures: Temperatures | None = None,
    out: str | Path | None = None,
) -> None:
    """Give a checkpoint file another card, and other Temperatures where they are given; errors as
    of `load_checkpoint`.

    The result goes to the file `out` where that is given, and `path` is left as it is.
    """
    checkpoint = load_checkpoint(path)
    temperatures = temperatures or checkpoint.temperatures
    _write(Path(out or path), replace(checkpoint, card=card, temperatures=temperatures))


def _write(path: Path, checkpoint: Checkpoint) -> None:
    metadata = {
        "format_version": str(FORMAT_VERSION),
        "model_config": json.dumps(settings_to_dict(checkpoint.model_config)),
        "class_map": json.dumps(checkpoint.class_map.to_dict()),
        "card": json.dumps(checkpoint.card, allow_nan=False),
    }
    if checkpoint.temperatures is not None:
        metadata["temperatures"] = json.dumps(checkpoint.temperatures.to_dict())
    weights = checkpoint.weights
    if checkpoint.halved:
        weights = {name: _halved(tensor) for name, tensor in weights.items()}
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.part")
    save_file(weights, unfinished, metadata)
    os.replace(unfinished, path)


def _halved(tensor: torch.Tensor) -> torch.Tensor:
    """A matrix or kernel in 16 bits; vectors (statistics, biases) are few and stay as they are."""
    return tensor.half() if tensor.ndim > 1 and tensor.is_floating_point() else tensor


def is_checkpoint(path: str | Path) -> bool:
    """Whether a file is a safetensors file that says of itself that `save_checkpoint` wrote it;
    False for any other file.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return "model_config" in (file.metadata() or {})
    except (OSError, SafetensorError):
        return False


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a file that `save_checkpoint` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: it is not a safetensors file, not one of ours, of a newer format, or
            broken.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {path}: no such file")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}
            halved = any(tensor.dtype == torch.float16 for tensor in weights.values())
            weights = {
                name: tensor.float() if tensor.is_floating_point() else tensor
                for name, tensor in weights.items()
            }
    except SafetensorError as error:
        raise CheckpointError(
            f"{path}: not a complete safetensors file ({error}); .pt, .pth and .ckpt files are "
            "pickles and are not read"
        ) from error
    missing = [
        key
        for key in ("format_version", "model_config", "class_map", "card")
        if key not in metadata
    ]
    if missing:
        raise CheckpointError(
            f"{path}: a safetensors file, but not a checkpoint of cmdfusion_ros: metadata lacks "
            f"{', '.join(missing)}"
        )
    if metadata["format_version"] != str(FORMAT_VERSION):
        raise CheckpointError(
            f"{path}: expected checkpoint format {FORMAT_VERSION}, got "
            f"{metadata['format_version']}; update cmdfusion_ros"
        )
    try:
        # files that say nothing of their inputs are older than the setting
        config = {"inputs": "raw", **json.loads(metadata["model_config"])}
        model_config = settings_from_dict(ModelConfig, config, where="model_config.")
        class_map = ClassMap.from_dict(json.loads(metadata["class_map"]))
        card = json.loads(metadata["card"])
        # newer than some checkpoints
        temperatures = (
            Temperatures.from_dict(json.loads(metadata["temperatures"]))
            if "temperatures" in metadata
            else None
        )
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: metadata is broken: {error}") from error
    return Checkpoint(weights, model_config, class_map, card, str(path), temperatures, halved)


def _shortened(names: Sequence[str]) -> str:
    shown = ", ".join(names[:4])
    return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more"
