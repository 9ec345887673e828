"""`cmdfusion train RECIPE.yaml --out DIR`: train a network as a recipe says. Without a recipe,
`cmdfusion train --data DIR --classes FILE --out RUN` writes one that fine-tunes the weights that
ship on the labelled scans of a folder, and trains it.

Several processes share the parts of each step: torchrun --nproc_per_node 2 -m cmdfusion_ros train
RECIPE.yaml --out DIR, with `parts: 2` in the recipe.
"""

import argparse
import os
from pathlib import Path

import torch

from cmdfusion_ros.cli.runs.figures import add_json_option, write_figures
from cmdfusion_ros.cli.runs.options import add_device_option, add_work_options, use_threads
from cmdfusion_ros.cli.runs.quiet import is_quiet
from cmdfusion_ros.training.own_recipe import own_recipe
from cmdfusion_ros.training.recipe import SHIPPED, load_recipe
from cmdfusion_ros.training.starting_weights import told_start
from cmdfusion_ros.training.teacher_scores import told
from cmdfusion_ros.training.trainer import CURVES, LOG, Trainer


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        "train",
        help="train a network",
        description=__doc__,
        examples=(
            "cmdfusion train --data street --classes cmdfusion_ros/class_maps/street.yaml "
            "--dataset semantic_kitti --out runs/street",
            "cmdfusion train config/train/street_stream.yaml --out runs/stream --json stream.json",
        ),
    )
    parser.add_argument(
        "recipe",
        metavar="RECIPE.yaml",
        nargs="?",
        help="what to train, on what and how; see config/train/ (default: see --classes)",
    )
    parser.add_argument(
        "--classes",
        metavar="FILE",
        help="without a recipe: your classes (docs/own_data.md has an example), of which --data "
        "holds labelled scans in SemanticKITTI's layout; the recipe is written to OUT.yaml",
    )
    parser.add_argument(
        "--dataset",
        default="",
        metavar="NAME",
        help="with --classes: whose raw ids the labels hold (default: those of the classes)",
    )
    parser.add_argument(
        "--start",
        default=SHIPPED,
        metavar="WHAT",
        help="with --classes: what training starts from: shipped (the weights that ship, the "
        "default), nothing, or the file of a checkpoint, such as that of your last training",
    )
    parser.add_argument(
        "--data",
        default=".",
        metavar="DIR",
        help="folder that the recipe's data roots are relative to (default: here)",
    )
    parser.add_argument(
        "--out",
        required=True,
        metavar="DIR",
        help=(
            "folder of the run: log.jsonl, curves.png, network.safetensors, the state to resume "
            "from"
        ),
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on from the last save in --out (Ctrl-C saves), to the same weights as if it had "
        "never stopped",
    )
    add_device_option(parser)
    parser.add_argument(
        "--tensorboard", action="store_true", help="log for TensorBoard too, into --out"
    )
    add_json_option(parser, "where the checkpoint is, its steps and its scores")
    add_work_options(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Train; prints where the checkpoint is and how it scored. Returns 0, or 1 when training
    diverged.
    """
    recipe, written = _recipe(args)
    use_threads(args)
    device = args.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if device == "cuda" else device
    try:
        trainer = Trainer(
            recipe,
            args.data,
            args.out,
            device,
            args.resume,
            args.workers,
            args.tensorboard,
        )
    except Exception:  # the same command, set right, must find no other recipe
        if written is not None:
            written.unlink()
        raise
    if written is not None:
        print(
            f"recipe: {written} (change it and train it again: cmdfusion train {written} "
            "--data ...)"
        )
    if not trainer.processes.is_first:
        trainer.run(progress=False)
        return 0
    print(
        f"{trainer.recipe.name}: {len(trainer.scans)} training scans, "
        f"{trainer.recipe.steps - trainer.step} steps to go, log in {trainer.out / LOG}"
    )
    for line in told_start(recipe.start_from, trainer.started_from):
        print(line)
    if trainer.starts_over:
        print(f"{trainer.out}: the run there was stopped before it saved anything; it starts over")
    try:
        path = trainer.run(progress=not is_quiet())
    except KeyboardInterrupt:
        print(f"\nstopped and saved at step {trainer.step}; --resume goes on from there")
        raise
    except FloatingPointError as error:
        print(f"training diverged: {error}")
        return 1
    figures = {
        "checkpoint": str(path),
        "steps": trainer.step,
        "trained_on": list(trainer.scans.names),
        "validation": trainer.validation,
    }
    write_figures(args.json, figures)
    print(f"checkpoint: {path}\ncurves: {trainer.out / CURVES}")
    if trainer.validation is not None:
        print(
            f"mIoU on {len(trainer.validation_scans)} validation scans: "
            f"{100 * (trainer.validation['miou'] or 0):.1f}"
        )
    for entry in (trainer.validation or {}).get("teachers", ()):
        print(told(entry))
    return 0


def _recipe(args):
    """(the Recipe that is asked for, the file that was written for it with --classes or None)."""
    if (args.recipe is None) == (args.classes is None):
        raise ValueError(
            "train: expected a recipe, or --classes FILE to have one written, one of the two"
        )
    if args.recipe is not None:
        if args.dataset:
            raise ValueError("--dataset: goes with --classes; a recipe says train.dataset")
        if args.start != SHIPPED:
            raise ValueError("--start: goes with --classes; a recipe says start_from")
        return load_recipe(args.recipe), None
    path = Path(f"{args.out.rstrip('/')}.yaml")
    text = own_recipe(args.data, args.classes, args.dataset, args.start)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return load_recipe(path), path
    if path.read_text() != text:
        raise ValueError(
            f"{path}: there is another recipe of this name; train it (cmdfusion train {path}), or "
            "give another --out"
        )
    return load_recipe(path), None
