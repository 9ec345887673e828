"""The points that `cmdfusion bench` measures on: files of the user, or made-up streets of
any size.
"""

import argparse
import dataclasses
from pathlib import Path

import numpy as np

from cmdfusion_ros.data.synthetic.lidar import scan
from cmdfusion_ros.data.synthetic.rigs import load_rig
from cmdfusion_ros.data.synthetic.world import World, WorldSettings


def clouds_of(args: argparse.Namespace, default: int) -> list[tuple[str, np.ndarray]]:
    """[(name, (N, 3) float32 points)] of --cloud and --sizes; a made-up street of `default`
    points where neither is given.
    """
    counts = args.sizes if args.sizes is not None else [] if args.cloud else [default]
    return [read_cloud(text) for text in args.cloud] + [synthetic_cloud(count) for count in counts]


def read_cloud(text: str) -> tuple[str, np.ndarray]:
    """FILE[:COLUMNS] -> its name and (N, 3) float32 points; ValueError where the file does not
    hold whole points.
    """
    path, _, columns = text.partition(":")
    values = np.fromfile(path, "<f4")
    width = int(columns or 4)
    if width < 3 or len(values) % width:
        raise ValueError(
            f"{path}: {len(values)} numbers are not whole points of {width}; say how many a point "
            f"has, as in {path}:5"
        )
    points = values.reshape(-1, width)[:, :3]
    return Path(path).name, np.ascontiguousarray(points[np.isfinite(points).all(axis=1)])


def synthetic_cloud(count: int) -> tuple[str, np.ndarray]:
    """A scan of a made-up street with about `count` points, and its name."""
    columns = max(count // 60, 8)  # 64 beams, of which some meet the sky
    rig = load_rig("kitti")
    rig = dataclasses.replace(rig, lidar=dataclasses.replace(rig.lidar, columns=columns))
    world = World(np.random.default_rng(0), 1.0, WorldSettings())
    return f"street {count}", scan(world, rig, 0.0, np.random.default_rng(0)).points
