"""`cmdfusion bench sparse`: what sparse convolution costs here, layer by layer and network by network, beside spconv where it is installed.

Every way of computing runs in this process on the same clouds with the same weights, one after the other in rounds, a matrix product of 1024^3 (the measure of
what the machine could do) among them; medians are kept. Results of all ways must agree, else it is an error. Networks include their kernel maps.
"""

import dataclasses
import json
import os
import platform
import resource
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from cmdfusion_ros.batch import make_batch
from cmdfusion_ros.cli.bench_peers import peer_engines
from cmdfusion_ros.cli.bench_unet import IN_CHANNELS, UNETS, CpuEngine, Layer, TorchEngine, gmacs_of, layers_of, random_weights, run_unet
from cmdfusion_ros.config import ModelConfig
from cmdfusion_ros.data.synthetic.lidar import scan
from cmdfusion_ros.data.synthetic.rigs import load_rig
from cmdfusion_ros.data.synthetic.world import World, WorldSettings
from cmdfusion_ros.frame import Frame
from cmdfusion_ros.models import build_network, grid_of
from cmdfusion_ros.models.spv_folded import FoldedSpvPyramid
from cmdfusion_ros.sparse.memory import keep_freed_memory
from cmdfusion_ros.sparse.tensor import KernelMaps
from cmdfusion_ros.sparse.voxelise import voxelise

SGEMM = 1024  # edge of the matrices of the yardstick


def add_parser(subparsers):
    parser = subparsers.add_parser("bench", help="measure speed", description=__doc__)
    parser.add_argument("what", choices=("sparse",), help="sparse: sparse convolution on the CPU")
    parser.add_argument(
        "--cloud",
        action="append",
        default=[],
        metavar="FILE[:COLUMNS]",
        help="float32 points to measure on, x y z first, COLUMNS numbers each (default 4; nuScenes has 5); may be given several times",
    )
    parser.add_argument("--points", type=int, nargs="*", metavar="N", help="measure on made-up streets of about N points (default: 100000 without --cloud)")
    parser.add_argument("--voxel-size", type=float, default=0.1, metavar="M", help="edge of the finest voxel, metres (default: 0.1)")
    parser.add_argument("--channels", type=int, nargs="*", default=[16, 32, 64, 128], metavar="C", help="widths of single layers (default: 16 32 64 128)")
    networks = [*UNETS, "spv_pyramid"]
    parser.add_argument("--networks", nargs="*", default=networks, choices=networks, help="networks to measure (default: all)")
    threads = sorted({1, os.cpu_count() or 1})
    parser.add_argument("--threads", type=int, nargs="+", default=threads, metavar="T", help="thread counts (default: 1 and all cores)")
    parser.add_argument("--repeats", type=int, default=5, metavar="R", help="rounds; the median counts (default: 5)")
    parser.add_argument("--json", metavar="FILE", help="write all rows here")
    return parser


def run(args):
    """Measure, print a table as it grows, write JSON; returns 0."""
    keep_freed_memory()
    clouds = [read_cloud(text) for text in args.cloud]
    clouds += [synthetic_cloud(count) for count in (args.points if args.points is not None else [] if args.cloud else [100_000])]
    engines, left_out = peer_engines()
    for name, reason in left_out.items():
        print(f"{name}: left out, {reason}")
    rows = []
    print(f"{'input':<24}{'case':<28}{'backend':<10}{'threads':>8}{'ms':>9}{'CPU ms':>9}{'GMAC':>8}{'of sgemm':>10}{'x ours':>8}")
    for name, points in clouds:
        for threads in args.threads:
            for case in cases(points, args, threads, [TorchEngine, CpuEngine, *engines]):
                for row in measure(case, threads, args.repeats):
                    rows.append({"input": name, "points": len(points), **row})
                    _print_row(rows[-1])
    if args.json:
        machine = {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count(), "torch": torch.__version__}
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        Path(args.json).write_text(json.dumps({"machine": machine, "peak_memory_mb": peak, "left_out": left_out, "rows": rows}, indent=1) + "\n")
    return 0


def read_cloud(text):
    """FILE[:COLUMNS] -> its name and (N, 3) float32 points; ValueError where the file does not hold whole points."""
    path, _, columns = text.partition(":")
    values = np.fromfile(path, "<f4")
    width = int(columns or 4)
    if width < 3 or len(values) % width:
        raise ValueError(f"{path}: {len(values)} numbers are not whole points of {width}; say how many a point has, as in {path}:5")
    points = values.reshape(-1, width)[:, :3]
    return Path(path).name, np.ascontiguousarray(points[np.isfinite(points).all(axis=1)])


def synthetic_cloud(count):
    """A scan of a made-up street with about `count` points, and its name."""
    columns = max(count // 60, 8)  # 64 beams, of which some meet the sky
    rig = load_rig("kitti")
    rig = dataclasses.replace(rig, lidar=dataclasses.replace(rig.lidar, columns=columns))
    world = World(np.random.default_rng(0), 1.0, WorldSettings())
    return f"street {count}", scan(world, rig, 0.0, np.random.default_rng(0)).points


class Case:
    """One thing to measure.

    Attributes:
        name: of the case. gmacs: useful multiply-adds, billions. voxels: finest ones.
        ways: {backend: function that does it and returns the result}. close: called when all is measured.
    """

    def __init__(self, name, gmacs, voxels, ways, close=lambda: None):
        self.name, self.gmacs, self.voxels, self.ways, self.close = name, gmacs, voxels, ways, close


def cases(points, args, threads, engine_classes):
    """The Cases of one cloud, made one at a time."""
    (voxels,) = voxelise(points, np.zeros(len(points), np.int64), args.voxel_size)
    coords = torch.from_numpy(voxels.voxel_coords)
    usable = [engine for engine in engine_classes if threads == 1 or not engine.needs_one_thread]
    yield Case("kernel maps", 0, len(coords), {"cpu": lambda: _all_maps(coords)})
    for channels in args.channels:
        layer = Layer("layer", "submanifold", channels, channels, 1)
        yield _layer_case(layer, coords, usable, threads)
    for name in args.networks:
        yield _pyramid_case(points, args, threads) if name == "spv_pyramid" else _unet_case(name, coords, usable, threads)


def _all_maps(coords):
    """Every map of a U-Net of five levels."""
    maps = KernelMaps({1: coords})
    for stride in (1, 2, 4, 8):
        maps.strided(stride, 2, 2)
    for stride in (1, 2, 4, 8, 16):
        maps.submanifold(stride, 3)


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
    return Case(f"layer C={layer.in_channels}", gmacs_of([layer], coords), len(coords), ways, lambda: [engine.close() for engine in engines])


def _unet_case(name, coords, engine_classes, threads):
    unet, features = UNETS[name], _features(coords, IN_CHANNELS)
    weights = random_weights(layers_of(unet))
    engines = [engine(weights, threads) for engine in engine_classes]

    def way(engine):
        return lambda: run_unet(engine, unet, coords, features)

    ways = {engine.name: way(engine) for engine in engines}
    return Case(f"network {name}", gmacs_of(layers_of(unet), coords), len(coords), ways, lambda: [engine.close() for engine in engines])


def _pyramid_case(points, args, threads):
    """The shipped network, from points to logits."""
    config = ModelConfig(voxel_size=args.voxel_size)
    network = build_network(config, 12).eval()
    folded = FoldedSpvPyramid(network, threads)
    frame = Frame(points=points, intensity=np.zeros(len(points), np.float32), stamp=0, frame_id="lidar")

    def way(call):
        return lambda: call(make_batch([frame], grid_of(config))).row_logits

    batch = make_batch([frame], grid_of(config))
    convolutions = [
        Layer("", kind, config.channels, config.channels, stride) for stride in config.strides[:-1] for kind in ("submanifold", "submanifold", "point") * 2
    ]
    return Case("network spv_pyramid", gmacs_of(convolutions, batch.scales[0].voxel_coords), len(batch.scales[0].voxel_coords),
                {"torch": way(network), "cpu": way(folded)}, folded.close)  # fmt: skip


def measure(case, threads, repeats):
    """Rows of one case: dicts of case, voxels, backend, threads, ms, cpu_ms, gmacs, fraction_of_sgemm, ratio_to_ours."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    square = torch.rand(SGEMM, SGEMM)
    ways = {**case.ways, "sgemm": lambda: square @ square}
    wall, cpu = {name: [] for name in ways}, {name: [] for name in ways}
    with torch.inference_mode():
        _check_agreement(case)
        for _ in range(repeats):
            for name, way in ways.items():
                started, started_cpu = time.perf_counter(), time.process_time()
                way()
                wall[name].append(time.perf_counter() - started)
                cpu[name].append(time.process_time() - started_cpu)
    case.close()
    torch.set_num_threads(before)
    seconds = {name: statistics.median(samples) for name, samples in wall.items()}
    peak = SGEMM**3 / 1e9 / seconds["sgemm"]  # GMAC a second
    return [
        {
            "case": case.name,
            "voxels": case.voxels,
            "backend": name,
            "threads": threads,
            "ms": round(1e3 * seconds[name], 3),
            "cpu_ms": round(1e3 * statistics.median(cpu[name]), 3),
            "gmacs": round(case.gmacs, 4),
            "fraction_of_sgemm": round(case.gmacs / seconds[name] / peak, 4) if case.gmacs else None,
            "ratio_to_ours": round(seconds[name] / seconds["cpu"], 3),
        }
        for name in case.ways
    ]


def _check_agreement(case):
    """Run every way once, which also warms it up; RuntimeError where results differ by more than 1e-3 of their largest value."""
    results = {name: way() for name, way in case.ways.items()}
    ours = results.pop("cpu")
    for name, result in results.items():
        error = float((result - ours).abs().max() / ours.abs().max().clamp(min=1e-9))
        if error > 1e-3:
            raise RuntimeError(f"{case.name}: {name} and cpu differ by {error:.1%} of the largest value; one of them is wrong")


def _print_row(row):
    fraction = "-" if row["fraction_of_sgemm"] is None else f"{100 * row['fraction_of_sgemm']:.0f} %"
    print(f"{row['input'][:22]:<24}{row['case']:<28}{row['backend']:<10}{row['threads']:>8}{row['ms']:>9.1f}{row['cpu_ms']:>9.1f}{row['gmacs']:>8.2f}"
          f"{fraction:>10}{row['ratio_to_ours']:>8.2f}", flush=True)  # fmt: skip
