"""Draws one labelled cloud of a run with the images that belong to it."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from cmdfusion_ros.class_map import ClassMap
from cmdfusion_ros.data.bags.bag import Bag, read_labelled_clouds
from cmdfusion_ros.data.bags.bag_layout import BagLayout, CameraLayout
from cmdfusion_ros.data.bags.message_heads import message_heads, message_of
from cmdfusion_ros.frame import IGNORE_LABEL, CameraView
from cmdfusion_ros.messages.camera_info import read_camera_info
from cmdfusion_ros.messages.clouds import MessageError
from cmdfusion_ros.messages.images import decode_image
from cmdfusion_ros.messages.stamps import raw_stamp_ns
from cmdfusion_ros.pictures import CameraPicture, draw_labels, save_scan_picture


def labels_from_published(raw: np.ndarray, class_map: ClassMap) -> np.ndarray:
    """(N,) published raw labels -> (N,) uint8 labels of `class_map`; anything else is
    IGNORE_LABEL.
    """
    table = np.full(65536, IGNORE_LABEL, np.uint8)
    table[[info.raw for info in class_map.classes]] = np.arange(class_map.num_classes)
    return table[raw]


def camera_pictures(
    bag: Bag,
    layout: BagLayout,
    stamp: int,
    points: np.ndarray,
    labels: np.ndarray,
    class_map: ClassMap,
    silences: Mapping[str, int],
) -> list[CameraPicture]:
    """A CameraPicture for each usable camera, those that look ahead first: its image nearest its
    target time with the labelled points, or plain words
    where it had none within tolerance.
    """
    pictures = []
    # how far its view axis points along x
    for camera, placed in sorted(_placed(layout), key=lambda item: -item[1][2, 0]):
        image = nearest_image(bag, camera, stamp, layout.delay_ns, silences.get(camera.image_topic))
        intrinsic, distortion, size = read_camera_info(camera.info)
        if image is None:
            blank = np.full((size[1], size[0], 3), 40, np.uint8)
            pictures.append(CameraPicture(camera.name, blank, "no image for this scan"))
            continue
        view = CameraView(camera.name, image, intrinsic, placed, distortion)
        drawn, count = draw_labels(view, points, labels, class_map)
        pictures.append(CameraPicture(camera.name, drawn, f"{count:,} points"))
    return pictures


def _placed(layout: BagLayout) -> list[tuple[CameraLayout, np.ndarray]]:
    """The usable cameras, each with its camera_from_lidar (4, 4)."""
    return [
        (camera, camera.camera_from_lidar)
        for camera in layout.usable_cameras
        if camera.camera_from_lidar is not None
    ]


def nearest_image(
    bag: Bag, camera: CameraLayout, stamp: int, delay: int, silent_from: int | None
) -> np.ndarray | None:
    """The decoded image nearest the camera's target time for a cloud of that stamp; None where
    none is within tolerance or it cannot be decoded.
    """
    target = stamp + camera.timing.offset
    # drivers and networks delay
    recorded, window = target + delay, camera.timing.tolerance + 2_000_000_000
    heads = message_heads(bag, {camera.image_topic}, recorded - window, recorded + window)
    best = min(
        (head for head in heads if not silent_from or head[1] < silent_from),
        key=lambda head: abs(raw_stamp_ns(head[2]) - target),
        default=None,
    )
    if best is None or abs(raw_stamp_ns(best[2]) - target) > camera.timing.tolerance:
        return None
    try:
        return decode_image(bag.deserialize(message_of(bag, *best)))
    except MessageError:  # the run has said so already; here it is a camera without an image
        return None


def draw_snapshot(
    path: str | Path,
    layout: BagLayout,
    labelled: str | Path,
    topic: str,
    stamp: int,
    class_map: ClassMap,
    silences: Mapping[str, int],
    title: str,
    subtitle: str,
) -> None:
    """Draw one labelled cloud, from above and in the images of its cameras.

    Args:
        path: PNG to write.
        layout: BagLayout of the bag that was labelled. labelled, topic: bag and topic that hold the
            labels. stamp: header stamp of the cloud, ns.
        class_map: ClassMap of the published labels.
        silences: {topic: recording time}, see `BagLayout.silences`.
        title, subtitle: words above the picture.

    Raises:
        ValueError: no labelled cloud has that stamp, or a bag cannot be read.
    """
    clouds = read_labelled_clouds(labelled, topic)
    columns = next((columns for at, columns in clouds if at == stamp), None)
    if columns is None:
        raise ValueError(f"bag {labelled}: no cloud with stamp {stamp} on {topic}")
    points = np.stack([columns[axis] for axis in "xyz"], axis=1).astype(np.float32)
    labels = labels_from_published(columns["label"], class_map)
    finite = np.isfinite(points).all(axis=1) & points.any(axis=1)
    points, labels = points[finite], labels[finite]
    with Bag(layout.path) as bag:
        pictures = camera_pictures(bag, layout, stamp, points, labels, class_map, silences)
    save_scan_picture(path, points, labels, class_map, pictures, title, subtitle)
