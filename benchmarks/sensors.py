#!/usr/bin/env python3
"""How a network holds up on LiDARs it has not seen: mIoU on made-up streets that nobody trained on,
as one sensor after the other sees them.

    python benchmarks/sensors.py [CHECKPOINT ...] [--streets 4] [--json FILE]

Each street is scanned once by each sensor, put into a PointCloud2 as such a sensor's driver writes
it, and read back as the node reads it (`messages/clouds.py`). Without a checkpoint the network that
ships is taken. LiDAR alone.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from tqdm import tqdm

from cmdfusion_ros.checkpoint.file import load_checkpoint
from cmdfusion_ros.class_map import ClassMap
from cmdfusion_ros.data.synthetic.lidar import scan
from cmdfusion_ros.data.synthetic.rigs import LidarRig, load_rig
from cmdfusion_ros.data.synthetic.sequence import DATASET
from cmdfusion_ros.data.synthetic.world import World, WorldSettings
from cmdfusion_ros.evaluation.metrics import ConfusionMatrix
from cmdfusion_ros.frame import Frame
from cmdfusion_ros.inference import Segmenter, default_checkpoint_path
from cmdfusion_ros.messages.clouds import read_cloud

SEED = 4711  # of streets that no recipe trains on
_OUSTER = LidarRig(
    tuple(22.5 - np.arange(128) * 45 / 127), 1024, 10.0, 1.8, 90.0, 0.5, 0.02, 2.0, 3.0
)
_FLOAT, _BYTE, _SHORT = ("f4", 7), ("u1", 2), ("u2", 4)


Kind = tuple[str, int]  # of a field: as numpy and as PointField call it
Sensor = tuple[LidarRig, float | None, Kind | None, bool]


def sensors() -> dict[str, Sensor]:
    """{name: (LidarRig, full scale of the intensity field or None for no such field, its type,
    whether rays without return are rows of zeros)}.
    """
    kitti, pandar, hdl32 = (load_rig(name).lidar for name in ("kitti", "pandaset", "nuscenes"))
    found = {
        "HDL-64E at 1.73 m, intensity 0-1": (kitti, 1.0, _FLOAT, False),
        "Pandar64 at 2.23 m, intensity 0-255": (pandar, 255.0, _FLOAT, False),
        "HDL-32E at 1.84 m, 8-bit intensity": (hdl32, 255.0, _BYTE, False),
        "Ouster 128 at 1.8 m, zeros, 16-bit": (_OUSTER, 65535.0, _SHORT, True),
        "HDL-64E, no intensity": (kitti, None, None, False),
        "Pandar64, no intensity": (pandar, None, None, False),
        "HDL-32E, no intensity": (hdl32, None, None, False),
    }
    for height in (1.2, 1.5, 2.0, 2.5):
        found[f"HDL-64E at {height} m"] = (replace(kitti, height=height), 1.0, _FLOAT, False)
    return found


def frame_of(
    world: World, sensor: Sensor, class_map: ClassMap, name: str, rng: np.random.Generator
) -> tuple[Frame, int]:
    """One turn of a sensor, through a PointCloud2 and back, as a labelled Frame; and how many
    rows of the message were no points.
    """
    lidar, full_scale, kind, zeros = sensor
    turn = scan(world, replace(load_rig("nuscenes"), lidar=lidar), 2.0, rng)
    labels = class_map.labels_from_raw(turn.raw, DATASET)
    lost = len(lidar.elevation) * lidar.columns - len(turn.points) if zeros else 0
    rows = rng.permutation(len(turn.points) + lost)  # where a row of the turn is in the message
    fields = [
        ("x", "<f4"),
        ("y", "<f4"),
        ("z", "<f4"),
        *([("intensity", f"<{kind[0]}")] if kind else []),
    ]
    table = np.zeros(len(rows), np.dtype(fields))
    own = rows[: len(turn.points)]
    for column, axis in enumerate("xyz"):
        table[axis][own] = turn.points[:, column]
    if kind:
        table["intensity"][own] = (turn.intensity * full_scale).astype(kind[0])
    given = np.full(len(rows), 255, np.uint8)
    given[own] = labels
    cloud = read_cloud(_message(table, kind))
    usable = cloud.usable
    frame = Frame(
        np.ascontiguousarray(cloud.points[usable]),
        cloud.intensity[usable],
        labels=given[usable],
        name=name,
    )
    return frame, int((~usable).sum())


def _message(table: np.ndarray, kind: Kind | None) -> SimpleNamespace:
    numbers = [7, 7, 7, *([kind[1]] if kind else [])]
    assert table.dtype.names and table.dtype.fields
    places = [(name, table.dtype.fields[name][1]) for name in table.dtype.names]
    fields = [
        SimpleNamespace(name=name, offset=offset, datatype=number, count=1)
        for (name, offset), number in zip(places, numbers, strict=True)
    ]
    step = table.dtype.itemsize
    header = SimpleNamespace(stamp=SimpleNamespace(sec=1, nanosec=0), frame_id="lidar")
    return SimpleNamespace(
        header=header,
        height=1,
        width=len(table),
        fields=fields,
        is_bigendian=False,
        is_dense=False,
        point_step=step,
        row_step=step * len(table),
        data=table.tobytes(),
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoints", nargs="*", metavar="CHECKPOINT")
    parser.add_argument("--streets", type=int, default=4)
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args(arguments)
    paths = args.checkpoints or [default_checkpoint_path()]
    stems = [Path(path).stem for path in paths]
    names = stems if len(set(stems)) == len(stems) else [str(path) for path in paths]
    segmenters = [Segmenter(load_checkpoint(path), device="cpu", images="on") for path in paths]
    table: dict[str, dict[str, Any]] = {}
    for name, sensor in tqdm(sensors().items(), unit="sensor"):
        matrices, points, zeros = (
            [ConfusionMatrix(each.class_map.num_classes) for each in segmenters],
            0,
            0,
        )
        for street in range(args.streets):
            world = World(np.random.default_rng([SEED, street]), 5.0, WorldSettings(rare=2.0))
            for matrix, segmenter in zip(matrices, segmenters, strict=True):
                frame, dropped = frame_of(
                    world,
                    sensor,
                    segmenter.class_map,
                    f"{name}, street {street}",
                    np.random.default_rng([SEED, street, 1]),
                )
                assert frame.labels is not None
                matrix.add(frame.labels, segmenter.segment(frame).labels)
            points, zeros = points + frame.num_points, zeros + dropped
        mious = [round(matrix.miou, 6) for matrix in matrices]
        table[name] = {
            "points": points,
            "rows_without_point": zeros,
            "miou": dict(zip(names, mious, strict=True)),
        }
    print(
        f"{'sensor':<40}{'points':>9}{'no point':>9}  "
        + "".join(f"{name[-20:]:>22}" for name in names)
    )
    for name, row in table.items():
        cells = "".join(f"{100 * miou:>22.1f}" for miou in row["miou"].values())
        print(
            f"{name:<40}{row['points'] // args.streets:>9}"
            f"{row['rows_without_point'] // args.streets:>9} "
            f" {cells}"
        )
    if args.json:
        Path(args.json).write_text(
            json.dumps({"streets": args.streets, "sensors": table}, indent=1) + "\n"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
