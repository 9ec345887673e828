"""The drives that a command is given: bags, or folders of scans."""

import argparse
from pathlib import Path

from cmdfusion_ros.cli.runs.options import add_points_option
from cmdfusion_ros.data.drives.bag_drive import BagDrive
from cmdfusion_ros.data.drives.drive import Drive
from cmdfusion_ros.data.drives.folder_drive import open_folder
from cmdfusion_ros.labelling.levelled_drive import LevelledDrive

ODOMETRIES = ("auto", "recorded", "kiss-icp")


def add_drive_arguments(parser: argparse.ArgumentParser) -> None:
    """--points and --odometry."""
    add_points_option(parser)
    parser.add_argument(
        "--odometry",
        choices=ODOMETRIES,
        default="auto",
        help="where poses come from: recorded (transforms, poses.txt), kiss-icp from the clouds, or"
        " auto: recorded ones where there are any (default)",
    )


def open_drives(paths: list[str], points: str | None, odometry: str) -> list[Drive]:
    """The drives in bags and folders, in order, as the network sees them; each has a name of its
    own.

    Raises:
        FileNotFoundError: nothing at a path. ValueError: no bag and no folder of scans, or two
            drives of one name.
    """
    drives: list[Drive] = []
    for text in paths:
        path = Path(text)
        if not path.exists():
            raise FileNotFoundError(
                f"{path}: there is nothing; expected a bag or a folder of scans"
            )
        if path.is_file() or (path / "metadata.yaml").exists() or any(path.glob("*.mcap")):
            drives.append(BagDrive(path, points, odometry))
        else:
            drives += open_folder(path, odometry)
    names = [drive.name for drive in drives]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise ValueError(f"two drives are called {doubled[0]!r}; rename one of them")
    levelled: list[Drive] = []
    for drive in drives:
        print(f"drive    {drive.name}: {len(drive)} scans, poses from {drive.odometry}", flush=True)
        found = LevelledDrive(drive)
        if found.placement.changes:
            print(f"placement {found.placement.words}", flush=True)
        levelled.append(found)
    return levelled
