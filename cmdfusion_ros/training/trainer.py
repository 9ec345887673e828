"""The training loop. A run is a folder: recipe, log, curve, the state it resumes from, and the
network.

Everything random in a step is drawn from (seed, step), so a run that was killed and resumed gives
the same weights as one that was not (on one
machine, with the same number of threads: sums in another order differ in their last bit).
"""

import copy
import os
import time
from collections.abc import Iterable
from contextlib import nullcontext
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from cmdfusion_ros.checkpoint.file import load_checkpoint, save_checkpoint
from cmdfusion_ros.class_map import ClassMap, load_class_map
from cmdfusion_ros.config import save_settings, settings_from_dict, settings_to_dict
from cmdfusion_ros.evaluation.metrics import score
from cmdfusion_ros.frame import IGNORE_LABEL, Frame
from cmdfusion_ros.inference import Segmenter
from cmdfusion_ros.models import build_network, grid_of
from cmdfusion_ros.sparse.backends import choose_backend, use_backend
from cmdfusion_ros.sparse.memory import keep_freed_memory
from cmdfusion_ros.training.curves import draw_curves
from cmdfusion_ros.training.losses import class_weights_from_counts
from cmdfusion_ros.training.moving_average import MovingAverage
from cmdfusion_ros.training.objective import Objective, mean_row
from cmdfusion_ros.training.provenance import kept_of, refuse_overlap, refuse_that_saw
from cmdfusion_ros.training.recipe import Recipe
from cmdfusion_ros.training.replicas import Processes
from cmdfusion_ros.training.run_log import RunLog
from cmdfusion_ros.training.samples import Samples, shown
from cmdfusion_ros.training.schedule import learning_rate_at, make_optimizer
from cmdfusion_ros.training.starting_weights import (
    freeze,
    start_from,
    start_images_from,
    still,
)
from cmdfusion_ros.training.stopping import StopSignals
from cmdfusion_ros.training.teacher_scores import score_teachers

# network, average, optimiser, step: read with weights_only, so it holds nothing but tensors and
# plain values
STATE = "state.pt"
NETWORK = "network.safetensors"  # the checkpoint, of the averaged weights
LOG = "log.jsonl"
CURVES = "curves.png"
RECIPE = "recipe.yaml"
_PARTS_AHEAD = 3  # that reading threads have in work


class Trainer:
    """One training run.

    Args:
        recipe: a Recipe.
        data_folder: what the recipe's data roots are relative to.
        out: folder of the run; made where absent.
        device: "cpu", "cuda", ...
        resume: go on from the last save in `out`, or, where it was stopped before it saved
            anything, from the start (`starts_over`); otherwise `out` must not hold a run.
        workers: threads that read scans ahead.
        tensorboard: log for TensorBoard too, into `out`.

    Under torchrun every process makes one; the first of them writes the files.

    Raises:
        FileExistsError: `out` holds a run and `resume` is False. FileNotFoundError: `resume` and it
            holds none.
        ValueError: the run in `out` was made with another recipe; a teacher has nothing to teach
            here.
    """

    def __init__(
        self,
        recipe: Recipe,
        data_folder: str | Path,
        out: str | Path,
        device: str = "cpu",
        resume: bool = False,
        workers: int = 0,
        tensorboard: bool = False,
    ):
        self.recipe, self.out, self.device = recipe, Path(out), torch.device(device)
        self.starts_over = resume and (self.out / RECIPE).exists() and not self._has_saved
        resume = resume and not self.starts_over
        self.class_map = load_class_map(recipe.class_map)
        self.scans = recipe.open_training(data_folder, self.class_map)
        self.validation_scans = (
            recipe.validation.open(data_folder, self.class_map, recipe.needs_poses)
            if recipe.validation.sequences
            else None
        )
        refuse_overlap(self.scans, self.validation_scans)
        self.processes = Processes.from_environment(self.device)
        if recipe.parts % self.processes.size:
            raise ValueError(
                f"recipe: parts is {recipe.parts}, which {self.processes.size} processes cannot "
                "share; make it a multiple of them"
            )
        if self.device.type == "cpu":
            keep_freed_memory()
        torch.manual_seed(recipe.seed)
        network = build_network(recipe.model, self.class_map.num_classes).to(self.device)
        self.started_from = None  # what the checkpoint that training started from says of itself
        if recipe.image_weights and not resume:
            self.started_from = start_images_from(Path(data_folder) / recipe.image_weights, network)
        if recipe.start_from and not resume:
            start = recipe.start_path(data_folder)
            self.started_from = start_from(start, network, recipe, self.class_map)
        freeze(network, recipe.frozen)
        self.network = use_backend(network, choose_backend("auto", self.device, training=True).name)
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.grid = grid_of(recipe.model)
        self.objective = Objective(recipe, data_folder, self.class_map, self.grid, self.device)
        for card in self.objective.teachers:
            refuse_that_saw(self.validation_scans, card, "distill: the teacher")
        if self.started_from is not None:
            refuse_that_saw(
                self.validation_scans, self.started_from, "recipe: the network to start from,"
            )
        self.samples = Samples(self.scans, recipe, self.class_map, workers)
        if recipe.distill:
            self.objective.prepare(self.network, self.average, self._telling_sample())
        learnt = [one for one in self.network.parameters() if one.requires_grad]
        self.parameters = [*learnt, *self.objective.parameters()]
        self.optimizer = make_optimizer(recipe, self.parameters)
        self.step = 0
        self.counts = None  # (C,) labelled points of each class in the training scans
        self.validation = None  # last scores
        self._start(resume, tensorboard)
        self._mean = MovingAverage(self.average, self.network, recipe.ema_decay)

    def _start(self, resume, tensorboard):
        if resume:
            state_path = self.out / STATE
            if not state_path.exists():
                raise FileNotFoundError(
                    f"{state_path}: no run to resume; leave --resume out to start one"
                )
            self._load_state(state_path)
        else:
            if self._has_saved:
                raise FileExistsError(
                    f"{self.out}: holds a run; go on with --resume, or give another folder"
                )
            self.counts = count_labels(self.scans, self.class_map.num_classes)
        self.processes.wait()
        self.log = None
        if self.processes.is_first:
            self.out.mkdir(parents=True, exist_ok=True)
            save_settings(self.recipe, self.out / RECIPE)
            self.log = RunLog(self.out / LOG, self.out if tensorboard else None)
            if (self.out / LOG).exists():
                # without `resume` that of a run that was killed before it saved anything
                self.log.cut(self.step)

    @property
    def _has_saved(self):
        return (self.out / STATE).exists() or (self.out / NETWORK).exists()

    def _telling_sample(self):
        """The first scan to which every teacher's view adds something; ValueError where there is
        none: such a teacher would be the student.
        """
        telling = [
            number for number, each in enumerate(self.recipe.distill) if each.view.kind != "single"
        ]
        for index in range(len(self.scans)):
            sample = self.samples.plain(index)
            if all(
                sample.teacher_frames[number].num_points > sample.frame.num_points
                for number in telling
            ):
                return sample
        views = ", ".join(self.recipe.distill[number].view.kind for number in telling)
        raise ValueError(
            f"distill: {views} adds no point to any of the {len(self.scans)} training scans; are "
            "there earlier scans, instance ids, such classes?"
        )

    def run(self, progress: bool = True) -> Path:
        """Train to the last step, saving as the recipe says. Returns the path of the finished
        checkpoint. Ctrl-C lets the step at hand end, saves, and raises KeyboardInterrupt; one of
        several processes stops at once and saves nothing.
        """
        weights = class_weights_from_counts(self.counts, self.recipe.class_weight_power).to(
            self.device
        )
        hidden = not (progress and self.processes.is_first)
        alone = self.processes.size == 1
        with (
            StopSignals() if alone else nullcontext() as stop,
            tqdm(
                total=self.recipe.steps,
                initial=self.step,
                unit="step",
                disable=hidden,
                smoothing=0.05,
            ) as bar,
        ):
            while self.step < self.recipe.steps:
                row = self._train_step(weights)
                self.step += 1
                if self.log is not None:
                    self.log.write({"step": self.step, **row})
                bar.set_postfix(loss=f"{row['loss']:.3f}", **self._validated())
                bar.update()
                self._after_step(stop is not None and stop.asked)
                if stop is not None and stop.asked and self.step < self.recipe.steps:
                    raise KeyboardInterrupt
        return self.out / NETWORK

    def _validated(self):
        miou = (self.validation or {}).get("miou")
        return {} if miou is None else {"mIoU": f"{100 * miou:.1f}"}

    def _train_step(self, class_weights):
        started = time.monotonic()
        recipe = self.recipe
        rate = learning_rate_at(self.step, recipe.steps, recipe.learning_rate, recipe.warm_up)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        self.network.train()
        still(self.network, recipe.frozen)
        rows, names = self._add_gradients(class_weights)
        self.processes.sum_gradients(self.parameters)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, recipe.gradient_clip)
        row = mean_row([one for each in self.processes.gather(rows) for one in each])
        if not np.isfinite(row["loss"]) or not torch.isfinite(norm):
            where = ", ".join(names)
            raise FloatingPointError(
                f"step {self.step}: loss {row['loss']}, gradient norm {norm.item()} on {where}; "
                "lower learning_rate, then --resume"
            )
        self.optimizer.step()
        self._mean.update(self.step)
        return {
            **row,
            "learning_rate": rate,
            "gradient_norm": norm.item(),
            "seconds": round(time.monotonic() - started, 3),
        }

    def _add_gradients(self, class_weights):
        """Run this process's parts of the batch. Every part starts from the same statistics of the
        normalisations, which then become the mean over all parts,
        so that it does not matter who runs which. Returns the rows and the names of the scans."""
        parts, rows, names = self.recipe.parts, [], []
        statistics = (
            [buffer for buffer in self.network.buffers() if buffer.is_floating_point()]
            if parts > 1
            else []
        )
        before = [buffer.clone() for buffer in statistics]
        sums = [torch.zeros_like(buffer) for buffer in statistics]
        for part in range(self.processes.rank, parts, self.processes.size):
            for buffer, start in zip(statistics, before, strict=True):
                buffer.copy_(start)
            samples = self.samples.of(*self._items(part))
            torch.manual_seed(self.recipe.seed * 1_000_003 + self.step + part * 500_000_003)
            loss, row = self.objective(self.network, self.average, samples, class_weights)
            (loss / parts).backward()
            rows.append(row)
            names += [sample.frame.name for sample in samples]
            for total, buffer in zip(sums, statistics, strict=True):
                total += buffer / parts
        self.processes.sum_tensors(sums)
        for buffer, total in zip(statistics, sums, strict=True):
            buffer.copy_(total)
        return rows, names

    def _items(self, part):
        """Numbers of the items of a part of this step, and those of the parts that this process
        runs next.
        """
        size, parts = self.recipe.batch_size // self.recipe.parts, self.recipe.parts
        turns = range(self.step * parts + part, self.recipe.steps * parts, self.processes.size)[
            : 1 + _PARTS_AHEAD
        ]
        items = [tuple(range(turn * size, (turn + 1) * size)) for turn in turns]
        return items[0], items[1:]

    def _after_step(self, stops):
        done = self.step == self.recipe.steps
        due = self.recipe.validate_every and self.step % self.recipe.validate_every == 0
        if not (done or stops or self.step % self.recipe.save_every == 0 or due):
            return
        if self.processes.is_first:
            self._save_network()
            if self.validation_scans is not None and (done or due):
                self._validate()
                self._save_network()  # again, now with the scores on its card
            self._save_state()
            draw_curves(self.out / LOG, self.out / CURVES)
        self.processes.wait()

    def _validate(self):
        segmenter = Segmenter(
            load_checkpoint(self.out / NETWORK), device=str(self.device), images="on"
        )
        frames = shown(self.validation_scans, self.recipe.view, self.class_map)
        self.validation = score(segmenter.segment, frames, self.class_map).to_dict()
        if self.step == self.recipe.steps and self.objective.teachers:
            view, grid = self.recipe.view, self.grid
            scores = score_teachers(
                self.objective.distillers, segmenter, view, self.validation_scans, grid
            )
            self.validation["teachers"] = scores
        self.log.write({"step": self.step, "validation": self.validation})

    def card(self) -> dict[str, Any]:
        """What a checkpoint says of itself."""
        card = {
            "name": self.recipe.name,
            "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
            "trained_on": list(self.scans.names),
            "training_points": {
                name: int(count)
                for name, count in zip(self.class_map.names, self.counts, strict=True)
            },
            "steps": self.step,
            "recipe": settings_to_dict(self.recipe, only_changed=True),
            "licence": self.recipe.licence,
            "attribution": self.recipe.attribution,
        }
        if self.started_from is not None:
            card["started_from"] = self.started_from
        if self.objective.teachers:
            card["teachers"] = [kept_of(teacher) for teacher in self.objective.teachers]
        if self.validation is not None:
            card["validation"] = {"scans": list(self.validation_scans.names), **self.validation}
        return card

    def _save_network(self):
        recipe, path = self.recipe, self.out / NETWORK
        save_checkpoint(
            path, self.average, recipe.model, self.class_map, self.card(), recipe.halved
        )

    def _save_state(self):
        state = {
            "recipe": settings_to_dict(self.recipe),
            "class_map": self.class_map.to_dict(),
            "step": self.step,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "objective": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "counts": self.counts.tolist(),
            "validation": self.validation,
            "started_from": self.started_from,
        }
        part = self.out / f"{STATE}.part"
        torch.save(state, part)
        os.replace(part, self.out / STATE)  # whole or not at all, even when killed now

    def _load_state(self, path):
        state = torch.load(path, map_location=self.device, weights_only=True)
        ours = settings_to_dict(self.recipe)
        # settings that are newer than the run have their default
        theirs = settings_to_dict(settings_from_dict(Recipe, state["recipe"], where=f"{path}: "))
        changed = sorted(key for key in ours if ours[key] != theirs[key])
        if changed:
            raise ValueError(
                f"{path}: made with another recipe ({', '.join(changed)} differ); train it into "
                "another folder"
            )
        if ClassMap.from_dict(state.get("class_map", self.class_map.to_dict())) != self.class_map:
            raise ValueError(
                f"{path}: made with other classes than {self.recipe.class_map} has now; train them "
                "into another folder"
            )
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        # newer than some runs, which had none
        self.objective.load_state_dict(state.get("objective", {}))
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.validation = state["step"], state["validation"]
        self.started_from = state.get("started_from")  # newer than some runs
        self.counts = np.array(state["counts"], np.int64)


def count_labels(scans: Iterable[Frame], num_classes: int) -> np.ndarray:
    """(C,) int64, labelled points of each class in some Frames."""
    counts = np.zeros(num_classes, np.int64)
    for frame in scans:
        counts += np.bincount(frame.labels[frame.labels != IGNORE_LABEL], minlength=num_classes)
    return counts
