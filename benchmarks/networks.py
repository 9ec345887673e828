"""What each preset of a network costs, part by part: parameters, time of a training step and of
labelling a scan, peak memory.

    python benchmarks/networks.py config/train/flagship_nano.yaml ... [--device cpu] [--points
    100000] [--cameras 1] [--json FILE]

A preset is the `model` section of a recipe. Each part runs in a process of its own, whose peak
memory is that part's: an SPV encoder with a head, two branches with gates, the images, and so on.
`step` is one scan forward, losses of all heads, backward and AdamW; `label` is Segmenter.segment,
from a Frame to labels, in the form that it takes by itself; medians of some rounds after warm-up.
`CPU` is the time of all threads of the process: what is left to compare by where other programs use
the machine too. Memory is that of the process (CPU; of which importing torch takes some 250 MB) or
of the device (CUDA).
"""

import argparse
import dataclasses
import json
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cmdfusion_ros.batch import make_batch
from cmdfusion_ros.checkpoint.file import Checkpoint
from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.config import ModelConfig
from cmdfusion_ros.data.synthetic.lidar import scan
from cmdfusion_ros.data.synthetic.rigs import load_rig
from cmdfusion_ros.data.synthetic.world import World, WorldSettings
from cmdfusion_ros.frame import IGNORE_LABEL, CameraView, Frame
from cmdfusion_ros.geometry.transforms import rigid, yaw_rotation
from cmdfusion_ros.inference import Segmenter
from cmdfusion_ros.models import build_network, grid_of
from cmdfusion_ros.sparse.backends import choose_backend, use_backend
from cmdfusion_ros.training.losses import segmentation_loss
from cmdfusion_ros.training.recipe import load_recipe

IMAGE = (1242, 375)  # KITTI's
# of a network: the networks it grew from, and with how many cameras they run ("n": those asked for)
PARTS: dict[str, tuple[tuple[str, Any], ...]] = {
    "spv_pyramid": (("spv_pyramid", 0),),
    "cmdfusion": (("spv_pyramid", 0), ("cmdfusion", 0)),
    "flagship": (("spv_pyramid", 0), ("cmdfusion", 0), ("flagship", 0), ("flagship", "n")),
    "spv_unet": (("spv_unet", 0),),
    "unet_flagship": (("spv_unet", 0), ("unet_flagship", 0), ("unet_flagship", "n")),
    "u2mkd": (("spv_unet", 0), ("u2mkd", 0), ("u2mkd", "n")),
    "image": (("image", "n"),),
}


def make_frame(num_points: int, num_cameras: int) -> Frame:
    """A scan of a made-up street of about `num_points` points with labels drawn by lot, and
    cameras all around that show noise.
    """
    rng, rig = np.random.default_rng(0), load_rig("kitti")
    # 64 beams, of which some meet the sky
    rig = dataclasses.replace(
        rig, lidar=dataclasses.replace(rig.lidar, columns=max(num_points // 60, 8))
    )
    points = scan(
        World(np.random.default_rng(0), 1.0, WorldSettings()), rig, 0.0, np.random.default_rng(0)
    ).points
    views = tuple(
        _view(f"camera_{number}", 2 * np.pi * number / num_cameras, rng)
        for number in range(num_cameras)
    )
    labels = rng.integers(0, load_class_map("street").num_classes, len(points)).astype(np.uint8)
    return Frame(
        points.astype(np.float32), rng.random(len(points), np.float32), labels=labels, views=views
    )


def _view(name: str, yaw: float, rng: np.random.Generator) -> CameraView:
    width, height = IMAGE
    intrinsic = np.array([[720.0, 0, width / 2], [0, 720, height / 2], [0, 0, 1]])
    optical_from_ahead = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])
    return CameraView(
        name,
        rng.integers(0, 256, (height, width, 3), np.uint8),
        intrinsic,
        rigid(optical_from_ahead @ yaw_rotation(yaw).T, np.zeros(3)),
    )


def measure(
    config: ModelConfig, num_points: int, num_cameras: int, device: str, threads: int, rounds: int
) -> dict[str, Any]:
    """One part's row of figures; run it in a process of its own."""
    if threads:
        torch.set_num_threads(threads)
    class_map, frame = load_class_map("street"), make_frame(num_points, num_cameras)
    torch.manual_seed(0)
    network = build_network(config, class_map.num_classes)
    row: dict[str, Any] = {
        "parameters": sum(p.numel() for p in network.parameters()),
        "points": frame.num_points,
        "label_ms": None,
        "label_cpu_ms": None,
        "label_mb": None,
    }
    if config.network != "image":  # it labels no scans
        segmenter = Segmenter(
            Checkpoint(network.state_dict(), config, class_map),
            device=device,
            cpu_threads=threads,
            images="on",
        )
        row["backend"] = segmenter.backend
        row["label_ms"], row["label_cpu_ms"] = _milliseconds(
            lambda: segmenter.segment(frame), device, rounds
        )
        row["label_mb"] = _peak_mb(device)
        del segmenter
    network = use_backend(
        network.to(device), choose_backend("auto", torch.device(device), training=True).name
    ).train()
    optimizer = torch.optim.AdamW(network.parameters())

    def step() -> None:
        batch = make_batch([frame], grid_of(config), device)
        output = network(batch)
        known = batch.labels != IGNORE_LABEL
        masks = [
            known if head.answered is None else known & head.answered
            for head in (output, *output.auxiliary)
        ]
        terms = [
            segmentation_loss(head.row_logits, head.point_to_row, batch.labels, mask)
            for head, mask in zip((output, *output.auxiliary), masks, strict=True)
        ]
        optimizer.zero_grad(set_to_none=True)
        torch.stack([term for pair in terms for term in pair]).sum().backward()
        optimizer.step()

    row["step_ms"], row["step_cpu_ms"] = _milliseconds(step, device, max(2, rounds // 2))
    return {**row, "step_mb": _peak_mb(device)}


def _milliseconds(call: Callable[[], object], device: str, rounds: int) -> tuple[float, float]:
    """(elapsed, of all threads), medians of the rounds after the first."""
    elapsed, used = [], []
    for _ in range(rounds + 1):
        started, started_cpu = time.perf_counter(), time.process_time()
        call()
        if device != "cpu":
            torch.cuda.synchronize()
        elapsed.append((time.perf_counter() - started) * 1e3)
        used.append((time.process_time() - started_cpu) * 1e3)
    return round(statistics.median(elapsed[1:]), 1), round(statistics.median(used[1:]), 1)


def _peak_mb(device: str) -> int:
    if device == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return torch.cuda.max_memory_allocated() // 2**20


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipes", nargs="+", metavar="RECIPE.yaml")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument(
        "--points", type=int, default=100_000, help="points of the scan, at most (default: 100000)"
    )
    parser.add_argument(
        "--cameras",
        type=int,
        default=1,
        help="cameras of 1242 x 375 pixels where a network has use for them (default: 1)",
    )
    parser.add_argument(
        "--threads", type=int, default=0, help="threads on a CPU (default: as many as torch takes)"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", metavar="FILE", help="write all rows here")
    args = parser.parse_args()
    print(
        f"{'preset':<26}{'part':<14}{'cameras':>8}{'Mparam':>9}{'label ms':>10}{'CPU':>8}{'MB':>7}"
        f"{'step ms':>10}{'CPU':>8}{'MB':>7}"
    )
    rows, spawn = [], multiprocessing.get_context("spawn")
    for path in args.recipes:
        model = load_recipe(path).model
        for network, cameras in PARTS[model.network]:
            cameras = args.cameras if cameras == "n" else cameras
            config = part_of(model, network)
            with spawn.Pool(1) as process:
                row = process.apply(
                    measure, (config, args.points, cameras, args.device, args.threads, args.rounds)
                )
            rows.append({"preset": Path(path).stem, "part": network, "cameras": cameras, **row})
            times = "".join(
                f"{row[f'{what}_ms'] or '-':>10}{row[f'{what}_cpu_ms'] or '-':>8}"
                f"{row[f'{what}_mb'] or '-':>7}"
                for what in ("label", "step")
            )
            print(
                f"{Path(path).stem:<26}{network:<14}{cameras:>8}{row['parameters'] / 1e6:>9.2f}"
                f"{times}",
                flush=True,
            )
    if args.json:
        Path(args.json).write_text(
            json.dumps({"torch": torch.__version__, "device": args.device, "rows": rows}, indent=1)
            + "\n"
        )


def part_of(model: ModelConfig, network: str) -> ModelConfig:
    """The ModelConfig of a part of a preset: what only the whole has is left out."""
    trust = model.image_trust if network == "flagship" else "full"
    attention = model.attention if network in ("spv_unet", "u2mkd") else "none"
    widths = model.widths if network in ("spv_unet", "unet_flagship") else "paper"
    return dataclasses.replace(
        model, network=network, image_trust=trust, attention=attention, widths=widths
    )


if __name__ == "__main__":
    main()
