"""What a soak found: figures as JSON, and a page with pictures."""

import base64
import html
import io
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cmdfusion_ros.soak.faulty_drive import FAULTS
from cmdfusion_ros.soak.run import Episode, memory_slope, verdict

_STYLE = (
    "body{font:15px sans-serif;max-width:70em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse}td,th{padding:.2em .8em;border-bottom:1px solid #ddd;"
    "text-align:right}td:first-child,td:last-child{text-align:left}img{width:100%}"
    ".good{background:#dfd;padding:.6em}.bad{background:#fdd;padding:.6em}"
)


def figures(episodes: Sequence[Episode], seed: int) -> dict[str, Any]:
    """Plain values: clouds, where they went, memory, and a row for each fault."""
    dropped: Counter[str] = Counter()
    rows: dict[str, dict[str, Any]] = {}
    for episode in episodes:
        dropped.update(episode.dropped)
        for fault in episode.faults:
            row = rows.setdefault(fault, {"episodes": 0, "clouds": 0, "wrong": 0, "recovery_s": []})
            row["episodes"] += 1
            row["clouds"] += episode.clouds
            row["wrong"] += len(episode.wrong)
            row["recovery_s"].append(episode.recovery_s)
    for row in rows.values():
        times = row.pop("recovery_s")
        row["recovery_median_s"], row["recovery_max_s"] = float(np.median(times)), max(times)
    sent = sum(episode.clouds for episode in episodes)
    labelled = sum(episode.labelled for episode in episodes)
    memory = [episode.rss_mb for episode in episodes]
    slope = memory_slope(episodes)
    return {
        "seed": seed,
        "episodes": len(episodes),
        "sessions": len({episode.session for episode in episodes}),
        "clouds": sent,
        "labelled": labelled,
        "dropped": dict(dropped.most_common()),
        "unaccounted": sent - labelled - sum(dropped.values()),
        "rss_mb": [memory[0], memory[-1], max(memory)] if memory else [],
        "slope_percent": None if slope != slope else round(slope, 3),
        "most_threads": max((episode.threads for episode in episodes), default=0),
        "most_fds": max((episode.fds for episode in episodes), default=0),
        "most_frames": max((episode.frames for episode in episodes), default=0),
        "faults": {name: rows[name] for name in FAULTS if name in rows},
        "wrong": verdict(episodes),
    }


def words(found: dict[str, Any]) -> str:
    """The figures in some lines."""
    slope = found["slope_percent"]
    lines = [
        f"{found['clouds']} clouds in {found['episodes']} episodes: {found['labelled']} labelled, "
        + ", ".join(f"{count} {reason}" for reason, count in found["dropped"].items())
        + f"; unaccounted {found['unaccounted']}",
        "memory "
        + ("" if slope is None else f"slope {slope:+.2f} % in 200,000 clouds, ")
        + f"at most {found['rss_mb'][2]:.0f} MB; at most {found['most_threads']} threads, "
        f"{found['most_fds']} descriptors, {found['most_frames']} frames",
    ]
    return "\n".join([*lines, *(found["wrong"] or ["nothing went wrong"])])


def write_report(out: Path, episodes: Sequence[Episode], seed: int) -> dict[str, Any]:
    """Write soak.json, soak.png and soak.html into `out`; returns the figures."""
    found = figures(episodes, seed)
    (out / "soak.json").write_text(json.dumps(found, indent=1) + "\n")
    picture = _draw(episodes, found)
    (out / "soak.png").write_bytes(picture)
    rows = "".join(
        f"<tr><td>{name}<td>{row['episodes']}<td>{row['clouds']}<td>{row['wrong']}"
        f"<td>{row['recovery_median_s']:.1f}<td>{row['recovery_max_s']:.1f}<td>{FAULTS[name]}</tr>"
        for name, row in found["faults"].items()
    )
    (out / "soak.html").write_text(
        f"<!doctype html><meta charset=utf-8><title>soak, seed {seed}</title>"
        f"<style>{_STYLE}</style><h1>Soak, seed {seed}</h1>"
        f"<pre class={'bad' if found['wrong'] else 'good'}>{html.escape(words(found))}</pre>"
        f"<img src='data:image/png;base64,{base64.b64encode(picture).decode()}' alt='memory, "
        "clouds and recovery'><table><tr><th>fault<th>episodes<th>clouds<th>wrong"
        f"<th>recovery, median s<th>worst s<th></tr>{rows}</table>\n"
    )
    return found


def _draw(episodes: Sequence[Episode], found: dict[str, Any]) -> bytes:
    """PNG: memory and threads over clouds, where clouds went, and the recovery after each fault."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((11, 9), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 2, height_ratios=(1, 1.6))
    sent = np.cumsum([episode.clouds for episode in episodes])
    above = figure.add_subplot(grid[0, :])
    above.plot(sent, [episode.rss_mb for episode in episodes], color="tab:blue")
    above.set(xlabel="clouds", ylabel="memory, MB", title="Memory, and threads", ylim=(0, None))
    beside = above.twinx()
    beside.plot(sent, [episode.threads for episode in episodes], color="tab:orange", lw=0.7)
    beside.set(ylabel="threads", ylim=(0, None))
    beside.yaxis.label.set_color("tab:orange")
    above.yaxis.label.set_color("tab:blue")

    went = {"labelled": found["labelled"], **found["dropped"]}
    left = figure.add_subplot(grid[1, 0])
    left.barh(list(went), list(went.values()), color=["tab:green"] + ["tab:gray"] * len(went))
    left.invert_yaxis()
    left.set(xscale="log", xlabel="clouds", title="Where the clouds went")
    right = figure.add_subplot(grid[1, 1])
    names = list(found["faults"])
    right.barh(names, [row["recovery_max_s"] for row in found["faults"].values()], color="tab:red")
    right.tick_params(axis="y", labelsize=7)
    right.invert_yaxis()
    right.set(xlabel="seconds, simulated", title="Until every camera serves again, at worst")
    stream = io.BytesIO()
    figure.savefig(stream, dpi=100)
    return stream.getvalue()
