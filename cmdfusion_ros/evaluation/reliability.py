"""The picture of calibration: how often a network is right when it is so sure, before and after
temperatures.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_SIDES = {"uncalibrated": "tab:red", "calibrated": "tab:blue"}
_FEWEST = 20  # points of a bin that is drawn; the accuracy of fewer is chance


def draw_reliability(result: Mapping[str, Any]) -> Figure:
    """A matplotlib Figure of what `cmdfusion evaluate` or `calibrate` gives: accuracy over
    confidence, points a bin, error a ring.

    Where temperatures changed nothing there is one line.
    """
    figure = Figure(figsize=(10, 4), layout="tight")
    FigureCanvasAgg(figure)
    left, middle, right = figure.subplots(1, 3, width_ratios=(5, 4, 4))
    bins = result["reliability"]
    sides = ["uncalibrated"] if bins["calibrated"] == bins["uncalibrated"] else list(_SIDES)
    errors = {"calibrated": "ece", "uncalibrated": "ece_uncalibrated"}
    left.plot([0, 1], [0, 1], "k:", linewidth=1, label="as sure as right")
    for side in sides:
        rows = [row for row in bins[side] if row["points"] >= _FEWEST]
        error = result[errors[side]]
        label = f"{side}, ECE {'-' if error is None else f'{100 * error:.1f} %'}"
        left.plot(
            [row["confidence"] for row in rows],
            [row["accuracy"] for row in rows],
            color=_SIDES[side],
            marker="o",
            markersize=4,
            label=label,
        )
        shares = np.array([row["points"] for row in bins[side]]) / max(
            sum(row["points"] for row in bins[side]), 1
        )
        middle.stairs(shares, np.linspace(0, 1, len(shares) + 1), color=_SIDES[side], label=side)
    left.set(
        xlabel="confidence, mean of a bin",
        ylabel="accuracy",
        xlim=(0, 1),
        ylim=(0, 1),
        aspect="equal",
    )
    left.legend(loc="upper left", fontsize=8)
    middle.set(xlabel="confidence", ylabel="share of the points", xlim=(0, 1))
    places = np.arange(len(result["by_distance"]))
    for number, side in enumerate(sides):
        values = [entry[errors[side]] or 0 for entry in result["by_distance"].values()]
        right.bar(places + (number - (len(sides) - 1) / 2) * 0.4, values, 0.4, color=_SIDES[side])
    right.set(xlabel="metres from the sensor", ylabel="calibration error (ECE)", xticks=places)
    right.set_xticklabels(list(result["by_distance"]), fontsize=8)
    return figure
