"""Draws one labelled cloud of a run with the images that belong to it: `python -m
cmdfusion_ros.labelling.snapshot`. Its own process, without rclpy.
"""

import argparse
import json

import numpy as np

from cmdfusion_ros.class_map import ClassMap
from cmdfusion_ros.data.bags.bag import Bag, read_labelled_clouds
from cmdfusion_ros.data.bags.bag_layout import inspect_bag
from cmdfusion_ros.frame import IGNORE_LABEL, CameraView
from cmdfusion_ros.labelling.events import emit
from cmdfusion_ros.messages.camera_info import read_camera_info
from cmdfusion_ros.messages.clouds import MessageError
from cmdfusion_ros.messages.images import decode_image
from cmdfusion_ros.messages.stamps import raw_stamp_ns
from cmdfusion_ros.pictures import CameraPicture, draw_labels, save_scan_picture


def labels_from_published(raw, class_map):
    """(N,) published raw labels -> (N,) uint8 labels of `class_map`; anything else is
    IGNORE_LABEL.
    """
    table = np.full(65536, IGNORE_LABEL, np.uint8)
    table[[info.raw for info in class_map.classes]] = np.arange(class_map.num_classes)
    return table[raw]


def camera_pictures(bag, layout, stamp, points, labels, class_map, silences):
    """A CameraPicture for each usable camera, those that look ahead first: its image nearest its
    target time with the labelled points, or plain words
    where it had none within tolerance.
    """
    pictures = []
    # how far its view axis points along x
    for camera in sorted(layout.usable_cameras, key=lambda item: -item.camera_from_lidar[2, 0]):
        image = _nearest_image(
            bag, camera, stamp, layout.delay_ns, silences.get(camera.image_topic)
        )
        intrinsic, distortion, size = read_camera_info(camera.info)
        if image is None:
            blank = np.full((size[1], size[0], 3), 40, np.uint8)
            pictures.append(CameraPicture(camera.name, blank, "no image for this scan"))
            continue
        view = CameraView(camera.name, image, intrinsic, camera.camera_from_lidar, distortion)
        drawn, count = draw_labels(view, points, labels, class_map)
        pictures.append(CameraPicture(camera.name, drawn, f"{count:,} points"))
    return pictures


def _nearest_image(bag, camera, stamp, delay, silent_from):
    """The decoded image nearest the camera's target time for a cloud of that stamp; None where
    none is within tolerance or it cannot be decoded.
    """
    target = stamp + camera.timing.offset
    # drivers and networks delay
    recorded, window = target + delay, camera.timing.tolerance + 2_000_000_000
    best = min(
        (
            message
            for message in bag.messages([camera.image_topic], recorded - window, recorded + window)
            if not silent_from or message.time < silent_from
        ),
        key=lambda message: abs(raw_stamp_ns(message.data) - target),
        default=None,
    )
    if best is None or abs(raw_stamp_ns(best.data) - target) > camera.timing.tolerance:
        return None
    try:
        return decode_image(bag.deserialize(best))
    except MessageError as error:
        emit("undecodable", camera=camera.name, why=str(error))
        return None


def main(arguments=None):
    parser = argparse.ArgumentParser(description="draw one labelled cloud")
    parser.add_argument("bag", help="the bag that was labelled")
    parser.add_argument("--labelled", required=True, help="the bag with the labels")
    parser.add_argument("--topic", required=True, help="topic of the labelled clouds in it")
    parser.add_argument(
        "--stamp", type=int, required=True, help="header stamp of the cloud to draw, ns"
    )
    parser.add_argument(
        "--class-map", required=True, help="JSON file with the class map of the labels"
    )
    parser.add_argument("--points", help="PointCloud2 topic of the bag (default: the densest)")
    parser.add_argument("--silence", action="append", default=[], help="as the player's")
    parser.add_argument("--title", default="")
    parser.add_argument("--subtitle", default="")
    parser.add_argument("--out", required=True, help="PNG to write")
    args = parser.parse_args(arguments)
    try:
        with open(args.class_map) as file:
            class_map = ClassMap.from_dict(json.load(file))
        layout = inspect_bag(args.bag, args.points)
        columns = next(
            (
                columns
                for stamp, columns in read_labelled_clouds(args.labelled, args.topic)
                if stamp == args.stamp
            ),
            None,
        )
        if columns is None:
            raise ValueError(
                f"bag {args.labelled}: no cloud with stamp {args.stamp} on {args.topic}"
            )
        points = np.stack([columns[axis] for axis in "xyz"], axis=1).astype(np.float32)
        labels = labels_from_published(columns["label"], class_map)
        finite = np.isfinite(points).all(axis=1) & points.any(axis=1)
        points, labels = points[finite], labels[finite]
        with Bag(args.bag) as bag:
            pictures = camera_pictures(
                bag, layout, args.stamp, points, labels, class_map, layout.silences(args.silence)
            )
        save_scan_picture(args.out, points, labels, class_map, pictures, args.title, args.subtitle)
        emit("done", picture=args.out)
    except (ValueError, OSError) as error:
        emit("failed", why=str(error))
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
