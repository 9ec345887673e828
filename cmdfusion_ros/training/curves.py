"""The picture of a training run: loss and validation IoU over the steps."""

import json
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# of a log's row; teachers' have their name before it
_LOSSES = (
    "loss",
    "cross_entropy",
    "lovasz",
    "auxiliary",
    "features",
    "logits",
    "affinity",
    "labels",
)


def draw_curves(log_path: Path, picture_path: Path) -> None:
    """Draw a trainer's JSON-lines log as a PNG."""
    with open(log_path) as stream:
        rows = [json.loads(line) for line in stream]
    steps = [row for row in rows if "loss" in row]
    scores = [row for row in rows if "validation" in row]
    figure = Figure(figsize=(10, 4), layout="tight")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for name in dict.fromkeys(
        name for row in steps for name in row if name.split(".")[-1] in _LOSSES
    ):
        rows = [row for row in steps if name in row]  # a step without images has no loss on them
        left.plot([row["step"] for row in rows], _smooth([row[name] for row in rows]), label=name)
    left.set(xlabel="step", ylabel="loss, mean of neighbouring steps", yscale="log")
    left.legend(fontsize=6)
    for name in scores[-1]["validation"]["iou"] if scores else ():
        values = [row["validation"]["iou"][name] for row in scores]
        right.plot(
            [row["step"] for row in scores],
            [np.nan if value is None else value for value in values],
            label=name,
            linewidth=1,
            marker=".",
        )
    right.plot(
        [row["step"] for row in scores],
        [row["validation"]["miou"] for row in scores],
        "k",
        label="mean",
        linewidth=2,
        marker="o",
    )
    right.set(xlabel="step", ylabel="IoU on validation scans", ylim=(0, 1))
    right.legend(fontsize=6, ncols=2)
    figure.savefig(picture_path, dpi=110)


def _smooth(values, window=25):
    """Mean over up to `window` steps centred on each."""
    values = np.asarray(values, np.float64)
    sums = np.concatenate([[0.0], values.cumsum()])
    low = np.clip(np.arange(len(values)) - window // 2, 0, None)
    high = np.clip(np.arange(len(values)) + window // 2 + 1, None, len(values))
    return (sums[high] - sums[low]) / (high - low)
