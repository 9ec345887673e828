"""What the runs of an ablation say: its table, curves over live cameras, and whether its claims
show beyond the spread of the seeds.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cmdfusion_ros.evaluation.statistics import (
    bootstrap_difference,
    holm,
    p_of_more,
    t_interval,
)
from cmdfusion_ros.training.ablation import SCORES, Ablation, folder_of
from cmdfusion_ros.training.trainer import LOG

CHANCE = 0.05  # of any false claim among all that are said to show


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
        "claims": _with_verdicts(
            [
                *(
                    judged
                    for claim in ablation.claims
                    if (judged := _judged(ablation, claim, rows, scores))
                ),
                *(_of_curve(run, curve) for run, curve in curves.items()),
            ]
        ),
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
            present = [result["iou"][name] for name in hard_classes(ablation, result)]
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


def refuse_closed_gates(
    ablation: Ablation, run: str, out: str | Path, seeds: Sequence[int]
) -> None:
    """Raise ValueError where a gate before `run` is not passed, or not measured yet."""
    gates = [gate for gate in ablation.gates if run in gate.before]
    if not gates:
        return
    scores = {
        (name, seed): _read_scores(out, name, seed) for name in ablation.runs for seed in seeds
    }
    rows = {row.row: _row_of(ablation, row, scores, seeds) for row in ablation.rows}
    for gate in gates:
        judged = _judged(ablation, gate, rows, scores)
        if judged is None:
            raise ValueError(
                f"{run}: gate {gate.title!r}: rows {gate.better} and {gate.than} are not measured "
                "yet; train their runs first"
            )
        if judged["difference"] <= gate.by:
            raise ValueError(
                f"{run}: gate {gate.title!r} is closed: {gate.better} - {gate.than} is "
                f"{100 * judged['difference']:+.1f} points of {gate.of}, needed > "
                f"{100 * gate.by:g}; mend the teacher, or pass --past-gates"
            )


def hard_classes(ablation: Ablation, result: dict[str, Any]) -> list[str]:
    """Those of the hard classes that the test has points and `least_things` things of, so that one
    thing does not decide; where it counts no things, those that have points.
    """
    things = result.get("by_street", {}).get("things", {})
    return [
        name
        for name in ablation.hard
        if result["points"][name] and (not things or things[name] >= ablation.least_things)
    ]


def _judged(ablation, claim, rows, scores):
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
    differences = [ours[seed] - theirs[seed] for seed in seeds]
    return {
        **words,
        **_measured(differences, claim.by),
        "over_streets": _over_streets(ablation, claim, seeds, scores),
    }


def _over_streets(ablation, claim, seeds, scores):
    """The bootstrap interval of a claim over streets and seeds; None where none were counted."""
    of = {row.row: row for row in ablation.rows}
    sides, names = [], None
    for row in (of[claim.better], of[claim.than]):
        answers = [scores[row.run, seed][row.answer] for seed in seeds]
        key = "0" if row.cameras == 0 else "all"
        if row.cameras not in (None, 0) or any("by_street" not in each for each in answers):
            return None
        sides.append(np.array([each["by_street"]["counts"][key] for each in answers]))
        names = list(answers[0]["iou"])
        hard = hard_classes(ablation, answers[0])
    chosen = hard if claim.of == "hard" else names
    labels = np.array([names.index(name) for name in chosen])
    return [round(edge, 6) for edge in bootstrap_difference(*sides, labels)]


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
    return {**words, **_measured(worst, 0.0), "over_streets": None}


def _measured(differences, by):
    """What differences, one a seed, say of a claim that they are more than `by`."""
    error = (
        np.std(differences, ddof=1) / np.sqrt(len(differences)) if len(differences) > 1 else None
    )
    interval = t_interval(differences)
    return {
        "difference": round(float(np.mean(differences)), 6),
        "standard_error": None if error is None else round(float(error), 6),
        "interval": None if interval is None else [round(edge, 6) for edge in interval],
        "p": p_of_more(differences, by),
    }


def _with_verdicts(claims):
    """Claims with `p_holm`, over all that have more than one seed, and the verdict: a claim shows
    where that is below CHANCE, and other streets would have said so too.
    """
    told = [claim for claim in claims if claim["p"] is not None]
    for claim, raised in zip(told, holm([claim["p"] for claim in told]), strict=True):
        claim["p_holm"] = round(raised, 6)
    return [{**claim, "verdict": _verdict(claim)} for claim in claims]


def _verdict(claim):
    if claim["p"] is None:
        return "one seed only"
    streets = claim["over_streets"]
    if claim["p_holm"] < CHANCE and (streets is None or streets[0] > claim["by"]):
        return "shows"
    if claim["interval"][1] < claim["by"]:
        return "does not show"
    return "within the spread of the seeds"


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
