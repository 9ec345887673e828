"""Each method learns one real scan by heart: how fast, and what each of its terms does meanwhile,
with nothing new to see and nothing changed.

    python benchmarks/by_heart.py --data DIR [METHOD ...] [--steps N] [--json FILE]

DIR is a folder in the layout of SemanticKITTI. What is learnt is the part of one of its scans that
lies ahead, where the camera looks, with all terms and teachers of the method, which see earlier
scans too. The teachers that CMDFusion and U2MKD need are trained first, on the same scan.
Rows: step, seconds, accuracy on the labelled points (of those in the image for `image`), and every
term as the training logs it: the means of the steps since the row before. `unexplained` is features
as a part of the variance of what they are drawn to (`training/terms.py`).
"""

import argparse
import copy
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cmdfusion_ros.batch import make_batch
from cmdfusion_ros.checkpoint.file import save_checkpoint
from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.config import settings_from_dict
from cmdfusion_ros.data.augment.mix import select
from cmdfusion_ros.data.readers.data_settings import Mixture
from cmdfusion_ros.frame import IGNORE_LABEL, Frame
from cmdfusion_ros.geometry.voxels import VoxelGrid
from cmdfusion_ros.models import build_network, grid_of
from cmdfusion_ros.sparse.backends import choose_backend, use_backend
from cmdfusion_ros.training.losses import class_weights_from_counts
from cmdfusion_ros.training.objective import Objective
from cmdfusion_ros.training.recipe import Recipe
from cmdfusion_ros.training.samples import Samples
from cmdfusion_ros.training.schedule import learning_rate_at

OWN_IMAGES = {"teacher": "own_images", "features": 1.0}
M2SKD = {  # as in config/train/kitti10_m2skd.yaml
    "teacher": "shared",
    "match": "voxel",
    "view": {
        "kind": "instance_fused",
        "previous": 4,
        "classes": [
            "bicycle",
            "motorcycle",
            "truck",
            "other-vehicle",
            "person",
            "bicyclist",
            "motorcyclist",
        ],
    },
    "logits": 5.0,
    "logit_kind": "absolute",
    "logit_floor": 0.01,
    "temperature": 3.3333,
    "affinity": 1.0,
    "labels": 0.2,
}
SWEEPS = {"kind": "multi_sweep", "previous": 2}
OF_IMAGE = {"teacher": "checkpoint", "path": "image.safetensors", "features": 1.0}
OF_SWEEPS = {
    "teacher": "checkpoint",
    "path": "sweeps.safetensors",
    "match": "point",
    "view": SWEEPS,
    "features": 0.1,
    "logits": 1.0,
}
METHODS: dict[str, dict[str, Any]] = {  # name -> network, view and teachers of a recipe
    "image": {"network": "image"},
    "sweeps": {"network": "spv_unet", "view": SWEEPS},
    "cmdfusion": {"network": "cmdfusion", "distill": [OF_IMAGE]},
    "u2mkd": {"network": "u2mkd", "distill": [OWN_IMAGES, OF_SWEEPS]},
    "m2skd": {"network": "spv_pyramid", "distill": [M2SKD]},
    "flagship": {"network": "flagship", "distill": [OWN_IMAGES, M2SKD]},
}
TEACHER_OF = {"cmdfusion": "image", "u2mkd": "sweeps"}  # trained before, where it was not
SECTOR = np.radians(90.0)  # ahead: about what KITTI's camera sees
CHANNELS = {"u2mkd": 8, "spv_unet": 8}  # of networks; 16 of others


class Sector:
    """The part ahead of some labelled scans, a list of Frames with `neighbours(index, offsets)`."""

    def __init__(self, scans: Mixture):
        self._scans = scans

    def __len__(self) -> int:
        return len(self._scans)

    def __getitem__(self, index: int) -> Frame:
        return _ahead(self._scans[index])

    def neighbours(self, index: int, offsets: Sequence[int]) -> list[Frame]:
        return [_ahead(frame) for frame in self._scans.neighbours(index, offsets)]


def _ahead(frame: Frame) -> Frame:
    return select(frame, np.abs(np.arctan2(frame.points[:, 1], frame.points[:, 0])) < SECTOR / 2)


def recipe_of(
    method: str, sequence: str, steps: int, learning_rate: float, strides: Sequence[int]
) -> Recipe:
    """The Recipe of a name in METHODS; `strides` are those of pyramids, U-Nets have their own."""
    values = dict(METHODS[method])
    network = values.pop("network")
    model = {
        "network": network,
        "channels": CHANNELS.get(network, 16),
        "voxel_size": 0.2,
        "image_size": [256, 80],
    }
    if network == "flagship":
        model["image_trust"] = "learned"  # as its presets have it
    if network not in ("spv_unet", "u2mkd"):
        model["strides"] = list(strides)
    data = {"sequences": [sequence], "images": True}
    return settings_from_dict(
        Recipe,
        {
            "name": method,
            "class_map": "semantic_kitti",
            "model": model,
            "train": data,
            "steps": steps,
            "learning_rate": learning_rate,
            **values,
        },
    )


def learn(
    method: str,
    data: str | Path,
    teachers: str | Path,
    sequence: str = "00",
    scan: int = 4,
    steps: int = 120,
    every: int = 20,
    learning_rate: float = 0.005,
    strides: Sequence[int] = (1, 2, 4, 8),
) -> Iterator[dict[str, Any]]:
    """Train one method on one scan.

    Args:
        method: name in METHODS.
        data: folder in the layout of SemanticKITTI.
        teachers: folder of checkpoints, where this one's is written, and its teacher's lies.
        steps: optimiser steps; the learning rate rises and falls over them.
        every: steps between rows.
        strides: of the scales of networks that are no U-Nets.

    Yields:
        rows: {"step", "seconds", "accuracy" (of labelled points), and the means of what the
            training logs since the row before}.
    """
    recipe = recipe_of(method, sequence, steps, learning_rate, strides)
    class_map, device = load_class_map(recipe.class_map), torch.device("cpu")
    torch.manual_seed(recipe.seed)
    network = use_backend(
        build_network(recipe.model, class_map.num_classes),
        choose_backend("auto", device, training=True).name,
    )
    average = copy.deepcopy(network)
    scans: Any = Sector(recipe.open_training(data, class_map))  # all of a Mixture that is asked
    sample = Samples(scans, recipe, class_map).plain(scan)
    assert sample.frame.labels is not None
    labels = torch.from_numpy(sample.frame.labels.astype(np.int64))
    counts = torch.bincount(labels[labels != IGNORE_LABEL], minlength=class_map.num_classes)
    weights = class_weights_from_counts(counts, recipe.class_weight_power)
    grid = grid_of(recipe.model)
    objective = Objective(recipe, teachers, class_map, grid, device)
    objective.prepare(network, average, sample)
    parameters = [*network.parameters(), *objective.parameters()]
    optimizer = torch.optim.AdamW(
        parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    started, since = time.monotonic(), []
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(step, steps, recipe.learning_rate, recipe.warm_up)
        optimizer.zero_grad(set_to_none=True)
        loss, row = objective(network.train(), average, [sample], weights)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, recipe.gradient_clip)
        optimizer.step()
        since.append(row)
        if (step + 1) % every == 0 or step + 1 == steps:
            seconds = round(time.monotonic() - started, 1)
            terms = {name: sum(row[name] for row in since) / len(since) for name in since[0]}
            yield {
                "step": step + 1,
                "seconds": seconds,
                "accuracy": accuracy(network, grid, sample.frame),
                **terms,
            }
            since = []
    save_checkpoint(
        Path(teachers) / f"{method}.safetensors", network, recipe.model, class_map, {"name": method}
    )


@torch.no_grad()
def accuracy(network: torch.nn.Module, grid: VoxelGrid, frame: Frame) -> float:
    """The part of the labelled points of `frame` that a network labels right, of those it says
    anything of.
    """
    batch = make_batch([frame], grid)
    output = network.eval()(batch)
    known = batch.labels != IGNORE_LABEL
    if output.answered is not None:
        known &= output.answered
    return (output.logits.argmax(1) == batch.labels)[known].float().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "methods", nargs="*", metavar="METHOD", help=f"of {', '.join(METHODS)} (default: all)"
    )
    parser.add_argument(
        "--data", required=True, metavar="DIR", help="folder that holds `sequences`"
    )
    parser.add_argument("--sequence", default="00")
    parser.add_argument(
        "--scan",
        type=int,
        default=4,
        help="its number; M2SKD needs a hard thing in it (00/000004: a motorcyclist)",
    )
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--every", type=int, default=20, help="steps between rows")
    parser.add_argument(
        "--learning-rate", type=float, default=0.005, help="the highest (default: 0.005)"
    )
    parser.add_argument(
        "--strides",
        type=int,
        nargs="+",
        default=(1, 2, 4, 8),
        help="scales of networks that are no U-Nets (default: 1 2 4 8)",
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", metavar="FILE", help="write all rows here")
    args = parser.parse_args()
    if unknown := sorted(set(args.methods) - set(METHODS)):
        parser.error(f"METHOD: expected some of {', '.join(METHODS)}, got {', '.join(unknown)}")
    torch.set_num_threads(args.threads)
    wanted = args.methods or list(METHODS)
    results: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as teachers:
        for method in dict.fromkeys(
            name for each in wanted for name in (TEACHER_OF.get(each), each) if name
        ):
            print(f"\n{method}")
            results[method] = []
            for row in learn(
                method,
                args.data,
                teachers,
                args.sequence,
                args.scan,
                args.steps,
                args.every,
                args.learning_rate,
                args.strides,
            ):
                results[method].append(row)
                _print_row(row, header=len(results[method]) == 1)
    if args.json:
        Path(args.json).write_text(
            json.dumps(
                {"torch": torch.__version__, "arguments": vars(args), "rows": results}, indent=1
            )
            + "\n"
        )


def _print_row(row: dict[str, Any], header: bool) -> None:
    names = [name for name in row if name not in ("step", "seconds", "accuracy", "points")]
    widths = [max(len(name), 8) + 2 for name in names]
    if header:
        print(
            f"{'step':>6}{'s':>8}{'acc %':>8}"
            + "".join(f"{name:>{width}}" for name, width in zip(names, widths, strict=True))
        )
    values = "".join(
        f"{row[name]:>{width}.{0 if name.endswith(('pairs', 'added')) else 4}f}"
        for name, width in zip(names, widths, strict=True)
    )
    print(f"{row['step']:>6}{row['seconds']:>8}{100 * row['accuracy']:>8.1f}{values}", flush=True)


if __name__ == "__main__":
    main()
