"""What labelling costs in the running node, from message to message and by stage: node, player and
recorder as three processes over real ROS 2.

Clouds are sent at a steady rate, as a sensor does; one that arrives while two are waiting replaces
the older. Stages are what the node reports in ~/status: wait (for images), decode, preprocess
(reading the cloud), inference (voxels, maps, network), postprocess (writing and publishing the
labels), total (wait for the worker included). --stages says where inference goes, as `bench
inference` does, on the third cloud as the node's pipeline gives it to the network, with its images:
without ROS, on one thread, after the run. "message to message" is wall time from the call that
publishes a cloud to the arrival of its labels in the other process.
"""

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.cli.benches import inference as bench_inference
from cmdfusion_ros.cli.benches.clouds import clouds_of
from cmdfusion_ros.cli.runs.figures import write_figures
from cmdfusion_ros.cli.runs.live import RunOptions, require_ros, run_live
from cmdfusion_ros.cli.runs.record import RunRecord
from cmdfusion_ros.data.bags.bag import Bag
from cmdfusion_ros.data.bags.bag_layout import BagLayout, inspect_bag
from cmdfusion_ros.data.bags.frame_bag import write_frame_bag
from cmdfusion_ros.frame import Frame
from cmdfusion_ros.inference import Segmenter
from cmdfusion_ros.labelling.offline import OfflineNode, offline_settings

STAGES = ("wait", "decode", "preprocess", "inference", "postprocess", "total")
REPEATS = 9  # of the inference whose stages are told
WARM_UP = 5  # first clouds, which are not counted: caches and the allocator settle


def run(args: argparse.Namespace) -> int:
    """Measure each input, print a table, write JSON; returns 0.

    Raises:
        ModuleNotFoundError: ROS 2 is missing. ValueError: --picture without --stages.
    """
    require_ros()
    if args.picture and not args.stages:
        raise ValueError("--picture: draws the stages; say --stages too")
    results = []
    with tempfile.TemporaryDirectory() as folder:
        inputs = [
            (name, _bag_of(Path(folder) / f"bag{number}", points, args))
            for number, (name, points) in enumerate(_clouds(args))
        ]
        inputs += [(Path(bag).name, Path(bag)) for bag in args.bag]
        for number, (name, bag) in enumerate(inputs):
            layout = inspect_bag(bag)
            record = run_live(
                layout,
                RunOptions(rate=1.0, checkpoint=args.checkpoint, backend=args.backend),
                Path(folder) / f"run{number}",
            )
            results.append({"input": name, **figures(record)})
            print(table(results[-1]), flush=True)
            if args.stages:
                results[-1]["inference"] = stages_of(layout, name, args.checkpoint)
                print(bench_inference.table(results[-1]["inference"]), flush=True)
    write_figures(args.json, results)
    if args.picture:
        bench_inference.draw([result["inference"] for result in results], Path(args.picture))
    return 0


def stages_of(layout: BagLayout, name: str, checkpoint: str = "") -> dict[str, Any]:
    """A row of `bench inference` for a cloud of a bag, called `name`: the third that is labelled,
    or the last of fewer, with the images that the node would give to the network.

    Raises:
        ValueError: no cloud of the bag could be labelled.
    """
    settings = offline_settings(layout, checkpoint=checkpoint, device="cpu", backend="cpu")
    segmenter = Segmenter(checkpoint or None, device="cpu", backend="cpu", cpu_threads=1)
    frames: list[Frame] = []
    with Bag(layout.path, layout.duration) as bag:
        node = OfflineNode(
            bag,
            layout,
            settings,
            segmenter,
            lambda message, labelled, prediction: frames.append(labelled.frame),
            lambda event: None,
        )
        try:
            node.run(max_clouds=3)
        finally:
            node.close()
    if not frames:
        raise ValueError(f"{name}: no cloud of {layout.path} could be labelled")
    frame = frames[-1]
    row = {"input": name, "points": frame.num_points, "cameras": len(frame.views)}
    return {**row, **bench_inference.profile(segmenter, frame, REPEATS)}


def _clouds(args):
    return [] if args.bag and not args.cloud and args.sizes is None else clouds_of(args, 34_000)


def _bag_of(path, points, args):
    """A bag with the same cloud again and again."""
    class_map = load_class_map("street")
    unlabelled = np.full(len(points), 255, np.uint8)
    intensity = np.zeros(len(points), np.float32)
    write_frame_bag(
        path,
        (
            Frame(points, intensity, int(i * 1e9 / args.hz), "lidar", labels=unlabelled)
            for i in range(args.clouds)
        ),
        class_map,
    )
    return path


def figures(record: RunRecord) -> dict[str, Any]:
    """Plain values of one RunRecord: clouds sent and labelled, their rate, and [median, 95th
    percentile] of every stage in ms, without the first clouds.
    """
    stamps = sorted(record.returned)[WARM_UP:]
    latencies = [
        (record.returned[stamp] - record.sent[stamp]) / 1e6
        for stamp in stamps
        if stamp in record.sent
    ]
    stages = {
        stage: [record.stages[stamp][stage] for stamp in stamps if stamp in record.stages]
        for stage in STAGES
    }
    stages["message to message"] = latencies
    return {
        "sent": len(record.sent),
        "labelled": len(record.returned),
        "dropped": record.dropped,
        "rate_hz": round(record.rate_hz, 2),
        "stages_ms": {
            stage: [round(float(np.percentile(values, q)), 1) for q in (50, 95)]
            for stage, values in stages.items()
            if values
        },
    }


def table(result: Mapping[str, Any]) -> str:
    """The words for one input."""
    dropped = (
        ", ".join(f"{count} {reason}" for reason, count in result["dropped"].items())
        or "none dropped"
    )
    lines = [
        f"{result['input']}: {result['labelled']} of {result['sent']} clouds labelled at "
        f"{result['rate_hz']} Hz, {dropped}"
    ]
    lines += [
        f"  {stage:<20}{median:>8.1f} ms, 95 % within {p95:.1f}"
        for stage, (median, p95) in result["stages_ms"].items()
    ]
    if "total" not in result["stages_ms"]:
        lines.append(
            "  no stages: our messages are not built, so the node has no ~/status (make test "
            "builds them)"
        )
    return "\n".join(lines)
