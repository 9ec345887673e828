"""Where the time of an inference goes, from a Frame to its labels, by stage.

One thread, so that CPU time says what each stage costs; wall time is longer where other processes
want the core. Stages: voxelise (points to voxels), nest scales, kernel maps, embedding, layers by
stride, images (scaling and projection, encoder, reading their maps), fusion, head, labels and
confidence; rest is what lies between. Medians of --repeats frames.
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cmdfusion_ros.cli.benches.clouds import clouds_of
from cmdfusion_ros.cli.runs.figures import write_figures
from cmdfusion_ros.data.synthetic.rendering import render_frames
from cmdfusion_ros.data.synthetic.sequence import SequenceSettings
from cmdfusion_ros.frame import Frame
from cmdfusion_ros.inference import Segmenter
from cmdfusion_ros.sparse.stages import StageClock


def run(args: argparse.Namespace) -> int:
    """Measure each cloud, print its table, write JSON and the picture; returns 0."""
    segmenter = Segmenter(args.checkpoint, device="cpu", backend="cpu", cpu_threads=1, images="on")
    results = []
    clouds = [] if args.rigs and not args.cloud and args.sizes is None else clouds_of(args, 34_000)
    frames = [
        (name, Frame(points.astype(np.float32), np.zeros(len(points), np.float32)))
        for name, points in clouds
    ]
    for rig in args.rigs:
        (frame,) = render_frames(0, "bench", 1, SequenceSettings(rig=rig, weather="day"), "street")
        frames.append((f"{rig}, {len(frame.views)} cameras", frame))
    for name, frame in frames:
        row = {"input": name, "points": len(frame.points), "cameras": len(frame.views)}
        results.append({**row, **profile(segmenter, frame, args.repeats)})
        print(table(results[-1]), flush=True)
    write_figures(args.json, results)
    if args.picture:
        draw(results, Path(args.picture))
    return 0


def profile(segmenter: Segmenter, frame: Frame, repeats: int) -> dict:
    """{"total_ms", "total_cpu_ms", "stages": {name: {"ms", "cpu_ms"}}} of one Frame: medians of
    `repeats`.
    """
    segmenter.segment(frame)  # caches and the allocator settle
    totals, stages = [], {}
    for _ in range(repeats):
        started = (time.perf_counter(), time.thread_time())
        with StageClock() as clock:
            segmenter.segment(frame)
        ended = (time.perf_counter(), time.thread_time())
        totals.append((ended[0] - started[0], ended[1] - started[1]))
        for name, seconds in clock.seconds.items():
            stages.setdefault(name, []).append(seconds)
    wall, cpu = _medians(totals)
    return {
        "total_ms": wall,
        "total_cpu_ms": cpu,
        "stages": {
            name: dict(zip(("ms", "cpu_ms"), _medians(samples), strict=True))
            for name, samples in stages.items()
        },
    }


def _medians(samples):
    return [round(1e3 * statistics.median(values), 3) for values in zip(*samples, strict=True)]


def table(result: dict) -> str:
    """The stages of one input as text, the dearest first."""
    lines = [
        f"{result['input']}: {result['points']} points",
        f"  {'stage':22} {'ms':>8} {'CPU':>8}",
    ]
    total = result["total_cpu_ms"]
    for name, row in sorted(result["stages"].items(), key=lambda each: -each[1]["cpu_ms"]):
        share = 100 * row["cpu_ms"] / total
        lines.append(f"  {name:22} {row['ms']:8.2f} {row['cpu_ms']:8.2f} {share:5.1f} %")
    lines.append(f"  {'all':22} {result['total_ms']:8.2f} {total:8.2f}")
    return "\n".join(lines)


def draw(results: list[dict], path: Path) -> None:
    """One bar an input, its stages beside each other in CPU milliseconds."""
    figure = Figure(figsize=(9, 1.6 + 0.7 * len(results)), layout="constrained")
    FigureCanvasAgg(figure)
    panel, known = figure.subplots(), {}
    for row, result in enumerate(results):
        left = 0.0
        for name, stage in result["stages"].items():
            color = known.setdefault(name, colormaps["tab20"](len(known) % 20))
            label = name if name not in panel.get_legend_handles_labels()[1] else None
            panel.barh(row, stage["cpu_ms"], left=left, color=color, label=label)
            left += stage["cpu_ms"]
    panel.set_yticks(range(len(results)), [result["input"] for result in results])
    panel.set_xlabel("CPU milliseconds, one thread")
    panel.legend(ncols=4, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    figure.savefig(path, dpi=110)
