#!/usr/bin/env python3
"""The nuScenes key frame of $CMDFUSION_DATA (32 beams, six cameras, no labels) as a network labels
it: two pictures to look at, without images and with all six.

    python benchmarks/by_eye.py cmdfusion_ros/weights/flagship_nano.safetensors --data
    $CMDFUSION_DATA --out by_eye
"""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np

from cmdfusion_ros.data.readers.nuscenes import SENSOR_FROM_LIDAR
from cmdfusion_ros.frame import CameraView, Frame
from cmdfusion_ros.geometry.transforms import apply, invert
from cmdfusion_ros.inference import Segmenter
from cmdfusion_ros.pictures import CameraPicture, draw_labels, save_scan_picture


def read_frame(folder: Path) -> Frame:
    """The folder's scan and images as a Frame; x is turned ahead, intensity scaled to [0, 1]."""
    calibration = json.loads((folder / "calibration.json").read_text())
    cloud = np.fromfile(folder / "lidar.bin", np.float32).reshape(-1, 5)
    views = []
    for name, camera in calibration["cameras"].items():
        image = cv2.cvtColor(cv2.imread(str(folder / camera["file"])), cv2.COLOR_BGR2RGB)
        views.append(
            CameraView(
                name,
                image,
                np.array(camera["intrinsic"]),
                np.array(camera["camera_from_lidar"]) @ SENSOR_FROM_LIDAR,
            )
        )
    return Frame(
        apply(invert(SENSOR_FROM_LIDAR), cloud[:, :3]).astype(np.float32),
        cloud[:, 3] / 255,
        views=tuple(views),
        name="nuscenes_frame",
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint")
    parser.add_argument("--data", required=True, metavar="DIR")
    parser.add_argument("--out", required=True, metavar="DIR")
    args = parser.parse_args(arguments)
    segmenter, frame, out = (
        Segmenter(args.checkpoint, device="cpu", images="on"),
        read_frame(Path(args.data) / "nuscenes_frame"),
        Path(args.out),
    )
    out.mkdir(parents=True, exist_ok=True)
    names, answers = segmenter.class_map.names, {}
    for title, views in (("without images", ()), ("six cameras", frame.views)):
        prediction = segmenter.segment(
            Frame(frame.points, frame.intensity, views=views, name=frame.name)
        )
        answers[title] = prediction.labels
        drawn = [
            draw_labels(view, frame.points, prediction.labels, segmenter.class_map)
            for view in frame.views
        ]
        cameras = [
            CameraPicture(view.name, image, f"{number} points")
            for view, (image, number) in zip(frame.views, drawn, strict=True)
        ]
        path = out / f"{title.replace(' ', '_')}.png"
        subtitle = (
            f"{frame.num_points} points, {np.count_nonzero(prediction.camera_mask)} read from "
            f"images, mean confidence {prediction.confidence.mean():.2f}"
        )
        save_scan_picture(
            path,
            frame.points,
            prediction.labels,
            segmenter.class_map,
            cameras,
            f"nuScenes key frame, {title}",
            subtitle,
        )
        print(f"{path}: {subtitle}")
    print(f"{'points of':<16}" + "".join(f"{title:>16}" for title in answers))
    for label, name in enumerate(names):
        print(
            f"{name:<16}"
            + "".join(f"{np.count_nonzero(labels == label):>16}" for labels in answers.values())
        )
    print(
        "the same label: "
        f"{100 * np.mean(answers['without images'] == answers['six cameras']):.1f} % of the points"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
