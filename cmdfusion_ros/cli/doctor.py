"""`cmdfusion doctor`: what is installed, what is chosen, and why; what is missing, and what that
costs.
"""

import argparse
import os
import platform
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Any

from cmdfusion_ros import __version__
from cmdfusion_ros.cli.runs.figures import add_json_option, write_figures
from cmdfusion_ros.cli.runs.processes import fastdds_variable, find_fastdds_profile

_LIBRARIES = {
    "numpy": "numpy",
    "opencv": "cv2",
    "rosbags": "rosbags",
    "safetensors": "safetensors",
    "matplotlib": "matplotlib",
}
# package: (needed by the node, what it costs where it is missing); the messages are those of
# ros/interfaces.py, and a test holds this
_ROS = {
    "rclpy": (True, "no node; `cmdfusion label` and `cmdfusion demo` work offline"),
    "sensor_msgs": (True, "no node"),
    "visualization_msgs": (True, "no node"),
    "diagnostic_msgs": (True, "no node"),
    "geometry_msgs": (True, "no node"),
    "builtin_interfaces": (True, "no node"),
    "std_msgs": (True, "no node"),
    "std_srvs": (False, "~/enable, ~/reset and ~/save_frame are off"),
    "tf2_msgs": (False, "no transforms from /tf: cameras' places come from calibration files"),
    "tf2_ros": (False, "our own transform buffer listens to /tf and /tf_static"),
    "message_filters": (
        False,
        "nothing: the synchroniser is our own; its adapter for message_filters stays unused",
    ),
    "cv_bridge": (False, "nothing: our own table decodes images"),
    "sensor_msgs_py": (False, "nothing: clouds are read by our own code"),
    "vision_msgs": (False, "~/label_info is off"),
}
ROOM_FOR_CLOUDS = 135  # MB; two processes of 64 MiB each, as config/fastdds_large_clouds.xml has it
GOOD, MISSING, BAD = "ok", "--", "!!"


@dataclass(frozen=True)
class Finding:
    """One line: GOOD, MISSING (works without it) or BAD (the main job does not work), the
    subject, and words.
    """

    level: str
    subject: str
    words: str


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        "doctor",
        help="say what is installed, what is chosen, and why",
        description="Report the installation. Exit code 0 where labelling works, "
        "1 where it does not.",
        examples=("cmdfusion doctor", "cmdfusion doctor --json doctor.json"),
    )
    add_json_option(parser, "what is found")
    return parser


def run(args: argparse.Namespace) -> int:
    sections = {
        "This package": package_findings(),
        "Network": network_findings(),
        "ROS 2": ros_findings(),
    }
    for title, findings in sections.items():
        print(title)
        for finding in findings:
            print(f"  {finding.level}  {finding.subject:<20} {finding.words}")
    told = {title: [asdict(finding) for finding in each] for title, each in sections.items()}
    write_figures(args.json, told)
    return int(any(finding.level == BAD for findings in sections.values() for finding in findings))


def package_findings() -> list[Finding]:
    """Versions of this package, Python and the libraries."""
    findings = [
        Finding(GOOD, "cmdfusion_ros", f"{__version__} in {Path(__file__).resolve().parents[1]}"),
        Finding(
            GOOD,
            "python",
            f"{platform.python_version()} ({sys.executable}) on {platform.system()} "
            f"{platform.machine()}, {os.cpu_count()} cores",
        ),
    ]
    for name, module in _LIBRARIES.items():
        findings.append(
            Finding(GOOD, name, version(name, module))
            if installed(module)
            else Finding(BAD, name, "not installed: pip install cmdfusion_ros")
        )
    return findings


def network_findings() -> list[Finding]:
    """torch, the device and the sparse backend that `auto` takes, and the shipped weights."""
    if not installed("torch"):
        return [Finding(BAD, "torch", "not installed: pip install torch")]
    import torch

    from cmdfusion_ros.checkpoint.file import load_checkpoint
    from cmdfusion_ros.inference import Segmenter, default_checkpoint_path

    findings = [Finding(GOOD, "torch", f"{torch.__version__}, {torch.get_num_threads()} threads")]
    for index in range(torch.cuda.device_count()):
        findings.append(Finding(GOOD, f"cuda:{index}", torch.cuda.get_device_name(index)))
    if not torch.cuda.is_available():
        why = (
            "torch is built without it"
            if torch.version.cuda is None
            else "torch has it, but sees no device; is the driver there?"
        )
        findings.append(Finding(MISSING, "cuda", f"{why}; the network runs on the CPU"))
    try:
        checkpoint = load_checkpoint(default_checkpoint_path())
        segmenter = Segmenter(checkpoint, images="auto")
    except (FileNotFoundError, ValueError) as error:
        return [*findings, Finding(BAD, "weights", str(error))]
    card = checkpoint.card
    size = default_checkpoint_path().stat().st_size / 1e6
    words = (
        f"{default_checkpoint_path()} ({size:.1f} MB, {segmenter.num_parameters:,} parameters, "
        f"{len(card.get('trained_on', ()))} scans)"
    )
    return [
        *findings,
        Finding(GOOD, "weights", words),
        Finding(
            GOOD, "classes", f"{segmenter.class_map.name}: {', '.join(segmenter.class_map.names)}"
        ),
        Finding(GOOD, "images", segmenter.images_reason),
        Finding(GOOD, "device", f"auto takes {segmenter.device}"),
        Finding(
            GOOD,
            "sparse backend",
            f"auto takes {segmenter.backend} in {segmenter.precision}: {segmenter.backend_reason}",
        ),
        *backend_findings(segmenter.device, segmenter.backend),
    ]


def backend_findings(device: Any, taken: str) -> list[Finding]:
    """The sparse backends that are not taken: what each is, and why it cannot run where it
    cannot.
    """
    from cmdfusion_ros.sparse.backends import describe_backends

    found = []
    for name, what, problem in describe_backends(device):
        if name != taken:
            found.append(
                Finding(GOOD, f"  {name}", what)
                if problem is None
                else Finding(MISSING, f"  {name}", f"{what}; not here: {problem}")
            )
    return found


def ros_findings() -> list[Finding]:
    """ROS packages, our own messages, and the Fast DDS profile. Without ROS the offline job
    still works, so nothing here is BAD.
    """
    findings = [
        Finding(GOOD, "distribution", os.environ.get("ROS_DISTRO", ""))
        if os.environ.get("ROS_DISTRO")
        else Finding(MISSING, "distribution", "no ROS 2 is sourced")
    ]
    for package, (needed, cost) in _ROS.items():
        if installed(package):
            findings.append(
                Finding(GOOD, package, version(f"ros-{package.replace('_', '-')}", package))
            )
        else:
            findings.append(
                Finding(
                    MISSING,
                    package,
                    f"{'the node needs it; without: ' if needed else 'without: '}{cost}",
                )
            )
    if installed("cmdfusion_ros.msg"):
        findings.append(Finding(GOOD, "our messages", "built"))
    else:
        findings.append(
            Finding(
                MISSING,
                "our messages",
                "not built (colcon build): ~/status, ~/class_map and ~/set_camera are off",
            )
        )
    return [
        *findings,
        profile_finding(os.environ, find_fastdds_profile()),
        *shared_memory_findings(Path("/dev/shm")),
    ]


def profile_finding(environment: Mapping[str, str], shipped: Path | None) -> Finding:
    """Whether clouds over 0.5 MB get through between processes.

    Args:
        environment: mapping of environment variables. shipped: path of our profile, or None.
    """
    active = environment.get("FASTDDS_DEFAULT_PROFILES_FILE") or environment.get(
        "FASTRTPS_DEFAULT_PROFILES_FILE"
    )
    rmw = environment.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp")
    if rmw not in ("rmw_fastrtps_cpp", "rmw_fastrtps_dynamic_cpp"):
        return Finding(GOOD, "Fast DDS profile", f"not needed: {rmw} is in use")
    if active and not Path(active).is_file():
        return Finding(
            MISSING, "Fast DDS profile", f"the environment names {active}, which does not exist"
        )
    if active:
        return Finding(GOOD, "Fast DDS profile", active)
    advice = (
        f"export {fastdds_variable()}={shipped}"
        if shipped
        else "config/fastdds_large_clouds.xml is not installed"
    )
    return Finding(
        MISSING,
        "Fast DDS profile",
        "none active in this shell (demo and launch set it): clouds over 0.5 MB get lost between "
        f"processes; {advice}",
    )


def shared_memory_findings(folder: Path) -> list[Finding]:
    """Whether Fast DDS has room for clouds in shared memory, and what processes that were killed
    may have left there; nothing where there is no `folder`.
    """
    if not folder.is_dir():
        return []
    free = shutil.disk_usage(folder).free / 1e6
    taken = sum(file.stat().st_size for file in folder.glob("*fastdds_*") if file.is_file()) / 1e6
    words = f"{free:,.0f} MB free in {folder}, {taken:,.0f} MB in files of Fast DDS"
    if free >= ROOM_FOR_CLOUDS:
        return [Finding(GOOD, "shared memory", words)]
    cure = (
        "`fastdds shm clean` removes those of killed processes"
        if taken > free
        else "in a container: --shm-size=1g"
    )
    return [
        Finding(
            MISSING,
            "shared memory",
            f"{words}: too little, clouds then go by UDP and get lost; {cure}",
        )
    ]


def installed(module: str) -> bool:
    """Whether a module can be imported, without importing it."""
    try:
        return util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def version(distribution: str, module: str) -> str:
    """The version of an installed package, or where it lies if it does not say."""
    for name in (distribution, module, f"{distribution}-python-headless", f"{distribution}-python"):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return str(util.find_spec(module).origin)
