"""Draw what `cmdfusion bench sparse` measured: a layer against its channels (time, and its share of sgemm), networks against the number of points.

    cmdfusion bench sparse --points 10000 30000 100000 300000 1000000 --networks small spv_pyramid --json sparse.json
    python benchmarks/sparse.py sparse.json sparse.png
"""

import argparse
import json
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

COLOURS = {"cpu": "tab:blue", "cpu-torch": "tab:cyan", "torch": "tab:gray", "spconv": "tab:orange", "torchsparse": "tab:red"}


def main():
    """Read rows, write a picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("json", type=Path, help="file written by cmdfusion bench sparse --json")
    parser.add_argument("picture", type=Path, help="PNG to write")
    args = parser.parse_args()
    facts = json.loads(args.json.read_text())
    inputs = facts["inputs"]
    largest = max(inputs, key=lambda name: inputs[name]["points"])
    layers = [row for row in facts["rows"] if row["case"].startswith("layer") and row["input"] == largest]
    networks = {row["case"] for row in facts["rows"] if row["case"].startswith("network")}
    figure = Figure(figsize=(6 * (2 + len(networks)), 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2 + len(networks), squeeze=False)[0]
    words = f"channels of a submanifold layer, {inputs[largest]['voxels']} voxels"
    draw(axes[0], layers, lambda row: int(row["case"].partition("=")[2]), words, "ms")
    draw(axes[1], layers, lambda row: int(row["case"].partition("=")[2]), words, "fraction_of_sgemm")
    for place, case in zip(axes[2:], sorted(networks), strict=True):
        place.set_title(case)
        draw(place, [row for row in facts["rows"] if row["case"] == case], lambda row: inputs[row["input"]]["points"], "points of the cloud", "ms")
    figure.savefig(args.picture, dpi=100)


def draw(axes, rows, place, label, value):
    """One line for each backend; axes logarithmic, fractions linear."""
    lines = {}
    for row in rows:
        lines.setdefault(row["backend"], []).append((place(row), row[value]))
    for name, points in lines.items():
        kind, _, threads = name.partition(" x")
        style = {"color": COLOURS.get(kind, "black"), "linestyle": "--" if threads else "-"}
        axes.plot(*zip(*sorted(points), strict=True), marker="o", label=f"{kind}, {threads or 1} thread{'s' if threads else ''}", **style)
    axes.set(xlabel=label, xscale="log", ylabel="milliseconds" if value == "ms" else "share of the sgemm rate measured beside it")
    axes.set_yscale("log" if value == "ms" else "linear")
    ticks = sorted({place(row) for row in rows})
    axes.set_xticks(ticks, [f"{tick // 1000} k" if tick >= 10_000 else str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    if lines:
        axes.legend(fontsize=8)


if __name__ == "__main__":
    main()
