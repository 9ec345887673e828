"""Robustness as a table of lines and as a picture."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def percent(value: float | None) -> str:
    """ "12.3" of 0.123, "-" of None."""
    return "-" if value is None else f"{100 * value:.1f}"


def table(result: dict[str, Any]) -> list[str]:
    """What `cmdfusion robustness` prints, a line each."""
    lines = [f"{'corruption':<42}{'mIoU by level':<36}{'CE':>8}{'RR':>8}"]
    lines.append(f"{'clean':<42}{percent(result['clean'])}")
    for name, entry in result["corruptions"].items():
        levels = "  ".join(f"{each} {percent(of['miou'])}" for each, of in entry["levels"].items())
        lines.append(f"{name:<42}{levels:<36}{percent(entry['ce']):>8}{percent(entry['rr']):>8}")
    for suite, means in result["suites"].items():
        lines.append(f"{suite:<42}mCE {percent(means['mce'])}  mRR {percent(means['mrr'])}")
    for number, entry in result["by_live_cameras"].items():
        worst = f", lowest {percent(entry['lowest'])} without {', '.join(entry['without'])}"
        one = entry["subsets"] == 1
        name = f"{number} live cameras"
        lines.append(f"{name:<42}{percent(entry['miou'])}" + ("" if one else worst))
    return lines


def draw_robustness(result: dict[str, Any]) -> Figure:
    """Dots for the levels of every corruption, lightest and largest first, with those of the
    baseline in grey and a line for the clean score; beside it mIoU over live cameras."""
    names, curve = list(result["corruptions"]), result["by_live_cameras"]
    panels = 2 if len(curve) > 1 else 1
    figure = Figure(figsize=(6 + 4 * panels, 1.5 + 0.27 * max(len(names), 8)), layout="tight")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, panels, squeeze=False, width_ratios=(3, 2)[:panels])[0]
    _draw_levels(axes[0], result, names)
    if panels == 2:
        _draw_cameras(axes[1], curve)
    return figure


def _draw_levels(axis: Axes, result: dict[str, Any], names: list[str]) -> None:
    for key, color, shift, who in (
        ("baseline", "#999999", 0.17, f"baseline {result['baseline']}"),
        ("miou", "#2f6db5", -0.17, result["checkpoint"]),
    ):
        clean = result["baseline_clean" if key == "baseline" else "clean"]
        if clean is None:
            continue
        axis.axvline(100 * clean, color=color, linewidth=1, linestyle=":")
        for place, name in enumerate(names):
            levels = result["corruptions"][name]["levels"].values()
            values = [100 * each[key] for each in levels if each[key] is not None]
            sizes = [60 / (1 + number) for number in range(len(values))]
            label = f"{who} (dotted: clean)" if place == 0 else None
            axis.scatter(values, [place + shift] * len(values), sizes, color, label=label)
    axis.set(xlabel="mIoU, %; large to small: lightest to heaviest level", xlim=(0, None))
    axis.set_yticks(range(len(names)), names, fontsize=8)
    axis.invert_yaxis()
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8, loc="lower left")


def _draw_cameras(axis: Axes, curve: dict[str, dict[str, Any]]) -> None:
    numbers = [int(number) for number in curve]
    means, lows = ([100 * each[key] for each in curve.values()] for key in ("miou", "lowest"))
    axis.plot(numbers, means, "o-", color="#2f6db5", label="mean over the subsets")
    axis.plot(numbers, lows, "v:", color="#b53f2f", label="worst subset")
    axis.set(xlabel="live cameras", ylabel="mIoU, %", xticks=numbers)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
