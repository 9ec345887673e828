"""The claims of the papers, repeated: which runs are trained, what is measured of each, and what
the figures say.

A file of config/ablation/ holds one recipe, the changes that make a run of it, rows (what is
measured of which run) and claims (which row should be better than which). Every run is a folder
OUT/<run>_<seed> with what `Trainer` writes and `scores.json`; what is there is not made again, and
refused where the file now says otherwise.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cmdfusion_ros.checkpoint.file import Checkpoint, load_checkpoint
from cmdfusion_ros.config import (
    SettingsError,
    load_yaml,
    nearest_name,
    settings_from_dict,
    settings_to_dict,
)
from cmdfusion_ros.data.readers.data_settings import DataSettings
from cmdfusion_ros.evaluation.evaluate import evaluate
from cmdfusion_ros.inference import Segmenter
from cmdfusion_ros.training.recipe import Recipe, load_recipe
from cmdfusion_ros.training.samples import shown
from cmdfusion_ros.training.street_counts import StreetCounts
from cmdfusion_ros.training.trainer import NETWORK, RECIPE, STATE, Trainer

SCORES = "scores.json"
ANSWERS = ("own", "knowledge")
_OPTIONAL = {"based_on", "worlds", "curve", "claims", "gates", "least_things"}
_KEYS = {"name", "seeds", "hard", "test", "recipe", "runs", "rows"} | _OPTIONAL
# of CMDFusion: what has the same shape on either side
_BRANCHES = (("lidar.", "knowledge."), ("to_lidar.", "to_knowledge."), ("head.", "knowledge_head."))


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        row: its letter. title: what it is. run: the run that is measured.
        answer: "own", or "knowledge": the head of CMDFusion's knowledge branch, which sees points
            alone.
        cameras: how many are live; None = all.
    """

    row: str
    title: str
    run: str
    answer: str = "own"
    cameras: int | None = None


@dataclass(frozen=True)
class Claim:
    """`better` is more than `by` above `than`, in "miou" or in the mean of the "hard" classes."""

    title: str
    better: str
    than: str
    by: float = 0.0
    of: str = "miou"


@dataclass(frozen=True)
class Gate(Claim):
    """A claim that must hold, seeds together, before any run of `before` is trained: a teacher that
    is no better than its student has nothing to teach.
    """

    before: tuple[str, ...] = ()


class Ablation:
    """One file of config/ablation/.

    Attributes:
        name, seeds, hard (names of classes), worlds (dicts, see `cli/ablation.py`), test
        (DataSettings), rows, claims, gates; runs: names in the order of training;
        curve: runs whose mIoU is drawn against live cameras; least_things: of a hard class in
        the test, for it to count.

    `based_on: other.yaml` in the file, a name beside it: what it does not say is as it is there.

    Raises:
        SettingsError: naming file and place.
    """

    def __init__(self, path: str | Path):
        values = _whole(path)
        unknown = sorted(set(values) - _KEYS)
        if unknown:
            raise SettingsError(f"{path}: {unknown[0]}: unknown{nearest_name(unknown[0], _KEYS)}")
        missing = sorted(_KEYS - _OPTIONAL - set(values))
        if missing:
            raise SettingsError(f"{path}: expected {', '.join(sorted(_KEYS))}, got no {missing[0]}")
        self.name, self.seeds, self.hard = values["name"], values["seeds"], tuple(values["hard"])
        self.least_things = values.get("least_things", 0)
        self.worlds, self.curve = values.get("worlds", []), tuple(values.get("curve", ()))
        self.test = settings_from_dict(DataSettings, values["test"], where=f"{path}: test.")
        self._recipe, self._changes = (
            values["recipe"],
            {run: dict(changes or {}) for run, changes in values["runs"].items()},
        )
        self._seeds_of = {
            run: changes.pop("seeds")
            for run, changes in self._changes.items()
            if "seeds" in changes
        }
        for what, number in (
            ("seeds", self.seeds),
            *((f"runs: {run}: seeds", number) for run, number in self._seeds_of.items()),
        ):
            if not isinstance(number, int) or number < 1:
                raise SettingsError(
                    f"{path}: {what}: expected a number of seeds, 1 or more, got {number!r}"
                )
        if self.test.repeat != 1:
            raise SettingsError(f"{path}: test.repeat: every scan is scored once; leave it out")
        self.runs = tuple(self._changes)
        self.rows = tuple(_made(Row, entry, f"{path}: rows") for entry in values["rows"])
        self.claims = tuple(
            _made(Claim, entry, f"{path}: claims") for entry in values.get("claims", ())
        )
        self.gates = tuple(
            _made(Gate, entry, f"{path}: gates") for entry in values.get("gates", ())
        )
        behind = (run for gate in self.gates for run in gate.before)
        for run in (*self.curve, *(row.run for row in self.rows), *behind):
            if run not in self.runs:
                raise SettingsError(f"{path}: run {run!r} of a row{nearest_name(run, self.runs)}")
        for row in self.rows:
            if row.answer not in ANSWERS:
                raise SettingsError(
                    f"{path}: row {row.row}: answer: expected {' or '.join(ANSWERS)}, got "
                    f"{row.answer!r}"
                )
        known = {row.row for row in self.rows}
        for claim in (*self.claims, *self.gates):
            if not {claim.better, claim.than} <= known or claim.of not in ("miou", "hard"):
                raise SettingsError(
                    f"{path}: claim {claim.title!r}: expected rows of {', '.join(sorted(known))} "
                    "and miou or hard"
                )
        for run in self.runs:
            self.recipe(run, 0, "")

    def has_seed(self, run: str, seed: int) -> bool:
        """Whether a run is trained with this seed: one whose changes say `seeds: N` is with 0 to
        N - 1 alone.
        """
        return seed < self._seeds_of.get(run, seed + 1)

    def recipe(self, run: str, seed: int, out: str | Path) -> Recipe:
        """The Recipe of a run; a path "@x" in it becomes that of the network of run x under
        `out`, of the same seed, or of x's last one where it has fewer.
        """
        merged = _merged(self._recipe, self._changes[run])

        def found(path):
            if not path.startswith("@"):
                return path
            if path[1:] not in self.runs:
                raise SettingsError(
                    f"run {run}: {path}: no such run{nearest_name(path[1:], self.runs)}"
                )
            theirs = min(seed, self._seeds_of.get(path[1:], seed + 1) - 1)
            return str(folder_of(Path(out).resolve(), path[1:], theirs) / NETWORK)

        values = {**merged, "name": run, "seed": seed}
        if "distill" in merged:
            values["distill"] = [
                {**each, "path": found(each["path"])} if "path" in each else each
                for each in merged["distill"]
            ]
        values.update(
            {key: found(merged[key]) for key in ("image_weights", "start_from") if key in merged}
        )
        return settings_from_dict(Recipe, values, where=f"run {run}: ")

    def measured(self, run: str) -> tuple[str, ...]:
        """Which answers of a run the rows ask for."""
        return tuple(dict.fromkeys(row.answer for row in self.rows if row.run == run))


def folder_of(out: str | Path, run: str, seed: int) -> Path:
    """Where a run lies."""
    return Path(out) / f"{run}_{seed}"


def do_run(
    ablation: Ablation,
    run: str,
    seed: int,
    data_folder: str | Path,
    out: str | Path,
    workers: int = 0,
    progress: bool = True,
) -> dict[str, Any]:
    """Train a run, or go on with it, and score it, unless it has been. Returns what its scores.json
    holds: {answer: what `evaluate` gives, "test": settings}. `progress`: show the steps' bar.

    Raises:
        ValueError: the folder holds a run of another recipe, or scores of other scans or answers.
    """
    folder, recipe, test = (
        folder_of(out, run, seed),
        ablation.recipe(run, seed, out),
        settings_to_dict(ablation.test),
    )
    if (folder / SCORES).exists():
        scores = json.loads((folder / SCORES).read_text())
        if _wherever(load_recipe(folder / RECIPE)) != _wherever(recipe):
            raise ValueError(
                f"{folder}: was trained with another recipe than {run} has now; move the folder "
                "away to train it again"
            )
        if scores.get("test") != test or not set(ablation.measured(run)) <= set(scores):
            raise ValueError(
                f"{folder / SCORES}: holds scores of other scans or answers than the file asks "
                "for now; remove it to score the run again"
            )
        return scores
    trainer = Trainer(
        recipe, data_folder, folder, resume=(folder / STATE).exists(), workers=workers
    )
    checkpoint = load_checkpoint(trainer.run(progress))
    scores = {
        **{
            answer: _scored(ablation, recipe, checkpoint, answer, data_folder)
            for answer in ablation.measured(run)
        },
        "test": test,
    }
    unfinished = folder / f"{SCORES}.part"
    unfinished.write_text(json.dumps(scores, indent=1) + "\n")
    unfinished.replace(folder / SCORES)
    return scores


def _wherever(recipe):
    """Plain values of a Recipe in which networks of other runs lie beside it, wherever the
    folder of all runs has been moved to.
    """
    values = settings_to_dict(recipe)
    for holder, key in (
        (values, "image_weights"),
        (values, "start_from"),
        *((each, "path") for each in values["distill"]),
    ):
        if Path(holder[key]).is_absolute():
            holder[key] = "/".join(Path(holder[key]).parts[-2:])
    return values


def _scored(ablation, recipe, checkpoint, answer, data_folder):
    if answer == "knowledge":
        checkpoint = with_branches_swapped(checkpoint)
    segmenter = Segmenter(checkpoint, images="on")
    test = replace(ablation.test, images=segmenter.uses_images)
    scans = test.open(data_folder, segmenter.class_map, poses=recipe.view.kind != "single")
    streets = StreetCounts(segmenter.class_map)
    frames = shown(scans, recipe.view, segmenter.class_map)
    return {
        **evaluate(segmenter, frames, max_subsets=3, watch=streets),
        "by_street": streets.to_dict(),
    }


def with_branches_swapped(checkpoint: Checkpoint) -> Checkpoint:
    """A `cmdfusion` Checkpoint whose answer is that of the knowledge branch: either side of the
    network is made of the same parts, so they change places.
    """
    if checkpoint.model_config.network != "cmdfusion":
        raise ValueError(
            f"{checkpoint.source}: expected a cmdfusion network, whose branches can change "
            f"places, got {checkpoint.model_config.network}"
        )
    weights = {}
    for name, tensor in checkpoint.weights.items():
        for one, other in (*_BRANCHES, *(pair[::-1] for pair in _BRANCHES)):
            if name.startswith(one):
                name = other + name[len(one) :]
                break
        weights[name] = tensor
    return Checkpoint(
        weights, checkpoint.model_config, checkpoint.class_map, checkpoint.card, checkpoint.source
    )


def _whole(path):
    values = load_yaml(path)
    if "based_on" not in values:
        return values
    other = str(values.pop("based_on"))
    base = load_yaml(Path(path).parent / other)
    if "based_on" in base:
        raise SettingsError(f"{path}: based_on: {other} is based on another file itself")
    return _merged(base, values)


def _merged(base, changes):
    """`base` with `changes` put into it, mapping by mapping; anything else is replaced."""
    result = dict(base)
    for key, value in changes.items():
        result[key] = (
            _merged(result[key], value)
            if isinstance(value, dict) and isinstance(result.get(key), dict)
            else value
        )
    return result


def _made(kind, entry, where):
    try:
        return kind(**entry)
    except TypeError as error:
        raise SettingsError(f"{where}: {entry}: {error}") from error
