"""What the runs of an ablation say: its table, curves over live cameras, and whether its claims
show beyond the spread of the seeds.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cmdfusion_ros.training.ablation import SCORES, Ablation, folder_of
from cmdfusion_ros.training.trainer import LOG


def summary(ablation: Ablation, out: str | Path, seeds: Sequence[int]) -> dict[str, Any]:
    """What the runs under `out` say so far, as plain values: table, live_cameras, claims,
    minutes.
    """
    scores = {(run, seed): _read_scores(out, run, seed) for run in ablation.runs for seed in seeds}
    rows = {row.row: _row_of(ablation, row, scores, seeds) for row in ablation.rows}
    curves = {}
    for run in ablation.curve:
        done = [scores[run, seed]["own"]["by_live_cameras"] for seed in seeds if scores[run, seed]]
        if done and len(done[0]) > 1:
            curves[run] = {
                number: _spread([each[number]["miou"] for each in done]) for number in done[0]
            }
    return {
        "name": ablation.name,
        "seeds": list(seeds),
        "steps": ablation.recipe(ablation.runs[0], 0, out).steps,
        "hard": list(ablation.hard),
        "table": list(rows.values()),
        "live_cameras": curves,
        "claims": [
            *(judged for claim in ablation.claims if (judged := _judged(claim, rows))),
            *(_of_curve(run, curve) for run, curve in curves.items()),
        ],
        "training_minutes": {run: _minutes(out, run, seeds) for run in ablation.runs},
    }


def _row_of(ablation, row, scores, seeds):
    mious, hard, ious, used = [], [], [], []
    for seed in seeds:
        answers = scores[row.run, seed]
        if not answers:
            continue
        result = answers[row.answer]
        used.append(seed)
        if row.cameras is None:
            mious.append(result["miou"])
            ious.append(result["iou"])
            present = [result["iou"][name] for name in ablation.hard if result["points"][name]]
            hard.append(float(np.mean(present)) if present else None)
        else:
            mious.append(result["by_live_cameras"][str(row.cameras)]["miou"])
    entry = {
        "row": row.row,
        "title": row.title,
        "run": row.run,
        "cameras": "all" if row.cameras is None else row.cameras,
        "seeds": used,
    }
    if not used:
        return entry
    entry["miou"] = _spread(mious)
    if ious:
        if None not in hard:  # the scans of the test have some hard class
            entry["hard"] = _spread(hard)
        entry["iou"] = {
            name: None
            if any(iou[name] is None for iou in ious)
            else round(float(np.mean([iou[name] for iou in ious])), 6)
            for name in ious[0]
        }
    return entry


def _judged(claim, rows):
    """A Claim against the table; None while a row of it is missing."""
    better, than = rows[claim.better], rows[claim.than]
    if claim.of not in better or claim.of not in than:
        return None
    ours, theirs = (
        dict(zip(row["seeds"], row[claim.of]["values"], strict=True)) for row in (better, than)
    )
    seeds = sorted(set(ours) & set(theirs))
    if not seeds:
        return None
    words = {
        "claim": claim.title,
        "better": claim.better,
        "than": claim.than,
        "of": claim.of,
        "by": claim.by,
        "seeds": seeds,
    }
    return {**words, **_verdict([ours[seed] - theirs[seed] for seed in seeds], claim.by)}


def _of_curve(run, curve):
    """The claim that no number of live cameras is worse than none, as `_judged` gives it; the
    worst number of each seed counts.
    """
    none = curve["0"]["values"]
    seen = [entry["values"] for number, entry in curve.items() if number != "0"]
    worst = (
        [min(values[place] for values in seen) - none[place] for place in range(len(none))]
        if seen
        else []
    )
    words = {
        "claim": f"{run}: no number of live cameras is worse than none",
        "better": "worst number",
        "than": "no camera",
        "of": "miou",
        "by": 0.0,
    }
    return {**words, **_verdict(worst, 0.0)}


def _verdict(differences, by):
    """What differences, one a seed, say of a claim that they are more than `by`."""
    mean = float(np.mean(differences))
    error = (
        float(np.std(differences, ddof=1) / np.sqrt(len(differences)))
        if len(differences) > 1
        else None
    )
    if error is None:
        verdict = "one seed only"
    elif mean - 2 * error > by:
        verdict = "shows"
    elif mean + 2 * error < by:
        verdict = "does not show"
    else:
        verdict = "within the spread of the seeds"
    return {
        "difference": round(mean, 6),
        "standard_error": None if error is None else round(error, 6),
        "verdict": verdict,
    }


def _read_scores(out, run, seed):
    path = folder_of(out, run, seed) / SCORES
    return json.loads(path.read_text()) if path.exists() else None


def _minutes(out, run, seeds):
    """Minutes of training steps of the finished runs, by the wall clock."""
    paths = [
        folder_of(out, run, seed) / LOG
        for seed in seeds
        if (folder_of(out, run, seed) / SCORES).exists()
    ]
    return round(
        sum(
            json.loads(line).get("seconds", 0.0)
            for path in paths
            for line in path.read_text().splitlines()
        )
        / 60,
        1,
    )


def _spread(values):
    """{mean, sd (sample standard deviation; None of one value), values}."""
    return {
        "mean": round(float(np.mean(values)), 6),
        "sd": round(float(np.std(values, ddof=1)), 6) if len(values) > 1 else None,
        "values": [round(float(value), 6) for value in values],
    }
