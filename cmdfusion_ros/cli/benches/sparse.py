"""What sparse convolution costs here, layer by layer and network by network, beside spconv and
torchsparse where they are installed.

Every way of computing runs in this process on the same clouds with the same weights, one after the
other in rounds, a matrix product of 1024^3 (the measure of what the machine could do) among them;
medians are kept: of CPU time on one thread, of wall time on several. Results of all ways must
agree, else it is an error. Networks include their kernel maps.
Backends: cpu (ours), cpu-torch (ours where no compiler was there), torch (the reference, which
trains), and the other libraries; "x2" means on 2 threads.
"""

import argparse
import copy
import functools
import os
import platform
import resource
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cmdfusion_ros.batch import make_batch
from cmdfusion_ros.cli.benches.clouds import clouds_of
from cmdfusion_ros.cli.benches.peers import peer_engines, run_on
from cmdfusion_ros.cli.benches.stopwatch import measure_in_turn
from cmdfusion_ros.cli.benches.unets import (
    IN_CHANNELS,
    UNETS,
    CpuEngine,
    CpuTorchEngine,
    Layer,
    TorchEngine,
    gmacs_of,
    layers_of,
    random_weights,
    run_unet,
)
from cmdfusion_ros.cli.runs.figures import write_figures
from cmdfusion_ros.config import ModelConfig
from cmdfusion_ros.frame import Frame
from cmdfusion_ros.models import build_network, grid_of
from cmdfusion_ros.models.folded.folded_pyramid import FoldedSpvPyramid
from cmdfusion_ros.sparse import native
from cmdfusion_ros.sparse.cpu import prepare
from cmdfusion_ros.sparse.memory import keep_freed_memory
from cmdfusion_ros.sparse.tensor import KernelMaps
from cmdfusion_ros.sparse.voxelise import voxelise
from cmdfusion_ros.sparse.workers import Workers

SGEMM = 1024  # edge of the matrices of the yardstick
LEVELS = (1, 2, 4, 8, 16)  # of a U-Net


def run(args: argparse.Namespace) -> int:
    """Measure, print a table as it grows, write JSON; returns 0."""
    keep_freed_memory()
    engines, left_out = peer_engines()
    for name, reason in left_out.items():
        print(f"{name}: left out, {reason}")
    compiled = native.kernels()
    if compiled:
        print(f"cpu: compiled kernels, {compiled.instruction_set}")
    else:
        print(f"cpu: without compiled kernels, {native.why_not()}")
    engines = [CpuEngine, *([CpuTorchEngine] if compiled else []), TorchEngine, *engines]
    if args.backends:
        engines = [engine for engine in engines if engine.name in {"cpu", *args.backends}]
    rows, inputs, disturbances = [], {}, []
    print(
        f"{'input':<24}{'case':<24}{'backend':<16}{'ms':>9}{'GMAC':>8}{'of sgemm':>10}{'x ours':>8}"
    )
    for name, points in clouds_of(args, 100_000):
        for threads in args.threads:
            for case in cases(points, args, threads, engines):
                inputs[name] = {"points": len(points), "voxels": case.voxels}
                measured, disturbance = measure(case, threads, args.repeats)
                disturbances.append(disturbance)
                for row in measured:
                    rows.append({"input": name, **row})
                    _print_row(rows[-1])
        inputs[name]["peak_memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(
            (
                "{}: {points} points, {voxels} voxels; peak memory of the process so far "
                "{peak_memory_mb} MB"
            ).format(name, **inputs[name])
        )
    if args.json:
        machine = {
            "cpu": _cpu_name(),
            "cores": os.cpu_count(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "kernels": compiled.instruction_set if compiled else None,
        }
        facts = {
            "machine": machine,
            "voxel_size": args.voxel_size,
            "left_out": left_out,
            "others_share_of_a_core": round(float(np.mean(disturbances)), 3),
        }
        write_figures(args.json, {**facts, "inputs": inputs, "rows": rows})
    return 0


def _cpu_name():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
        platform.machine(),
    )


class SparseCase:
    """One thing to measure.

    Attributes:
        name: of the case. gmacs: useful multiply-adds, billions. voxels: finest ones.
        ways: {backend: function that does it and returns the result}. close: called when all is
            measured.
    """

    def __init__(
        self,
        name: str,
        gmacs: float,
        voxels: int,
        ways: Mapping[str, Callable[[], Any]],
        close: Callable[[], None] = lambda: None,
    ):
        self.name, self.gmacs, self.voxels, self.ways, self.close = name, gmacs, voxels, ways, close


def cases(
    points: np.ndarray, args: argparse.Namespace, threads: int, engine_classes: Sequence[Any]
) -> Iterator[SparseCase]:
    """The Cases of one cloud, made one at a time."""
    (voxels,) = voxelise(points, np.zeros(len(points), np.int64), args.voxel_size)
    coords = torch.from_numpy(voxels.voxel_coords)
    usable = [engine for engine in engine_classes if threads == 1 or not engine.needs_one_thread]
    yield _maps_case(coords, usable, threads)
    for channels in args.channels:
        layer = Layer("layer", "submanifold", channels, channels, 1)
        yield _layer_case(layer, coords, usable, threads)
    for name in args.networks:
        yield (
            _pyramid_case(points, args, usable, threads)
            if name == "spv_pyramid"
            else _unet_case(name, coords, usable, threads)
        )


def without_kernels(function: Callable[[], Any]) -> Callable[[], Any]:
    """The same function, as it runs where no compiler was there."""

    def call(*args):
        with native.switched_off():
            return function(*args)

    return call


def _maps_case(coords, engine_classes, threads):
    """Every kernel map of a U-Net of five levels, ready to convolve, from the finest voxels on.
    On one thread each, levels side by side.
    """
    workers = Workers(threads)

    def all_maps():
        maps = KernelMaps({1: coords})
        for stride in LEVELS[:-1]:
            maps.coarsen(stride, 2)

        def task(number):
            if number < len(LEVELS):
                prepare(workers, maps.submanifold(LEVELS[number], 3))
            else:
                down = maps.strided(LEVELS[number - len(LEVELS)], 2, 2)
                prepare(workers, down)
                prepare(workers, down.transposed)

        workers.run(task, 2 * len(LEVELS) - 1)
        return torch.tensor([sum(maps.submanifold(stride, 3).counts) for stride in LEVELS]).float()

    ways = {"cpu": all_maps, "cpu-torch": without_kernels(all_maps)}
    names = {engine.name for engine in engine_classes}
    return SparseCase(
        "kernel maps",
        0,
        len(coords),
        {name: way for name, way in ways.items() if name in names},
        workers.close,
    )


def _features(coords, channels):
    return torch.randn(len(coords), channels, generator=torch.Generator().manual_seed(0))


def _layer_case(layer, coords, engine_classes, threads):
    """One layer, its kernel map made beforehand."""
    weights, features = random_weights([layer]), _features(coords, layer.in_channels)
    engines = [engine(weights, threads) for engine in engine_classes]
    inputs = [engine.begin(coords, features) for engine in engines]

    def way(engine, x):
        return lambda: engine.features(engine.conv("layer", "submanifold", x, None, None))

    ways = {engine.name: way(engine, x) for engine, x in zip(engines, inputs, strict=True)}
    return SparseCase(
        f"layer C={layer.in_channels}",
        gmacs_of([layer], coords),
        len(coords),
        ways,
        lambda: [engine.close() for engine in engines],
    )


def _unet_case(name, coords, engine_classes, threads):
    unet, features = UNETS[name], _features(coords, IN_CHANNELS)
    weights = random_weights(layers_of(unet))
    engines = [engine(weights, threads) for engine in engine_classes]
    ways = {
        engine.name: functools.partial(run_unet, engine, unet, coords, features)
        for engine in engines
    }
    return SparseCase(
        f"network {name}",
        gmacs_of(layers_of(unet), coords),
        len(coords),
        ways,
        lambda: [engine.close() for engine in engines],
    )


def _pyramid_case(points, args, engine_classes, threads):
    """The shipped network, from points to logits. Other libraries compute its convolutions, ours
    or torch the rest.
    """
    config = ModelConfig(voxel_size=args.voxel_size)
    network = build_network(config, 12).eval()
    folded = FoldedSpvPyramid(network, threads)
    frame = Frame(
        points=points, intensity=np.zeros(len(points), np.float32), stamp=0, frame_id="lidar"
    )

    def way(call):
        return lambda: call(make_batch([frame], grid_of(config))).row_logits

    ways = {}
    for engine in engine_classes:
        if engine.name in ("cpu", "cpu-torch"):
            ways[engine.name] = (
                way(folded) if engine.name == "cpu" else without_kernels(way(folded))
            )
        else:
            ways[engine.name] = way(
                network
                if engine is TorchEngine
                else run_on(engine, copy.deepcopy(network), threads)
            )
    coords = make_batch([frame], grid_of(config)).scales[0].voxel_coords
    convolutions = [
        Layer("", kind, config.channels, config.channels, stride)
        for stride in config.strides[:-1]
        for kind in ("submanifold", "submanifold", "point") * 2
    ]
    return SparseCase(
        "network spv_pyramid", gmacs_of(convolutions, coords), len(coords), ways, folded.close
    )


def measure(case: SparseCase, threads: int, repeats: int) -> tuple[list[dict[str, Any]], float]:
    """Rows of one case, dicts of case, backend, ms, gmacs, fraction_of_sgemm, ratio_to_ours; and
    how much other processes disturbed them (see `stopwatch`).
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    square = torch.rand(SGEMM, SGEMM)
    ways = {**case.ways, "sgemm": lambda: square @ square}
    with torch.no_grad():  # torchsparse 1.4 cannot run in inference mode
        _check_agreement(case)
        seconds, disturbance = measure_in_turn(ways, repeats, threads == 1)
    case.close()
    torch.set_num_threads(before)
    peak = SGEMM**3 / 1e9 / seconds["sgemm"]  # GMAC a second
    rows = [
        {
            "case": case.name,
            "backend": name if threads == 1 else f"{name} x{threads}",
            "ms": round(1e3 * seconds[name], 3),
            "gmacs": round(case.gmacs, 4),
            "fraction_of_sgemm": round(case.gmacs / seconds[name] / peak, 4)
            if case.gmacs
            else None,
            "ratio_to_ours": round(seconds[name] / seconds["cpu"], 3),
        }
        for name in case.ways
    ]
    return rows, disturbance


def _check_agreement(case):
    """Run every way once, which also warms it up; RuntimeError where results differ by more than
    1e-3 of their largest value.
    """
    results = {name: way() for name, way in case.ways.items()}
    ours = results.pop("cpu")
    for name, result in results.items():
        error = float((result - ours).abs().max() / ours.abs().max().clamp(min=1e-9))
        if error > 1e-3:
            raise RuntimeError(
                f"{case.name}: {name} and cpu differ by {error:.1%} of the largest value; one of "
                "them is wrong"
            )


def _print_row(row):
    fraction = (
        "-" if row["fraction_of_sgemm"] is None else f"{100 * row['fraction_of_sgemm']:.0f} %"
    )
    words = (
        f"{row['input'][:22]:<24}{row['case']:<24}{row['backend']:<16}"
        f"{row['ms']:>9.1f}{row['gmacs']:>8.2f}"
    )
    print(f"{words}{fraction:>10}{row['ratio_to_ours']:>8.2f}", flush=True)
