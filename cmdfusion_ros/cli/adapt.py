"""`cmdfusion adapt BAG [BAG ...] --teacher FILE --out NETWORK`: let a network learn from drives
that nobody labelled.

A 2D network labels the images, the labels go to the points that the cameras see and are carried
through the drive, and the network learns them, its own sure answers, and made-up streets, so that
nothing is forgotten. The end of each stretch of the drive is held out; only if the network agrees
better with the teacher there is it written to --out. See docs/adapt.md.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

from cmdfusion_ros.adaptation.adapt import (
    LESSONS,
    RUN,
    STREETS,
    VERDICT,
    judge,
    keep,
    plan_drive,
    save_adapted,
    train,
    training_recipe,
    verdict,
    write_lessons,
)
from cmdfusion_ros.adaptation.page import write_page
from cmdfusion_ros.adaptation.settings import AdaptSettings
from cmdfusion_ros.checkpoint.file import load_checkpoint
from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.cli.runs.drives import add_drive_arguments, open_drives
from cmdfusion_ros.cli.runs.figures import add_json_option, write_figures
from cmdfusion_ros.cli.runs.options import add_threads_option, use_threads
from cmdfusion_ros.cli.runs.quiet import is_quiet, say_step
from cmdfusion_ros.cli.runs.terminal import ScanProgress
from cmdfusion_ros.config import load_settings
from cmdfusion_ros.data.synthetic.rendering import available_cores, write_folders
from cmdfusion_ros.data.synthetic.sequence import SequenceSettings
from cmdfusion_ros.image_teachers.teacher import open_image_teacher
from cmdfusion_ros.inference import Segmenter, default_checkpoint_path

_RIGS = ("kitti", "pandaset", "nuscenes")  # whose streets are mixed where none are given


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        "adapt",
        help="let a network learn from a drive that nobody labelled",
        description=__doc__,
        examples=(
            "cmdfusion adapt demo_output/street --teacher teacher.onnx --out adapted.safetensors",
            "cmdfusion adapt demo_output/street --teacher teacher.onnx --out adapted_2.safetensors "
            "--steps 1200",
        ),
    )
    parser.add_argument(
        "drives",
        nargs="+",
        metavar="DRIVE",
        help="bags, or folders in the layout of SemanticKITTI, nuScenes or PandaSet",
    )
    parser.add_argument(
        "--teacher", required=True, metavar="FILE", help="2D network, .onnx or .tflite"
    )
    parser.add_argument("--out", required=True, metavar="FILE.safetensors", help="network to make")
    parser.add_argument(
        "--checkpoint",
        default="",
        metavar="FILE",
        help="network to begin with (default: the one shipped)",
    )
    parser.add_argument("--settings", metavar="FILE.yaml", help="AdaptSettings, see docs/adapt.md")
    parser.add_argument("--steps", type=int, metavar="N", help="training steps (default: 600)")
    parser.add_argument("--streets", metavar="DIR", help="made-up streets of `cmdfusion world` to "
                        "learn again (default: made here)")  # fmt: skip
    parser.add_argument("--work", metavar="DIR", help="folder for what is made; a run that "
                        "was stopped goes on there (default: OUT without its ending)")  # fmt: skip
    add_json_option(parser)
    add_threads_option(parser)
    add_drive_arguments(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Adapt; 0 where the network got better and was written, 1 where it did not and was not."""
    started = time.monotonic()
    out = Path(args.out)
    if out.suffix != ".safetensors":
        raise ValueError(f"--out {out}: expected a name that ends in .safetensors")
    if out.exists():
        raise FileExistsError(f"--out {out}: exists; move it away, or choose another name")
    use_threads(args)
    settings = load_settings(AdaptSettings, args.settings) if args.settings else AdaptSettings()
    settings = replace(settings, steps=args.steps) if args.steps else settings
    start = Path(args.checkpoint or default_checkpoint_path())
    checkpoint = load_checkpoint(start)
    if checkpoint.class_map.names != load_class_map("street").names:
        raise ValueError(
            f"{start}: a network of the classes {checkpoint.class_map.name}; 2D teachers are "
            "folded to street, so begin with a network of that class map"
        )
    work = Path(args.work) if args.work else out.with_suffix("")
    work.mkdir(parents=True, exist_ok=True)
    drives = open_drives(args.drives, args.points, args.odometry)
    teacher = open_image_teacher(args.teacher, args.threads or 0)
    result = _adapt(args, drives, teacher, checkpoint, start, settings, work)
    better, plans, before = result.pop("better"), result.pop("plans"), result.pop("segmenter")
    network = work / RUN / "network.safetensors"
    figures = {"better": better, "minutes": round((time.monotonic() - started) / 60, 1), **result}
    after = Segmenter(network, images="off", cpu_threads=args.threads or 0)
    write_page(work / "page.html", figures, plans, before, after, teacher.name)
    print(f"{result['why']}\npage: {work / 'page.html'}")
    if better:
        save_adapted(network, out, checkpoint, plans, teacher.name, settings, figures)
        print(f"checkpoint: {out}")
    else:
        print(f"NOT SAVED as {out}: what was trained is in {network}")
    write_figures(args.json, figures)
    return 0 if better else 1


def _adapt(args, drives, teacher, checkpoint, start, settings, work):
    """All stages; {better, why, shares, before, after, plans, segmenter}."""
    segmenter = Segmenter(checkpoint, images="off", cpu_threads=args.threads or 0)
    say_step(f"asking the teacher {teacher.name}")
    asked = ScanProgress(sum(len(drive) for drive in drives))
    plans = [plan_drive(drive, teacher, settings, work, asked.add) for drive in drives]
    asked.finish()
    streets = Path(args.streets) if args.streets else _make_streets(work / STREETS, settings)
    lessons = work / LESSONS

    def teach():
        say_step("carrying labels through the drives")
        progress = ScanProgress(sum(len(plan.learnt) for plan in plans))
        shares = write_lessons(plans, segmenter, settings, lessons, progress.add)
        progress.finish()
        return shares

    shares = keep(work / "shares.json", teach)
    print(
        "; ".join(f"{name} {100 * part:.0f} %" for name, part in shares.items()) + " of the points"
    )
    before = keep(work / "before.json", lambda: judge(segmenter, plans, streets))
    count = sum(len(plan.learnt) for plan in plans)
    train(training_recipe(checkpoint, start, settings, count, streets), work, not is_quiet())
    trained = Segmenter(work / RUN / "network.safetensors", images="off",
                        cpu_threads=args.threads or 0)  # fmt: skip
    after = keep(work / VERDICT, lambda: judge(trained, plans, streets))
    better, why = verdict(before, after, settings)
    return {"better": better, "why": why, "shares": shares, "before": before, "after": after,
            "plans": plans, "segmenter": segmenter}  # fmt: skip


def _make_streets(folder: Path, settings: AdaptSettings) -> Path:
    """Made-up streets of several sensors, two scans each, without pictures; made once."""
    if folder.exists():
        return folder
    say_step(f"making up {settings.streets} streets")
    part, progress = folder.with_name("streets.part"), ScanProgress(2 * settings.streets)
    part.mkdir(parents=True, exist_ok=True)
    for number, rig in enumerate(_RIGS):
        names = [f"{place:03d}" for place in range(number, settings.streets, len(_RIGS))]
        street = SequenceSettings(rig=rig, spacing=20)
        for count in write_folders(part, settings.seed, names, 2, street, False, available_cores()):
            progress.add(count)
    progress.finish()
    part.rename(folder)
    return folder
