"""Draw what `cmdfusion bench sparse` measured: a layer against its channels (time, and its share of
sgemm), networks against the number of points.

    cmdfusion bench sparse --sizes 10000 30000 100000 300000 1000000 --networks small spv_pyramid
    --json sparse.json python benchmarks/sparse.py sparse.json sparse.png
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, ScalarFormatter

Row = dict[str, Any]  # of the file
COLOURS = {
    "cpu": "tab:blue",
    "cpu-torch": "tab:cyan",
    "torch": "tab:gray",
    "spconv": "tab:orange",
    "torchsparse": "tab:red",
}


def main() -> None:
    """Read rows, write a picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("json", type=Path, help="file written by cmdfusion bench sparse --json")
    parser.add_argument("picture", type=Path, help="PNG to write")
    args = parser.parse_args()
    facts = json.loads(args.json.read_text())
    inputs = facts["inputs"]
    largest = max(inputs, key=lambda name: inputs[name]["points"])
    layers = [
        row for row in facts["rows"] if row["case"].startswith("layer") and row["input"] == largest
    ]
    networks = sorted({row["case"] for row in facts["rows"] if row["case"].startswith("network")})
    num_panels = 2 + (len(networks) if len(inputs) > 1 else bool(networks))
    columns = 2 if num_panels > 3 else num_panels
    figure = Figure(figsize=(5.5 * columns, 4.5 * -(-num_panels // columns)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = list(figure.subplots(-(-num_panels // columns), columns, squeeze=False).flat)
    words = f"channels of a submanifold layer, {inputs[largest]['voxels']} voxels"
    draw(panels[0], layers, lambda row: int(row["case"].partition("=")[2]), words, "ms")
    draw(
        panels[1],
        layers,
        lambda row: int(row["case"].partition("=")[2]),
        words,
        "fraction_of_sgemm",
    )
    if len(inputs) > 1:
        for panel, case in zip(panels[2:], networks, strict=False):
            panel.set_title(case)
            draw(
                panel,
                [row for row in facts["rows"] if row["case"] == case],
                lambda row: inputs[row["input"]]["points"],
                "points of the cloud",
                "ms",
            )
    elif networks:
        draw_bars(panels[2], [row for row in facts["rows"] if row["case"] in networks], networks)
    for panel in panels[num_panels:]:
        panel.set_visible(False)
    figure.savefig(args.picture, dpi=100)


def draw(axes: Any, rows: list[Row], place: Callable[[Row], int], label: str, value: str) -> None:
    """One line for each backend; axes logarithmic, fractions linear."""
    lines: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        lines.setdefault(row["backend"], []).append((place(row), row[value]))
    for name, points in lines.items():
        axes.plot(
            *zip(*sorted(points), strict=True),
            marker="o",
            label=words_of(name),
            **style_of(name),
            linestyle="--" if " x" in name else "-",
        )
    axes.set(
        xlabel=label,
        xscale="log",
        ylabel="milliseconds" if value == "ms" else "share of the sgemm rate measured beside it",
    )
    if value == "ms":
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(ScalarFormatter())
    else:
        axes.set_ylim(0, 1)
    ticks = sorted({place(row) for row in rows})
    axes.set_xticks(
        ticks, [f"{round(tick, -3) // 1000} k" if tick > 1000 else str(tick) for tick in ticks]
    )
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    if lines:
        axes.legend(fontsize=8)


def draw_bars(axes: Any, rows: list[Row], networks: list[str]) -> None:
    """Networks side by side: how many times as long as ours each backend takes."""
    backends = list(dict.fromkeys(row["backend"] for row in rows))
    width = 0.8 / len(backends)
    for i, name in enumerate(backends):
        own = {row["case"]: row for row in rows if row["backend"] == name}
        bars = axes.bar(
            [k + (i - (len(backends) - 1) / 2) * width for k in range(len(networks))],
            [own[case]["ratio_to_ours"] for case in networks],
            width,
            label=words_of(name),
            **style_of(name),
        )
        axes.bar_label(bars, [f"{own[case]['ms']:.0f}" for case in networks], fontsize=7)
    axes.set_xticks(range(len(networks)), [case.removeprefix("network ") for case in networks])
    axes.set(ylabel="times as long as ours (milliseconds above)")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize=8)


def style_of(name: str) -> dict[str, Any]:
    return {"color": COLOURS.get(name.partition(" x")[0], "black")}


def words_of(name: str) -> str:
    kind, _, threads = name.partition(" x")
    return f"{kind}, {threads or 1} thread{'s' if threads else ''}"


if __name__ == "__main__":
    main()
