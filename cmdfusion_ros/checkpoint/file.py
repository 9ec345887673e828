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
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save_file
from torch import nn

from cmdfusion_ros.checkpoint.door import (
    CheckpointError,
    parsed_json,
    read_regular_file,
    safetensors_metadata,
    sha256_of,
)
from cmdfusion_ros.checkpoint.temperatures import Temperatures
from cmdfusion_ros.class_map import ClassMap
from cmdfusion_ros.config import ModelConfig, settings_from_dict, settings_to_dict
from cmdfusion_ros.models import build_network

FORMAT_VERSION = 1


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
        sha256: of the file it was read from, in hex; "" where it was not.
    """

    weights: dict
    model_config: ModelConfig
    class_map: ClassMap
    card: dict = field(default_factory=dict)
    source: str = "checkpoint"
    temperatures: Temperatures | None = None
    halved: bool = False
    sha256: str = ""

    def build_network(self) -> nn.Module:
        """The network with these weights, in evaluation mode, on the CPU.

        Raises:
            CheckpointError: tensors are missing, left over, of the wrong shape or type for
                `model_config` and the number of classes, or hold what is no number.
        """
        with torch.device("meta"):  # no memory, no random numbers: every tensor is replaced below
            network = build_network(self.model_config, self.class_map.num_classes)
        expected = network.state_dict()
        known = {name: tensor for name, tensor in self.weights.items() if name in expected}
        wrong = [
            ("misses tensors", sorted(set(expected) - set(known))),
            ("has unknown tensors", sorted(set(self.weights) - set(known))),
            (
                "has wrong shapes",
                [
                    f"{name} {tuple(tensor.shape)} instead of {tuple(expected[name].shape)}"
                    for name, tensor in known.items()
                    if tensor.shape != expected[name].shape
                ],
            ),
            (
                # compiled kernels take float32 at their word, and read beyond what is shorter
                "has wrong types",
                [
                    f"{name} {_type(tensor)} instead of {_type(expected[name])}"
                    for name, tensor in known.items()
                    if tensor.dtype != expected[name].dtype
                ],
            ),
            ("has NaN or infinity in", [name for name in known if not _is_finite(known[name])]),
            (
                "has variances below 0 in",
                [
                    name
                    for name in known
                    if name.endswith("running_var") and (known[name] < 0).any()
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
    unfinished.touch()
    mode = unfinished.stat().st_mode  # as others here may read; safetensors lets only its owner
    save_file(weights, unfinished, metadata)
    unfinished.chmod(mode)
    os.replace(unfinished, path)


def _halved(tensor: torch.Tensor) -> torch.Tensor:
    """A matrix or kernel in 16 bits; vectors (statistics, biases) are few and stay as they are."""
    return tensor.half() if tensor.ndim > 1 and tensor.is_floating_point() else tensor


def is_checkpoint(path: str | Path) -> bool:
    """Whether a file is a safetensors file that says of itself that `save_checkpoint` wrote it;
    False for any other file.
    """
    try:
        return "model_config" in safetensors_metadata(read_regular_file(Path(path)), path)
    except (OSError, CheckpointError):
        return False


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a file that `save_checkpoint` wrote.

    Raises:
        FileNotFoundError: there is no such file. OSError: it cannot be read.
        CheckpointError: it is no regular file or a huge one, not a safetensors file, not one of
            ours, of a newer format, or broken.
    """
    path = Path(path)
    content = read_regular_file(path)
    metadata = safetensors_metadata(content, path)
    try:
        weights = tensors_from_bytes(content)
    except (SafetensorError, ValueError, KeyError) as error:  # KeyError: a type torch lacks
        raise CheckpointError(
            f"{path}: not a complete safetensors file ({error}); .pt, .pth and .ckpt files are "
            "pickles and are not read"
        ) from error
    # matrices alone may be halved: kernels take the other numbers as they are
    halves = [name for name, x in weights.items() if x.dtype == torch.float16 and x.ndim > 1]
    weights.update({name: weights[name].float() for name in halves})
    halved = bool(halves)
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
    values = {
        key: parsed_json(metadata[key], f"{path}: {key}")
        for key in ("model_config", "class_map", "card", "temperatures")
        if key in metadata  # temperatures are newer than some checkpoints
    }
    try:
        if not isinstance(values["model_config"], dict):
            raise ValueError("model_config: expected a mapping")
        # files that say nothing of their inputs are older than the setting
        config = {"inputs": "raw", **values["model_config"]}
        model_config = settings_from_dict(ModelConfig, config, "model_config.")
        class_map = ClassMap.from_dict(values["class_map"])
        if not isinstance(values["card"], dict):
            raise ValueError(f"card: expected a mapping, got {values['card']!r:.60}")
        temperatures = (
            Temperatures.from_dict(values["temperatures"]) if "temperatures" in values else None
        )
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise CheckpointError(f"{path}: metadata is broken: {error}") from error
    return Checkpoint(
        weights,
        model_config,
        class_map,
        values["card"],
        str(path),
        temperatures,
        halved,
        sha256_of(content),
    )


def _is_finite(tensor: torch.Tensor) -> bool:
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())


def _type(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _shortened(names: Sequence[str]) -> str:
    shown = ", ".join(names[:4])
    return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more"
