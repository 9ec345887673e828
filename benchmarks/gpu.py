#!/usr/bin/env python3
"""What a GPU makes of the networks: our backends beside one another, and a U-Net beside spconv.

    python benchmarks/gpu.py [--repeats N] [--json FILE]

Made-up clouds; everything runs in this process on one card, in turn; medians of wall time, the GPU
waited for. Labels are compared with the reference (plain torch) and an engine's output with its.
"""

import argparse
import functools
import json
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cmdfusion_ros.batch import make_batch
from cmdfusion_ros.cli.benches import unets
from cmdfusion_ros.cli.benches.clouds import synthetic_cloud
from cmdfusion_ros.cli.benches.peers import SpconvEngine, peer_engines
from cmdfusion_ros.data.synthetic.rendering import render_frames
from cmdfusion_ros.data.synthetic.sequence import SequenceSettings
from cmdfusion_ros.frame import Frame
from cmdfusion_ros.inference import Segmenter
from cmdfusion_ros.models import build_network, grid_of
from cmdfusion_ros.sparse.backends import problem_with, use_backend
from cmdfusion_ros.sparse.cpu import FoldedConv
from cmdfusion_ros.sparse.tensor import SparseTensor
from cmdfusion_ros.sparse.voxelise import voxelise
from cmdfusion_ros.training.recipe import load_recipe

RECIPES = Path(__file__).resolve().parent.parent / "config" / "train"
DEVICE = torch.device("cuda")
VOXEL_SIZE = 0.1


class TritonEngine(unets.TorchEngine):
    """`sparse.triton_backend`, bias, skip and activation in the kernel."""

    name = "triton"

    def conv(
        self, name: str, kind: str, x: SparseTensor, slope: float | None, skip: SparseTensor | None
    ) -> SparseTensor:
        from cmdfusion_ros.sparse.triton_backend import convolve

        weight, bias = self._weights[name].weight, self._weights[name].bias
        kernel_map = unets.kernel_map_of(kind, x.maps, x.stride)
        given = None if skip is None else skip.features
        features = convolve(x.features, weight, kernel_map, bias, given, slope)
        stride = unets.OUT_STRIDE[kind](x.stride)
        return SparseTensor(features, x.maps.voxel_coords(stride), stride, x.maps)


def median_ms(ways: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """{way: median milliseconds}, all ways in turn after three calls of each."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats + 3):
        for name, way in ways.items():
            torch.cuda.synchronize()
            started = time.perf_counter()
            way()
            torch.cuda.synchronize()
            if turn >= 3:
                taken[name].append(1e3 * (time.perf_counter() - started))
    return {name: round(statistics.median(values), 3) for name, values in taken.items()}


def unet_rows(repeats: int) -> list[dict]:
    """The U-Nets of `bench sparse`, kernel maps included and without, in both precisions."""
    rows = []
    engines: list[Any] = [unets.TorchEngine, TritonEngine]
    engines += [SpconvEngine] if SpconvEngine in peer_engines()[0] else []
    for points in (34_000, 120_000):
        cloud = synthetic_cloud(points)[1]
        (voxels,) = voxelise(cloud, np.zeros(len(cloud), np.int64), VOXEL_SIZE)
        coords = torch.from_numpy(voxels.voxel_coords).to(DEVICE)
        for name, unet in unets.UNETS.items():
            for dtype in (torch.float32, torch.float16):
                weights = {
                    layer: FoldedConv(
                        folded.weight.to(DEVICE, dtype), folded.bias.to(DEVICE, dtype)
                    )
                    for layer, folded in unets.random_weights(unets.layers_of(unet)).items()
                }
                generator = torch.Generator().manual_seed(0)
                features = torch.randn(len(coords), unets.IN_CHANNELS, generator=generator)
                features = features.to(DEVICE, dtype)
                ways, results = {}, {}
                for engine_class in engines:
                    engine = engine_class(weights, 1)
                    way = functools.partial(unets.run_unet, engine, unet, coords, features)
                    try:
                        results[engine.name] = way().float()
                    except Exception as error:
                        print(f"{engine.name}: left out, {type(error).__name__}: {error}"[:200])
                        continue
                    ways[engine.name] = way
                largest = results["torch"].abs().max()
                errors = {n: float((r - results["torch"]).abs().max() / largest)
                          for n, r in results.items()}  # fmt: skip
                times = median_ms(ways, repeats)
                for each, milliseconds in times.items():
                    row: dict[str, Any] = {"case": f"U-Net {name}", "voxels": len(coords)}
                    row |= {"dtype": str(dtype)[6:], "way": each, "ms": milliseconds}
                    row["error"] = round(errors[each], 6)
                    rows.append(row)
                    print(json.dumps(row), flush=True)
    return rows


def frames() -> list[tuple[str, Frame]]:
    """(name, Frame): two clouds without images, and rigs of one and six cameras."""
    found = []
    for points in (34_000, 120_000):
        cloud = synthetic_cloud(points)[1].astype(np.float32)
        found.append((f"{len(cloud)} points", Frame(cloud, np.zeros(len(cloud), np.float32))))
    for rig in ("kitti", "pandaset"):
        (frame,) = render_frames(0, "bench", 1, SequenceSettings(rig=rig, weather="day"), "street")
        found.append((f"{len(frame.points)} points, {len(frame.views)} cameras", frame))
    return found


def label_rows(repeats: int) -> list[dict]:
    """The weights that ship, from a Frame in memory to its labels in memory."""
    segmenters = {b: Segmenter(device=str(DEVICE), backend=b, images="on") for b in backends()}
    rows = []
    for name, frame in frames():
        answers = {backend: s.segment(frame).labels for backend, s in segmenters.items()}
        ways = {b: functools.partial(s.segment, frame) for b, s in segmenters.items()}
        for way, milliseconds in median_ms(ways, repeats).items():
            same = round(float((answers[way] == answers["torch"]).mean()), 5)
            row = {"case": "shipped, label", "input": name, "way": way, "ms": milliseconds,
                   "same_labels": same}  # fmt: skip
            rows.append(row)
            print(json.dumps(row), flush=True)
    return rows


def network_rows(repeats: int) -> list[dict]:
    """Recipes' networks with random weights: forward and a training step, float32 and autocast."""
    rows = []
    inputs = frames()
    for recipe in ("flagship_nano", "flagship_small", "flagship_base"):
        path = RECIPES / f"{recipe}.yaml"
        if not path.is_file():
            print(f"{recipe}: left out, {path} is not there")
            continue
        config = load_recipe(path).model
        for name, frame in inputs[1:]:
            for half in (False, True):
                ways = {}
                for backend in backends():
                    network = use_backend(build_network(config, 12).to(DEVICE), backend)
                    ways[f"{backend}, forward"] = functools.partial(
                        forward, network.eval(), frame, config, half
                    )
                    other = use_backend(build_network(config, 12).to(DEVICE), backend).train()
                    ways[f"{backend}, step"] = functools.partial(step, other, frame, config, half)
                try:
                    times = median_ms(ways, repeats)
                except Exception as error:
                    print(f"{recipe}, {name}: {type(error).__name__}: {error}"[:300], flush=True)
                    continue
                for way, milliseconds in times.items():
                    row = {"case": recipe, "input": name, "half": half, "way": way,
                           "ms": milliseconds}  # fmt: skip
                    rows.append(row)
                    print(json.dumps(row), flush=True)
    return rows


def forward(network: Any, frame: Frame, config: Any, half: bool) -> None:
    """Frame -> logits, without gradients."""
    with torch.inference_mode(), torch.autocast("cuda", torch.float16, enabled=half):
        network(make_batch([frame], grid_of(config), DEVICE))


def step(network: Any, frame: Frame, config: Any, half: bool) -> None:
    """Forward and backward."""
    with torch.autocast("cuda", torch.bfloat16, enabled=half):
        output = network(make_batch([frame], grid_of(config), DEVICE))
    output.row_logits.float().square().mean().backward()
    network.zero_grad()


def backends() -> list[str]:
    """Those that run on this card."""
    found = []
    for name in ("torch", "triton", "torchsparse"):
        problem = problem_with(name, DEVICE, True)
        if problem is None:
            found.append(name)
        else:
            print(f"{name}: left out, {problem}")
    return found


def save(path: Path | None, facts: dict, rows: list[dict]) -> None:
    """Write what is measured so far, if asked to."""
    if path:
        path.write_text(json.dumps({**facts, "rows": rows}, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=20, help="calls of each way (default 20)")
    parser.add_argument("--json", type=Path, help="write all rows here, after each part")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        parser.exit(1, "gpu.py: no CUDA device here; it measures nothing on a CPU\n")
    facts = {"card": torch.cuda.get_device_name(), "torch": torch.__version__}
    print(json.dumps(facts))
    rows: list[dict] = []
    with torch.no_grad():
        for part in (label_rows, unet_rows):
            rows += part(args.repeats)
            save(args.json, facts, rows)
    rows += network_rows(args.repeats)
    save(args.json, facts, rows)


if __name__ == "__main__":
    main()
