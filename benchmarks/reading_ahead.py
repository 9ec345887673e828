#!/usr/bin/env python3
"""Reading scans ahead of a training: not at all, by threads, or by the processes of a DataLoader.

    python benchmarks/reading_ahead.py RECIPE --data DIR [--steps N] [--readers N]

The same steps of the recipe, each way in a process of its own, one thread for torch. Scans are a
pure function of (seed, number), so every way must give the same losses; printed are steps a second
and CPU seconds a step, readers included.
"""

import argparse
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

WARM_UP = 3  # steps that are not timed
WAYS = ("when asked", "threads", "processes")


class Ahead:
    """`Samples.of` through the processes of a DataLoader."""

    def __init__(self, samples: Any, numbers: Sequence[int], readers: int) -> None:
        from torch.utils.data import DataLoader

        self.draw = samples.draw
        self._numbers = iter(numbers)
        loader = DataLoader(
            self,
            sampler=numbers,
            batch_size=None,
            num_workers=readers,
            prefetch_factor=4,
            collate_fn=lambda sample: sample,
            multiprocessing_context="fork",
        )
        self._read = iter(loader)

    def __len__(self) -> int:
        return 1

    def __getitem__(self, number: int) -> Any:
        return self.draw(number)

    def of(self, items: Sequence[int], later: Sequence[Sequence[int]] = ()) -> list[Any]:
        """The Samples of these numbers, which must come in order."""
        assert list(items) == [next(self._numbers) for _ in items]
        return [next(self._read) for _ in items]


def measure(way: str, recipe_path: str, data: str, steps: int, readers: int) -> dict[str, Any]:
    """Steps a second, CPU seconds a step and losses of one way."""
    import torch

    from cmdfusion_ros.training.losses import class_weights_from_counts
    from cmdfusion_ros.training.recipe import load_recipe
    from cmdfusion_ros.training.trainer import Trainer

    torch.set_num_threads(1)
    recipe = load_recipe(Path(recipe_path))
    recipe = replace(recipe, steps=steps, start_from="", start_partly=False, save_every=steps)
    with tempfile.TemporaryDirectory() as out:
        workers = readers if way == "threads" else 0
        trainer: Any = Trainer(recipe, Path(data), Path(out) / "run", workers=workers)
        if way == "processes":
            numbers = range(recipe.batch_size * (steps + 2))
            trainer.samples = Ahead(trainer.samples, numbers, readers)
        weights = class_weights_from_counts(trainer.counts, recipe.class_weight_power)
        losses, started, cpu = [], 0.0, 0.0
        for step in range(steps):
            if step == WARM_UP:
                started, cpu = time.monotonic(), _cpu_seconds()
            losses.append(float(trainer._train_step(weights)["loss"]))
            trainer.step += 1
        seconds = time.monotonic() - started
    timed = steps - WARM_UP
    return {"rate": timed / seconds, "cpu_s": (_cpu_seconds() - cpu) / timed, "losses": losses}


def _cpu_seconds() -> float:
    """Of this process and of its children, those that still run included (Linux)."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = used.ru_utime + used.ru_stime
    for child in multiprocessing.active_children():
        words = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        seconds += (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
    return seconds


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", metavar="RECIPE")
    parser.add_argument("--data", required=True, metavar="DIR")
    parser.add_argument("--steps", type=int, default=40, metavar="N")
    parser.add_argument("--readers", type=int, default=1, metavar="N")
    args = parser.parse_args(arguments)
    found = {}
    for way in WAYS:
        fresh = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=fresh) as pool:
            words = (way, args.recipe, args.data, args.steps, args.readers)
            found[way] = pool.submit(measure, *words).result()
        print(
            f"{way:12} {found[way]['rate']:6.2f} steps a second, "
            f"{found[way]['cpu_s']:.3f} CPU s a step",
            flush=True,
        )
    same = all(each["losses"] == found[WAYS[0]]["losses"] for each in found.values())
    print("losses equal" if same else "LOSSES DIFFER")
    return 0 if same else 1


if __name__ == "__main__":
    raise SystemExit(main())
