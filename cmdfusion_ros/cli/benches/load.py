"""How the running node bears load, to past what it can: labelled clouds, drops and latency against
the rate of the clouds, their size and the number of cameras.

Node, player and recorder as three processes over real ROS 2. One scan of a made-up street (--rigs:
nuscenes has about 31,000 points, pandaset about 99,000, both with six cameras) is sent again and
again with its images at each rate, with `sync.overload: latest` as on a robot: a cloud that comes
while another waits for the network replaces it. "latency" is wall time from the call that
publishes a cloud to the arrival of its labels in the other process, of the clouds that were
labelled. "cores" is the CPU time of the node by the time it was played to.
"""

import argparse
import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.cli.runs.figures import write_figures
from cmdfusion_ros.cli.runs.live import RunOptions, require_ros, run_live
from cmdfusion_ros.cli.runs.record import RunRecord
from cmdfusion_ros.data.bags.bag_layout import inspect_bag
from cmdfusion_ros.data.bags.frame_bag import write_frame_bag
from cmdfusion_ros.data.synthetic.rendering import render_frames
from cmdfusion_ros.data.synthetic.sequence import SequenceSettings
from cmdfusion_ros.frame import Frame

WARM_UP = 3  # first clouds, whose latency is not counted
_LABELS, _JPEG_QUALITY, _SEED = "street", 90, 0


def run(args: argparse.Namespace) -> int:
    """Play every rig, number of cameras and rate; print a row each; returns 0.

    Raises:
        ModuleNotFoundError: ROS 2 is missing.
    """
    require_ros()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for rig in args.rigs:
            settings = SequenceSettings(rig=rig, weather="day")
            scan = next(render_frames(_SEED, "load", 1, settings, _LABELS))
            for cameras in dict.fromkeys(min(n, len(scan.views)) for n in args.cameras):
                for hz in args.hz:
                    place = Path(folder) / f"{rig}_{cameras}_{hz:g}"
                    write_frame_bag(
                        place / "bag",
                        repeated(scan, cameras, hz, args.seconds),
                        load_class_map(_LABELS),
                        _JPEG_QUALITY,
                    )
                    record = run_live(
                        inspect_bag(place / "bag"),
                        RunOptions(
                            rate=1.0,
                            checkpoint=args.checkpoint,
                            backend=args.backend,
                            overload="latest",
                        ),
                        place,
                    )
                    points = len(scan.points)
                    rows.append({"rig": rig, "points": points, "cameras": cameras, "hz": hz})
                    rows[-1] |= figures(record)
        print(table(rows), flush=True)
    write_figures(args.json, rows)
    if args.picture:
        draw(rows, Path(args.picture))
    return 0


def repeated(scan: Frame, cameras: int, hz: float, seconds: float) -> Iterator[Frame]:
    """The same Frame with its first `cameras` views, `hz` times a second for `seconds`."""
    for number in range(max(round(hz * seconds), 2)):
        shift = round(number * 1e9 / hz)
        views = tuple(
            dataclasses.replace(view, stamp=view.stamp + shift) for view in scan.views[:cameras]
        )
        yield dataclasses.replace(scan, stamp=scan.stamp + shift, views=views)


def figures(record: RunRecord) -> dict[str, Any]:
    """Plain values of one RunRecord: clouds sent, labelled, dropped by reason, their rate,
    latencies in ms, share of cores, mode of most clouds.
    """
    latencies = record.latencies_ms[WARM_UP:]
    modes = record.mode_counts()
    return {
        "sent": len(record.sent),
        "labelled": len(record.returned),
        "dropped": record.dropped,
        "rate_hz": round(float(np.nan_to_num(record.rate_hz)), 2),  # none of fewer than two
        "latency_ms": [round(float(np.percentile(latencies, q)), 1) for q in (50, 95, 99, 100)]
        if len(latencies)
        else [],
        "cores": None if record.node_cores is None else round(record.node_cores, 2),
        "mode": max(modes, key=lambda mode: modes[mode]),
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| points | cameras | sent, Hz | labelled, Hz | labelled of sent | median, ms | 95 %, ms "
        "| 99 %, ms | cores |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        median, p95, p99, _ = row["latency_ms"] or ["-"] * 4
        lines.append(
            f"| {row['points']:,} | {row['cameras']} | {row['hz']:g} | {row['rate_hz']:.1f} | "
            f"{row['labelled']}/{row['sent']} | {median} | {p95} | {p99} | {row['cores']} |"
        )
    return "\n".join(lines)


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """For each size of cloud what is labelled and how late, against what is sent; a line for each
    number of cameras.
    """
    sizes = sorted({row["points"] for row in rows})
    figure = Figure(figsize=(5 * len(sizes), 7), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, len(sizes), squeeze=False, sharex="col")
    for column, points in enumerate(sizes):
        rates, delays = panels[0, column], panels[1, column]
        for number in sorted({row["cameras"] for row in rows}):
            mine = [row for row in rows if (row["points"], row["cameras"]) == (points, number)]
            words = "LiDAR alone" if not number else f"{number} camera{'s' * (number > 1)}"
            sent = [row["hz"] for row in mine]
            rates.plot(sent, [row["rate_hz"] for row in mine], "o-", label=words)
            late = [row["latency_ms"][1] if row["latency_ms"] else np.nan for row in mine]
            delays.plot(sent, late, "o-", label=words)
        most = max(row["hz"] for row in rows)
        rates.plot([0, most], [0, most], ":", color="grey", label="all")
        rates.set_title(f"{points:,} points")
        rates.set_ylabel("labelled, Hz")
        delays.set_ylabel("latency, 95 % within, ms")
        delays.set_xlabel("clouds sent, Hz")
        delays.set_ylim(bottom=0)
        rates.legend(fontsize=8)
    figure.savefig(path, dpi=110)
