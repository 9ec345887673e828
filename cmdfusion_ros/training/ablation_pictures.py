"""The ablation as a table and as pictures: bars with the spread of the seeds, mIoU against live
cameras.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_BARS, _CURVES = "ablation_bars.png", "ablation_cameras.png"


def markdown_table(result: Mapping[str, Any]) -> str:
    """What `ablation.summary` gives as Markdown: the rows, then the claims, one sentence each."""
    lines = ["| row | what | seeds | mIoU, % | hard classes, % |", "|---|---|---|---|---|"]
    for row in result["table"]:
        lines.append(
            f"| {row['row']} | {row['title']} | {len(row['seeds'])} | "
            f"{_with_spread(row.get('miou'))} | {_with_spread(row.get('hard'))} |"
        )
    lines += [
        "",
        "| claim | difference, points | 95 % over seeds | over streets | needed | p (Holm) "
        "| verdict |",
        "|---|---|---|---|---|---|---|",
    ]
    for claim in result["claims"]:
        error = claim["standard_error"]
        error = "" if error is None else f" ± {100 * error:.1f}"
        what = (
            f"{claim['claim']} ({claim['better']} - "
            f"{claim['than']}{', hard classes' if claim['of'] == 'hard' else ''})"
        )
        p = "-" if claim["p"] is None else f"{claim['p_holm']:.3f}"
        lines.append(
            f"| {what} | {100 * claim['difference']:+.1f}{error} | {_edges(claim['interval'])} | "
            f"{_edges(claim['over_streets'])} | > {100 * claim['by']:g} | {p} | "
            f"{claim['verdict']} |"
        )
    for run, curve in result["live_cameras"].items():
        lines += [
            "",
            f"`{run}` with live cameras: "
            + ", ".join(f"{number}: {_with_spread(entry)}" for number, entry in curve.items()),
        ]
    return "\n".join(lines)


def draw_ablation(result: Mapping[str, Any], folder: Path) -> None:
    """Write both pictures into `folder`."""
    rows = [row for row in result["table"] if "miou" in row]
    figure = Figure(figsize=(11, 1.2 + 0.38 * len(rows)), layout="tight")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    for axis, key, title in (
        (left, "miou", "mIoU, %"),
        (right, "hard", "mean IoU of the hard classes, %"),
    ):
        for place, row in enumerate(rows):
            if key not in row:
                continue
            entry = row[key]
            axis.barh(
                place,
                100 * entry["mean"],
                xerr=None if entry["sd"] is None else 100 * entry["sd"],
                color="#6f9ed4",
                ecolor="#333",
                capsize=3,
            )
            axis.plot(
                [100 * value for value in entry["values"]],
                [place] * len(entry["values"]),
                "k.",
                markersize=4,
            )
        axis.set(
            xlabel=title,
            yticks=range(len(rows)),
            yticklabels=[f"{row['row']}  {row['title']} ({len(row['seeds'])})" for row in rows],
        )
        axis.grid(axis="x", alpha=0.3)
    left.invert_yaxis()
    figure.suptitle(
        "bars: mean over the seeds (their number in brackets), whiskers: standard deviation, "
        "dots: single seeds",
        fontsize=9,
    )
    figure.savefig(folder / _BARS, dpi=110)
    if result["live_cameras"]:
        _draw_curves(result["live_cameras"], folder / _CURVES)


def _draw_curves(curves, path):
    figure = Figure(figsize=(6, 4), layout="tight")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    for run, curve in curves.items():
        numbers, entries = [int(number) for number in curve], list(curve.values())
        axis.errorbar(
            numbers,
            [100 * each["mean"] for each in entries],
            [100 * (each["sd"] or 0) for each in entries],
            marker="o",
            capsize=3,
            label=run,
        )
    axis.set(xlabel="live cameras", ylabel="mIoU, %")
    axis.grid(alpha=0.3)
    axis.legend()
    figure.savefig(path, dpi=110)


def _with_spread(entry):
    if entry is None:
        return "-"
    return f"{100 * entry['mean']:.1f}" + (
        "" if entry["sd"] is None else f" ± {100 * entry['sd']:.1f}"
    )


def _edges(interval):
    return "-" if interval is None else f"{100 * interval[0]:+.1f} to {100 * interval[1]:+.1f}"
