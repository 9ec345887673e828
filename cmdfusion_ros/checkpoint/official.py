"""Official CMDFusion checkpoints (PyTorch Lightning files of the authors' code) -> our Checkpoint.

The network is the same, its grid is not: theirs ends at 50 m (100 m on nuScenes),
where points beyond got no answer, and its scales do not nest: from stride 4 (nuScenes) or 8
(SemanticKITTI) on its voxels are up to 6 % smaller than ours and lie elsewhere. So labels are not
the same everywhere.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cmdfusion_ros.checkpoint.door import CheckpointError
from cmdfusion_ros.checkpoint.file import Checkpoint
from cmdfusion_ros.checkpoint.pickled import PickledTensor, read_pickled
from cmdfusion_ros.class_map import ClassMap, load_class_map
from cmdfusion_ros.config import ModelConfig
from cmdfusion_ros.models import build_network

# by outputs, the first of which stands for "ignore" and is never trained
_CLASS_MAPS = {20: "semantic_kitti", 17: "nuscenes"}
_STRIDES = {4: (1, 2, 4, 8, 16), 6: (1, 2, 4, 8, 16, 16, 16)}  # by blocks of an encoder
_VOXEL_SIZE = 0.1
# the full scale of the intensities that the network was trained on; a Frame's is 1
_RAW_INTENSITY = {"semantic_kitti": 1.0, "nuscenes": 255.0}

# Names of ours -> theirs. `leaners_2`, `fcs1_2`, `fcs2_2` and `classifier_2` are the trained
# direction, into the LiDAR branch.
_NAMES = [
    (r"embedding\.lift", "model_3d.voxel_3d_generator.PPmodel.0"),
    (r"embedding\.mix", "model_3d.voxel_3d_generator.PPmodel.2"),
    (
        r"(lidar|knowledge)\.blocks\.(\d+)\.voxel_path\.(\d)\.skip",
        r"model_3d.spv_enc_\1.\2.v_enc.\3.layers_in.0",
    ),
    (
        r"(lidar|knowledge)\.blocks\.(\d+)\.voxel_path\.(\d)\.skip_norm",
        r"model_3d.spv_enc_\1.\2.v_enc.\3.layers_in.1",
    ),
    (
        r"(lidar|knowledge)\.blocks\.(\d+)\.voxel_path\.(\d)\.first",
        r"model_3d.spv_enc_\1.\2.v_enc.\3.layers.0",
    ),
    (
        r"(lidar|knowledge)\.blocks\.(\d+)\.voxel_path\.(\d)\.first_norm",
        r"model_3d.spv_enc_\1.\2.v_enc.\3.layers.1",
    ),
    (
        r"(lidar|knowledge)\.blocks\.(\d+)\.voxel_path\.(\d)\.second",
        r"model_3d.spv_enc_\1.\2.v_enc.\3.layers.3",
    ),
    (
        r"(lidar|knowledge)\.blocks\.(\d+)\.voxel_path\.(\d)\.second_norm",
        r"model_3d.spv_enc_\1.\2.v_enc.\3.layers.4",
    ),
    (r"(lidar|knowledge)\.blocks\.(\d+)\.identity", r"model_3d.spv_enc_\1.\2.p_enc.layer_in.0"),
    (
        r"(lidar|knowledge)\.blocks\.(\d+)\.context\.mlp\.(\d)",
        r"model_3d.spv_enc_\1.\2.p_enc.PPmodel.\3",
    ),
    (
        r"(lidar|knowledge)\.blocks\.(\d+)\.join_(?:identity|context)",
        r"model_3d.spv_enc_\1.\2.p_enc.layer_out.0",
    ),
    (r"(lidar|knowledge)\.blocks\.(\d+)\.out", r"model_3d.spv_enc_\1.\2.p_enc.layer_out.2"),
    (r"to_lidar\.(\d+)\.message", r"fusion.leaners_2.\1.0"),
    (r"to_lidar\.(\d+)\.join", r"fusion.fcs1_2.\1.0"),
    (r"to_lidar\.(\d+)\.gate", r"fusion.fcs2_2.\1.0"),
    (r"to_knowledge\.(\d+)\.message", r"fusion.leaners.\1.0"),
    (r"to_knowledge\.(\d+)\.join", r"fusion.fcs1.\1.0"),
    (r"to_knowledge\.(\d+)\.gate", r"fusion.fcs2.\1.0"),
    (r"head\.hidden", "fusion.classifier_2.0"),
    (r"head\.logits", "fusion.classifier_2.2"),
    (r"knowledge_head\.hidden", "fusion.classifier.0"),
    (r"knowledge_head\.logits", "fusion.classifier.2"),
]


@dataclass(frozen=True, eq=False)
class Imported:
    """An official checkpoint as one of ours.

    Attributes:
        checkpoint: the Checkpoint.
        num_read: tensors of the file that it is made of.
        dropped: {part of the file: number of tensors} of those that are of no use here.
        replaced: names of classes in the file that were not loaded.
        notes: sentences a user should know.
    """

    checkpoint: Checkpoint
    num_read: int
    dropped: dict
    replaced: tuple
    notes: tuple


def import_official(path: str | Path) -> Imported:
    """Read an official checkpoint; number of classes, width and scales are found from its tensors.

    Raises:
        FileNotFoundError: there is no such file. PickleError: it is not one that torch.save wrote.
        CheckpointError: it is not of CMDFusion, or of another size than those published.
    """
    content, replaced = read_pickled(path)
    tensors = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(tensors, dict) or not all(
        isinstance(tensor, PickledTensor) for tensor in tensors.values()
    ):
        raise CheckpointError(
            f"{path}: expected a file of PyTorch Lightning with the tensors of a network under "
            "'state_dict'"
        )
    config, class_map = _shape_of(path, tensors)
    with torch.device("meta"):
        expected = build_network(config, class_map.num_classes).state_dict()
    sources = {name: _their_name(name) for name in expected}
    missing = sorted({source for source in sources.values() if source not in tensors})
    if missing:
        raise CheckpointError(
            f"{path}: not a checkpoint of CMDFusion: misses {len(missing)} tensors "
            f"({', '.join(missing[:4])}, ...)"
        )
    weights = {
        name: _converted(path, name, tensors[source], expected[name].shape, class_map.name)
        for name, source in sources.items()
    }
    dropped = Counter(_part(name) for name in tensors if name not in set(sources.values()))
    card = {
        "name": Path(path).stem,
        "imported_from": {"file": Path(path).name, "sha256": _sha256(path)},
        "licence": "unknown: the authors' repository states none",
        "attribution": "CMDFusion (Cen et al., RA-L 2023), weights of the authors",
    }
    notes = (
        "coarse voxels of the authors' grid are up to 6 % smaller than ours and lie elsewhere, so "
        "labels are not the same everywhere",
        "the direction into the knowledge branch, which inference does not use, was never trained "
        "by the authors",
        "intensities of a frame lie in [0, 1]; the authors' went to "
        f"{_RAW_INTENSITY[class_map.name]:g}, which the first layer now accounts for",
    )
    checkpoint = Checkpoint(
        weights, config, class_map, {**card, "notes": list(notes)}, source=str(path)
    )
    return Imported(
        checkpoint,
        len(set(sources.values())),
        dict(sorted(dropped.items())),
        tuple(replaced),
        notes,
    )


def _shape_of(path: str | Path, tensors: Mapping[str, Any]) -> tuple[ModelConfig, ClassMap]:
    """(ModelConfig, ClassMap) from the shapes and the number of the tensors."""
    embedding, head = (
        tensors.get("model_3d.voxel_3d_generator.PPmodel.0.weight"),
        tensors.get("fusion.classifier_2.2.weight"),
    )
    if embedding is None or head is None or len(embedding.shape) != 2 or len(head.shape) != 2:
        raise CheckpointError(
            f"{path}: not a checkpoint of CMDFusion: it has no point embedding, or no head on the "
            "LiDAR branch"
        )
    num_blocks = len(
        {name.split(".")[2] for name in tensors if name.startswith("model_3d.spv_enc_L.")}
    )
    if num_blocks not in _STRIDES:
        raise CheckpointError(
            f"{path}: expected encoders of 4 (SemanticKITTI) or 6 (nuScenes) blocks, got "
            f"{num_blocks}"
        )
    if head.shape[0] not in _CLASS_MAPS:
        raise CheckpointError(
            f"{path}: expected 20 outputs (SemanticKITTI) or 17 (nuScenes), got {head.shape[0]}"
        )
    config = ModelConfig(
        inputs="raw",
        network="cmdfusion",
        channels=embedding.shape[0],
        voxel_size=_VOXEL_SIZE,
        strides=_STRIDES[num_blocks],
    )
    return config, load_class_map(_CLASS_MAPS[head.shape[0]])


def _their_name(name: str) -> str:
    module, _, tensor = name.rpartition(".")
    for pattern, theirs in _NAMES:
        match = re.fullmatch(pattern, module)
        if match:
            return f"{match.expand(theirs)}.{tensor}".replace("spv_enc_lidar", "spv_enc_L").replace(
                "spv_enc_knowledge", "spv_enc_C"
            )
    raise KeyError(f"{name} has no place in the table of names")


def _converted(
    path: str | Path, name: str, pickled: Any, shape: Any, class_map_name: str
) -> torch.Tensor:
    """Their tensor as ours is laid out."""
    tensor = pickled.load()
    tensor = tensor.float() if tensor.is_floating_point() else tensor
    if name.endswith(".skip.weight"):
        tensor = _unit_kernel(tensor)
    elif tensor.ndim == 5:
        tensor = _kernel(path, name, tensor)
    elif ".join_identity.weight" in name:
        tensor = tensor[:, : tensor.shape[1] // 2]
    elif ".join_context.weight" in name:
        tensor = tensor[:, tensor.shape[1] // 2 :]
    elif name.startswith(("head.logits", "knowledge_head.logits")):
        tensor = tensor[1:]  # output 0 stands for "ignore": never trained, and never to be said
    elif name == "embedding.lift.weight":
        tensor = tensor.clone()
        tensor[:, 3] *= _RAW_INTENSITY[class_map_name]
    if tensor.shape != shape:
        raise CheckpointError(
            f"{path}: {_their_name(name)} has shape {tuple(pickled.shape)}, which does not become "
            f"{tuple(shape)}"
        )
    return tensor.contiguous()


def _unit_kernel(tensor: torch.Tensor) -> torch.Tensor:
    """A 1x1x1 kernel of spconv 2.1 and later, (out, 1, 1, 1, in) by its shape. It is applied as x @
    reshape(in, out) whatever that shape says; since here
    in = out, a transpose would go unnoticed.
    """
    return tensor.reshape(1, tensor.shape[-1], tensor.shape[0])


def _kernel(path: str | Path, name: str, tensor: torch.Tensor) -> torch.Tensor:
    """(out, 3, 3, 3, in) over (z, y, x), for their voxels are (batch, z, y, x), -> (27, in, out)
    over (x, y, z).
    """
    if tensor.shape[1:4] != (3, 3, 3):
        raise CheckpointError(
            f"{path}: {_their_name(name)}: expected a kernel (out, 3, 3, 3, in), got "
            f"{tuple(tensor.shape)}; another version of spconv?"
        )
    return tensor.permute(3, 2, 1, 4, 0).reshape(27, tensor.shape[4], tensor.shape[0])


def _part(name: str) -> str:
    """What a tensor of theirs belongs to, for the report."""
    parts = name.split(".")
    return ".".join(parts[:2]) if parts[0] in ("model_3d", "fusion") else parts[0]


def _sha256(path: str | Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
