"""The metric card as a page: one HTML file with its plots inside, made of the JSON that
`cmdfusion evaluate` gives.
"""

import base64
import html
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cmdfusion_ros.evaluation.html_parts import html_table, page_opening
from cmdfusion_ros.evaluation.reliability import draw_reliability


def write_page(path: Path, result: Mapping[str, Any]) -> None:
    """Write what `cmdfusion evaluate --json` writes as a page."""
    parts = [page_opening(result["checkpoint"])]
    if result["trained_on"]:
        parts.append(
            f"<p class=note>Trained on {len(result['trained_on'])} of these "
            f"{len(result['scans'])} scans: no measure of what it can do elsewhere.</p>"
        )
    parts.append(
        f"<p>mIoU <b>{_percent(result['miou'])}</b> on {len(result['scans'])} scans, "
        f"{sum(result['points'].values()):,} labelled points; "
    )
    parts.append(
        f"accuracy {_percent(result['accuracy'])}; expected calibration error "
        f"{_percent(result['ece'])}; test-time changes: {result['tta']}.</p>"
    )
    if "spread" in result:
        deviation = result["spread"]["standard_deviation"]["miou"]
        parts.append(
            f"<p>Mean of {result['spread']['checkpoints']} trainings; standard deviation of mIoU "
            f"{_percent(deviation)}.</p>"
        )
    parts.append(_picture(_class_bars(result)))
    rows = [
        (name, f"{result['points'][name]:,}", _percent(iou), _percent(result["chance"][name]))
        for name, iou in result["iou"].items()
    ]
    parts.append(html_table(("class", "points", "IoU", "chance"), rows))
    parts.append(
        "<h2>By distance</h2>"
        + _picture(_bars(result["by_distance"], "metres from the sensor"))
        + _of_table(result["by_distance"], "metres")
    )
    parts.append(_calibration(result))
    parts.append("<h2>By live cameras</h2>" + _of_table(result["by_live_cameras"], "cameras"))
    parts.append(
        "<h2>In view of a camera</h2>"
        + _of_table({"in view": result["in_view"], "out of view": result["out_of_view"]}, "points")
    )
    scans = "".join(f"<li>{html.escape(scan)}</li>" for scan in result["scans"])
    parts.append(
        f"<h2>Scans</h2><details><summary>{len(result['scans'])} "
        f"scans</summary><ul>{scans}</ul></details>"
    )
    with open(path, "w") as stream:
        stream.write("\n".join(parts) + "\n")


def _calibration(result):
    parts = ["<h2>Calibration</h2>"]
    if result["calibrated_on"]:
        parts.append(
            f"<p class=note>Temperatures were fitted on {len(result['calibrated_on'])} of these "
            "scans: the calibrated error flatters.</p>"
        )
    rows = [
        (ring, f"{entry['points']:,}", _percent(entry["ece_uncalibrated"]), _percent(entry["ece"]))
        for ring, entry in result["by_distance"].items()
    ]
    return "".join(
        [
            *parts,
            _picture(draw_reliability(result)),
            html_table(("metres", "labelled points", "ECE uncalibrated", "ECE"), rows),
        ]
    )


def _of_table(entries, what):
    return html_table(
        (what, "labelled points", "mIoU"),
        [(key, f"{entry['points']:,}", _percent(entry["miou"])) for key, entry in entries.items()],
    )


def _class_bars(result):
    figure, axes = _axes(9, 3.5)
    names = list(result["iou"])
    axes.bar(names, [result["iou"][name] or 0 for name in names], label="network")
    axes.plot(
        names, [result["chance"][name] or 0 for name in names], "k_", markersize=12, label="chance"
    )
    axes.set(ylabel="IoU", ylim=(0, 1))
    axes.tick_params(axis="x", rotation=60)
    axes.legend()
    return figure


def _bars(entries, label):
    figure, axes = _axes(6, 3)
    axes.bar(list(entries), [entry["miou"] or 0 for entry in entries.values()])
    axes.set(xlabel=label, ylabel="mIoU", ylim=(0, 1))
    return figure


def _axes(width, height):
    figure = Figure(figsize=(width, height), layout="tight")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


def _picture(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return f'<img src="data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}">'


def _percent(value):
    return "-" if value is None else f"{100 * value:.1f} %"
