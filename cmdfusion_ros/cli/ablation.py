"""`cmdfusion ablation`: train and score every row of the table that says which of the papers'
claims hold, and draw it.

Everything that is there already is kept, so it can be stopped and started again; several of it may
run side by side with other --seeds or --runs.
"""

import argparse
import json
import shutil
from pathlib import Path

from cmdfusion_ros.cli.runs.figures import add_json_option, write_figures
from cmdfusion_ros.cli.runs.options import add_work_options, use_threads
from cmdfusion_ros.cli.runs.quiet import is_quiet, say_step
from cmdfusion_ros.cli.runs.terminal import ScanProgress
from cmdfusion_ros.config import settings_from_dict
from cmdfusion_ros.data.synthetic.rendering import available_cores, write_folders
from cmdfusion_ros.data.synthetic.sequence import SequenceSettings
from cmdfusion_ros.training.ablation import SCORES, Ablation, do_run, folder_of
from cmdfusion_ros.training.ablation_pictures import draw_ablation, markdown_table
from cmdfusion_ros.training.ablation_summary import refuse_closed_gates, summary

_BEGUN = ".begun"
_MADE = ".made"  # in a made-up street's folder: what it was made with


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        "ablation",
        help="repeat the papers' claims",
        description=__doc__,
        examples=(
            "cmdfusion ablation config/ablation/street_short.yaml --data made_up --out runs/short",
            "cmdfusion ablation config/ablation/street_short.yaml --data made_up --out runs/short "
            "--seeds 0 --runs base --threads 2",
        ),
    )
    parser.add_argument(
        "config", metavar="ABLATION.yaml", help="which runs, rows and claims; see config/ablation/"
    )
    parser.add_argument(
        "--data",
        required=True,
        metavar="DIR",
        help="folder of the data; made-up streets that it lacks are made there",
    )
    parser.add_argument(
        "--out",
        required=True,
        metavar="DIR",
        help="folder of the runs, and of ablation.json, ablation.md and the pictures",
    )
    parser.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        metavar="N",
        help="seeds to train now (default: 0 to what the file says)",
    )
    parser.add_argument(
        "--runs",
        nargs="+",
        metavar="NAME",
        help=(
            "runs to train now, in this order (default: all); those that they learn from must be "
            "there"
        ),
    )
    add_work_options(parser)
    parser.add_argument(
        "--past-gates",
        action="store_true",
        help="train students of teachers that failed theirs too",
    )
    add_json_option(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Train what is missing, then print the table; returns 0."""
    use_threads(args)
    ablation = Ablation(args.config)
    for name in args.runs or ():
        if name not in ablation.runs:
            raise ValueError(f"--runs: expected some of {', '.join(ablation.runs)}, got {name}")
    for world in ablation.worlds:
        _make_world(Path(args.data), **world)
    all_seeds = sorted(set(range(ablation.seeds)) | set(args.seeds or ()))
    for seed in args.seeds or all_seeds:
        for name in args.runs or ablation.runs:
            if not ablation.has_seed(name, seed):
                continue
            if not (folder_of(args.out, name, seed) / SCORES).exists():
                say_step(f"{name}, seed {seed}")
                if not args.past_gates:
                    refuse_closed_gates(ablation, name, args.out, all_seeds)
            do_run(ablation, name, seed, args.data, args.out, args.workers, not is_quiet())
            result = _write(ablation, args, all_seeds)
    print(markdown_table(result))
    return 0


def _write(ablation, args, seeds):
    result = summary(ablation, args.out, seeds)
    for path in (str(Path(args.out) / "ablation.json"), args.json):
        write_figures(path, result)
    (Path(args.out) / "ablation.md").write_text(markdown_table(result) + "\n")
    draw_ablation(result, Path(args.out))
    return result


def _make_world(data, folder, seed, sequences, scans, settings):
    """Make a made-up street where it is not there yet; ValueError where another one is."""
    out, made = data / folder, json.dumps([seed, sequences, scans, settings])
    mark = out / _MADE
    if mark.exists():
        if mark.read_text() != made:
            raise ValueError(
                f"{out}: holds streets made otherwise ({mark.read_text()}); give another --data, "
                "or delete that folder"
            )
        return
    begun = out / _BEGUN
    if begun.exists():  # not finished, maybe by another file: their scans would mix
        shutil.rmtree(out)
    elif out.exists() and any(out.iterdir()):
        raise ValueError(
            f"{out}: holds what this command did not make; give another --data, or move it away"
        )
    out.mkdir(parents=True, exist_ok=True)
    begun.write_text(made)
    names, progress = (
        [f"{number:02d}" for number in range(sequences)],
        ScanProgress(sequences * scans),
    )
    for count in write_folders(
        out,
        seed,
        names,
        scans,
        settings_from_dict(SequenceSettings, settings),
        True,
        available_cores(),
    ):
        progress.add(count)
    progress.finish()
    begun.replace(mark)
