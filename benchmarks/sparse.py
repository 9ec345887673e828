"""Draw what `cmdfusion bench sparse` measured: cost of a layer against channels, cost of a network against the number of points.

    cmdfusion bench sparse --points 10000 30000 100000 300000 1000000 --networks small spv_pyramid --json sparse.json
    python benchmarks/sparse.py sparse.json sparse.png
"""

import argparse
import json
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def main():
    """Read rows, write a picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("json", type=Path, help="file written by cmdfusion bench sparse --json")
    parser.add_argument("picture", type=Path, help="PNG to write")
    args = parser.parse_args()
    rows = json.loads(args.json.read_text())["rows"]
    figure = Figure(figsize=(12, 5), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    largest = max(row["points"] for row in rows)
    layers = [row for row in rows if row["case"].startswith("layer") and row["points"] == largest]
    draw(left, layers, lambda row: int(row["case"].partition("=")[2]), f"channels of a submanifold layer, {largest} points")
    draw(right, [row for row in rows if row["case"].startswith("network")], lambda row: row["points"], "points of the cloud")
    figure.savefig(args.picture, dpi=120)


def draw(axes, rows, place, label):
    """One line for each case without its size, backend and number of threads, both axes logarithmic."""
    lines = {}
    for row in rows:
        name = f"{row['case'].partition(' C=')[0]}, {row['backend']}, {row['threads']} thread{'s' if row['threads'] > 1 else ''}"
        lines.setdefault(name, []).append((place(row), row["ms"]))
    for name, points in lines.items():
        axes.loglog(*zip(*sorted(points), strict=True), marker="o", label=name)
    axes.set(xlabel=label, ylabel="milliseconds")
    axes.grid(which="both", alpha=0.3)
    if lines:
        axes.legend(fontsize=8)


if __name__ == "__main__":
    main()
