#!/usr/bin/env python3
"""A day with scans of one's own, as docs/own_data.md tells it, from fifteen labelled scans to what
a consumer of the node's labels calls an obstacle: every command, its minutes, its scores.

    python benchmarks/own_day.py --data $CMDFUSION_DATA --work WORK [--steps 400] [--json FILE]

Scans 0 to 19 of PandaSet 002 are the robot's, with the five classes of config/classes/yard.yaml:
the first fifteen are trained on, once from the weights that ship and once from nothing, and the
last four validate. Scans 36 to 55 calibrate, 73 to 79 score. The bag of scans 36 to 55 is played,
under other topics, into the running node (needs rclpy). What WORK holds is not made again.
"""

import argparse
import json
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.cli.runs.domains import own_domain
from cmdfusion_ros.data.bags.bag import Bag, BagWriter
from cmdfusion_ros.data.bags.frame_bag import read_bag_labels
from cmdfusion_ros.messages.clouds import read_columns
from cmdfusion_ros.messages.stamps import raw_stamp_ns

REPOSITORY = Path(__file__).resolve().parents[1]
CLASSES = REPOSITORY / "config" / "classes" / "yard.yaml"
CLOUDS = "/roof/cloud"
STARTS = {"shipped": "own", "nothing": "nothing"}  # of --start: the run's name
MINUTES = "minutes.json"
CONSUMER = '''

GROUND = ("drivable",)

if __name__ == "__main__":
    import sys

    import rclpy
    import rclpy.executors

    class Kept(Obstacles):
        """Writes the obstacles of each cloud into a file named by its stamp."""

        def on_cloud(self, message):
            super().on_cloud(message)
            stamp = message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec
            np.save(f"{sys.argv[1]}/{stamp}.npy", self.obstacles)

    rclpy.init()
    try:
        rclpy.spin(Kept())
    except (KeyboardInterrupt, rclpy.executors.ExternalShutdownException):
        pass
'''


def cmdfusion(work: Path, minutes: dict[str, Any], *words: Any) -> None:
    """Run a verb in `work`, show it, and note the minutes that it took; not what was run there."""
    command = [sys.executable, "-m", "cmdfusion_ros", *map(str, words)]
    shown = shlex.join(["cmdfusion", *command[3:]])
    if shown in minutes:
        return
    print(f"\n$ {shown}", flush=True)
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=work, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    wall = (time.monotonic() - started) / 60
    cpu = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / 60
    minutes[shown] = {"minutes": round(wall, 2), "of_a_core": round(cpu, 2)}
    (work / MINUTES).write_text(json.dumps(minutes, indent=1) + "\n")
    print(f"{wall:.1f} minutes, {cpu:.1f} of a core", flush=True)


def lay_out(data: Path, work: Path) -> None:
    """The robot's scans and their labels: DIR/sequences/00."""
    for kind, ending in (("velodyne", "bin"), ("labels", "label")):
        folder = work / "own" / "sequences" / "00" / kind
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(20):
            name = f"{number:06d}.{ending}"
            if not (folder / name).exists():
                shutil.copyfile(data / "pandaset" / "002" / kind / name, folder / name)


def rename(source: Path, made: Path) -> None:
    """A copy of the bag with topics that no default knows."""
    with Bag(source) as bag, BagWriter(made) as writer:
        for message in bag.messages():
            topic = re.sub(r"^/(\w+)_camera/(image_raw|camera_info)", r"/eyes/\1/\2", message.topic)
            topic = CLOUDS if topic == "/lidar/points" else topic
            latched = message.topic == "/tf_static"
            definition = bag.definition(message.topic)
            writer.write(topic, message.msgtype, message.time, message.data, latched, definition)


def play(work: Path, bag: Path, network: Path, domain: int) -> Path:
    """Node, consumer and player, each a process; the folder with the obstacles of each cloud."""
    page = (REPOSITORY / "docs" / "consumers.md").read_text()
    (example,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    (work / "obstacles.py").write_text(example + CONSUMER)
    found = work / "obstacles"
    shutil.rmtree(found, ignore_errors=True)
    found.mkdir()
    profile = str(REPOSITORY / "config" / "fastdds_large_clouds.xml")
    os.environ |= {
        "ROS_DOMAIN_ID": str(domain),
        "ROS_LOCALHOST_ONLY": "1",
        "FASTDDS_DEFAULT_PROFILES_FILE": profile,
    }
    settings = ["--params-file", "inspect_output/node.yaml", "-p", "use_sim_time:=true"]
    settings += ["-p", f"model.checkpoint:={network}", "-p", "sync.overload:=queue"]
    commands = (
        [sys.executable, "-m", "cmdfusion_ros.ros.node", "--ros-args", *settings],
        [sys.executable, "obstacles.py", "obstacles"],
    )
    print(f"\n$ cmdfusion_node {shlex.join(commands[0][3:])}\n$ python obstacles.py", flush=True)
    processes = [subprocess.Popen(command, cwd=work) for command in commands]
    topics = ["/tf", CLOUDS, *(f"/eyes/{side}/camera_info" for side in ("front", "back", "left"))]
    waits = [word for topic in topics for word in ("--wait-for", topic)]
    try:
        replay = [sys.executable, "-m", "cmdfusion_ros", "replay", str(bag), "--rate", "0.05"]
        print(f"$ cmdfusion {shlex.join(replay[3:])} {shlex.join(waits)}", flush=True)
        subprocess.run([*replay, *waits], check=True)
        quiet = time.monotonic()
        count = 0
        while time.monotonic() < quiet + 30:  # what is queued is labelled
            time.sleep(1)
            if len(list(found.iterdir())) > count:
                count, quiet = len(list(found.iterdir())), time.monotonic()
    finally:
        for process in processes:
            process.send_signal(signal.SIGINT)
            process.wait()
    return found


def judged(found: Path, bag: Path) -> dict[str, float]:
    """What the consumer made of each cloud, beside the truth: {clouds, points, obstacles: mean a
    cloud; kept, gone: shares of the true obstacles that stayed and of the true ground that went}.
    """
    own = load_class_map(CLASSES)
    truth = read_bag_labels(bag)
    assert truth is not None, f"{bag}: has no labels beside it"
    ground = own.label("drivable")
    sums = dict.fromkeys(("clouds", "points", "obstacles", "true", "kept", "ground", "gone"), 0)
    with Bag(bag) as source:
        for message in source.messages(["/lidar/points"]):
            stamp = raw_stamp_ns(message.data)
            path = found / f"{stamp}.npy"
            if not path.exists():
                continue
            columns = read_columns(source.deserialize(message))
            points = np.stack([columns[axis] for axis in "xyz"], axis=1).astype(np.float32)
            obstacles = {row.tobytes() for row in np.load(path).astype(np.float32)}
            stays = np.array([row.tobytes() in obstacles for row in points])
            labels = own.labels_from_raw(truth.raw[stamp], truth.dataset)
            known, is_ground = labels != 255, labels == ground
            sums["clouds"] += 1
            sums["points"] += len(points)
            sums["obstacles"] += int(stays.sum())
            sums["true"] += int((known & ~is_ground).sum())
            sums["kept"] += int((stays & known & ~is_ground).sum())
            sums["ground"] += int(is_ground.sum())
            sums["gone"] += int((~stays & is_ground).sum())
    clouds = max(sums["clouds"], 1)
    return {
        "clouds": sums["clouds"],
        "points": sums["points"] / clouds,
        "obstacles": sums["obstacles"] / clouds,
        "kept": sums["kept"] / max(sums["true"], 1),
        "gone": sums["gone"] / max(sums["ground"], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=400, help="of each training")
    for option, what in (("--data", "holds pandaset and bags"), ("--work", "for what is made")):
        parser.add_argument(option, type=Path, required=True, metavar="DIR", help=what)
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    data, work = args.data.resolve(), args.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    kept = work / MINUTES
    minutes: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    lay_out(data, work)
    drive = ("--data", data / "pandaset", "--dataset", "pandaset", "--sequences", "002")
    scores = {}
    for start, name in STARTS.items():
        run = work / "runs" / name
        network = run / "network.safetensors"
        own = ("--data", "own", "--classes", CLASSES, "--dataset", "pandaset", "--threads", 1)
        cmdfusion(work, minutes, "train", *own, "--start", start, "--out", f"runs/{name}")
        cmdfusion(work, minutes, "calibrate", network, *drive, "--first-scan", 36, "--last-scan",
                  55, "--keep")  # fmt: skip
        cmdfusion(work, minutes, "evaluate", network, *drive, "--first-scan", 73, "--json",
                  run / "scores.json")  # fmt: skip
        scores[start] = json.loads((run / "scores.json").read_text())
    bag, renamed = data / "bags" / "pandaset_002", work / "robot_drive"
    if not renamed.exists():
        rename(bag, renamed)
    cmdfusion(work, minutes, "inspect", "robot_drive")
    network = work / "runs" / STARTS["shipped"] / "network.safetensors"
    with own_domain() as domain:
        consumer = judged(play(work, renamed, network, domain), bag)
    took = {words(command): figures for command, figures in minutes.items()}
    tell(scores, consumer, took)
    if args.json:
        keys = ("miou", "accuracy", "iou", "ece", "ece_uncalibrated")
        told = {start: {key: found[key] for key in keys} for start, found in scores.items()}
        result = {"scores": told, "consumer": consumer, "minutes": took}
        args.json.write_text(json.dumps(result, indent=1) + "\n")


def words(command: str) -> str:
    """A command of the day without its paths."""
    return " ".join(command.split()[:2]) + (", from nothing" if "nothing" in command else "")


def tell(scores: dict[str, Any], consumer: dict[str, float], minutes: dict[str, Any]) -> None:
    """Print the tables of docs/own_data.md."""
    classes = list(next(iter(scores.values()))["iou"])
    print("\n| started from | mIoU | accuracy | " + " | ".join(classes) + " | ECE before, after |")
    print("|" + "---|" * (len(classes) + 4))
    for start, found in scores.items():
        figures = [found["miou"], found["accuracy"], *(found["iou"][name] for name in classes)]
        calibration = f"{100 * found['ece_uncalibrated']:.1f}, {100 * found['ece']:.1f}"
        numbers = " | ".join(f"{100 * figure:.1f}" for figure in figures)
        print(f"| {start} | {numbers} | {calibration} |")
    print("\n| command | minutes | of a core |\n|---|---|---|")
    for command, took in minutes.items():
        print(f"| {command} | {took['minutes']:.1f} | {took['of_a_core']:.1f} |")
    print(
        f"\nthe consumer: {consumer['clouds']} of 20 clouds, {consumer['obstacles']:.0f} of "
        f"{consumer['points']:.0f} points are obstacles; of the true ones "
        f"{100 * consumer['kept']:.1f} % stay, of the true ground {100 * consumer['gone']:.1f} % "
        "goes"
    )


if __name__ == "__main__":
    main()
