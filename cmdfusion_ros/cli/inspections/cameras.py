"""The pictures, stamps and calibration of a bag's cameras."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cmdfusion_ros.data.bags.bag import Bag
from cmdfusion_ros.data.bags.bag_layout import CameraLayout
from cmdfusion_ros.data.bags.camera_timing import gaps_in, period_of
from cmdfusion_ros.data.bags.message_heads import message_heads
from cmdfusion_ros.messages.images import decode_image
from cmdfusion_ros.messages.stamps import raw_stamp_ns


def facts_of_cameras(bag: Bag, cameras: Sequence[CameraLayout]) -> list[dict[str, Any]]:
    """What summary.json has of each camera; their stamps are those of the whole bag."""
    stamps: dict[str, list[int]] = {camera.image_topic: [] for camera in cameras}
    wrong: dict[str, str] = {}
    for topic, _, head in message_heads(bag, stamps.keys()):
        try:
            stamps[topic].append(raw_stamp_ns(head))
        except ValueError as error:
            wrong.setdefault(topic, str(error))
    return [
        _facts(bag, camera, stamps[camera.image_topic], wrong.get(camera.image_topic, ""))
        for camera in cameras
    ]


def _facts(bag, camera, stamps, why):
    kind, size = "", None
    try:
        first = next(bag.messages([camera.image_topic]), None)
        if first is not None:
            content = bag.deserialize(first)
            kind = str(getattr(content, "encoding", "") or getattr(content, "format", ""))
            picture = decode_image(content)
            size = [picture.shape[1], picture.shape[0]]
    except ValueError as error:
        why = str(error)
    times = np.array(stamps, np.int64)
    period, steps = period_of(times), np.diff(times)
    gaps = steps[gaps_in(times)]
    info: Any = camera.info
    return {
        "name": camera.name,
        "topic": camera.image_topic,
        "type": bag.topics[camera.image_topic].msgtype,
        "encoding": kind,
        "size": size,
        "unreadable": why,
        "frame": camera.frame_id,
        "images": camera.num_images,
        "hz": round(1e9 / period, 3) if period else None,
        "gaps": len(gaps),
        "longest_gap_s": round(float(gaps.max()) / 1e9, 3) if len(gaps) else 0.0,
        "stamps_backward": int((steps < 0).sum()),
        "offset_ms": camera.timing.offset / 1e6,
        "lag_ms": camera.timing.lag / 1e6,
        "calibration": camera.info_topic,
        "calibrated_for": [int(info.width), int(info.height)] if info is not None else None,
        "lens": str(info.distortion_model) if info is not None else None,
        "rectified": camera.rectified,
        "fused": not camera.problems,
        "problems": list(camera.problems),
    }


def camera_words(facts: dict[str, Any]) -> str:
    """One line of what `facts_of_cameras` found, beside the camera's name."""
    size = "{} x {}".format(*facts["size"]) if facts["size"] else facts["unreadable"] or "no image"
    calibrated = "no calibration"
    if facts["calibrated_for"] is not None:
        calibrated = "calibrated for {} x {}".format(*facts["calibrated_for"])
        calibrated += f" ({facts['lens'] or 'no lens model'})"
    gaps = f"{facts['gaps']} gaps" if facts["gaps"] != 1 else "one gap"
    gaps += f", the longest {facts['longest_gap_s']:.2f} s" if facts["gaps"] else ""
    back = f"; {facts['stamps_backward']} stamps go back" if facts["stamps_backward"] else ""
    kind = facts["type"].rsplit("/", 1)[-1]
    return f"{kind} {facts['encoding']}, {size}, {gaps}{back}; {calibrated}"
