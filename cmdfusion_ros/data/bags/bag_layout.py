"""What is in a bag: the cloud, the cameras with their calibration, where they sit, and how their
clocks lie to the cloud's.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cmdfusion_ros.data.bags.bag import Bag
from cmdfusion_ros.data.bags.bag_survey import (
    CLOUD,
    COMPRESSED,
    IMAGE,
    INFO,
    TRANSFORMS,
    BagSurvey,
    chain,
)
from cmdfusion_ros.data.bags.camera_timing import RecordedTiming, camera_timing, period_of

# Last parts of image topics that name the picture, not the camera.
_PICTURE_WORDS = frozenset(
    (
        "image image_raw image_color image_mono image_rect image_rect_color image_compressed raw "
        "color rgb compressed compressed_image jpeg jpg"
    ).split()
)
# of several pictures of one camera: the one that the CameraInfo's distortion belongs to
_PREFERRED = ("image_raw", "raw", "image_color", "image")


@dataclass(frozen=True)
class CameraLayout:
    """One camera of a bag.

    Attributes:
        name: unique, usable as a ROS name.
        image_topic, compressed, frame_id, num_images: of its pictures.
        info_topic: of its CameraInfo; "" where none was found.
        info: its first CameraInfo as rosbags reads it, or None.
        camera_from_lidar: (4, 4) float64 from static transforms, or None.
        timing: RecordedTiming, how its clock lies to the clouds'.
        problems: why the camera cannot be used; empty where it can.
    """

    name: str
    image_topic: str
    compressed: bool
    frame_id: str
    num_images: int
    info_topic: str
    info: object | None
    camera_from_lidar: np.ndarray | None
    timing: RecordedTiming
    problems: tuple = ()


@dataclass(frozen=True)
class BagLayout:
    """What `inspect_bag` found.

    Attributes:
        path, kind: the bag; "ROS 1" or "rosbag2".
        start, end: int ns, recording times; `end` after `duration` seconds (0: all of the bag) at
            the latest.
        cloud_topic, cloud_frame: of the scans that will be labelled.
        num_clouds, num_points: messages in the bag; points of the first.
        cloud_period_ns: median time between two stamps, 0 for fewer than two.
        delay_ns: median recording time minus stamp of the clouds; large where the recorder had
            another clock.
        cameras: tuple of CameraLayout, sorted by name.
        transform_topics: topics of transforms, static ones too.
        notes: what a user should know: choices that were made, things that are missing.
    """

    path: Path
    kind: str
    start: int
    end: int
    duration: float
    cloud_topic: str
    cloud_frame: str
    num_clouds: int
    num_points: int
    cloud_period_ns: int
    delay_ns: int
    cameras: tuple
    transform_topics: tuple
    notes: tuple = ()

    @property
    def usable_cameras(self) -> tuple[CameraLayout, ...]:
        return tuple(camera for camera in self.cameras if not camera.problems)

    def silences(self, texts: Iterable[str]) -> dict[str, int]:
        """What the option --silence says: ["front@1.5", "all@3"] -> {topic: recording time in ns
        from which on it is silent}.

        Raises:
            ValueError: not CAMERA@SECONDS, or a camera that the bag has not.
        """
        silent = {}
        for text in texts:
            name, _, after = text.partition("@")
            chosen = [camera for camera in self.cameras if name in (camera.name, "all")]
            if not chosen or not after.replace(".", "", 1).isdigit():
                known = ", ".join(camera.name for camera in self.cameras)
                raise ValueError(
                    "--silence: expected CAMERA@SECONDS with "
                    f"{f'one of {known} or all' if known else 'a camera; the bag has none'}, got "
                    f"{text!r}"
                )
            time = self.start + round(float(after) * 1e9)
            for topic in (
                topic
                for camera in chosen
                for topic in (camera.image_topic, camera.info_topic)
                if topic
            ):
                silent[topic] = min(time, silent.get(topic, time))
        return silent

    def table(self) -> str:
        """Readable lines: what was found and what was not."""
        rate = f" at {1e9 / self.cloud_period_ns:.1f} Hz" if self.cloud_period_ns else ""
        lines = [
            f"bag      {self.path.name} ({self.kind}, {(self.end - self.start) / 1e9:.1f} s)",
            f"clouds   {self.cloud_topic}: {self.num_clouds}{rate}, {self.num_points} points in "
            f"the first, frame {self.cloud_frame!r}",
        ]
        if self.cameras:
            width = max(len("camera"), *(len(camera.name) for camera in self.cameras))
            lines.append(f"{'camera':<{width}}  images    Hz  offset ms  lag ms  topic")
        for c in self.cameras:
            hertz = f"{1e9 / c.timing.period:5.1f}" if c.timing.period else "    -"
            timing = f"{c.timing.offset / 1e6:10.1f} {c.timing.lag / 1e6:7.1f}"
            lines.append(
                f"{c.name:<{width}} {c.num_images:7d} {hertz} {timing}  {c.image_topic}"
                + "".join(f"; NOT USED: {p}" for p in c.problems)
            )
        return "\n".join(lines + [f"note     {note}" for note in self.notes])


def inspect_bag(
    path: str | Path, cloud_topic: str | None = None, duration: float = 0.0, seconds: float = 60.0
) -> BagLayout:
    """Find the cloud, the cameras, their extrinsics and time offsets in a bag.

    Args:
        path: any bag that `Bag` reads.
        cloud_topic: the PointCloud2 topic to take; None for the densest stream of clouds.
        duration: seconds after which the bag is taken to end, 0 for all of it; counts of clouds are
            of that part.
        seconds: how much of its head is looked at.

    Returns:
        BagLayout.

    Raises:
        ValueError: the bag has no PointCloud2, or none on `cloud_topic`.
    """
    with Bag(path, duration) as bag:
        survey = BagSurvey(bag, seconds)
        cloud_topic, notes = _choose_cloud(survey, cloud_topic)
        cloud = survey.first[cloud_topic]
        frame = cloud.header.frame_id.lstrip("/")
        edges, moving_notes = survey.static_links()
        cameras = tuple(
            _read_camera(survey, name, topic, cloud_topic, frame, edges)
            for name, topic in _camera_topics(survey, notes).items()
        )
        notes += survey.notes + (moving_notes if cameras else [])
        if not cameras:
            notes.append(
                "no Image or CompressedImage topic: every cloud will be labelled from the LiDAR "
                "alone"
            )
        stamps = survey.stamps(cloud_topic)
        return BagLayout(
            path=bag.path,
            kind=bag.kind,
            start=bag.start,
            end=bag.end,
            duration=duration,
            cloud_topic=cloud_topic,
            cloud_frame=frame,
            num_clouds=sum(1 for _ in bag.messages([cloud_topic]))
            if duration
            else bag.topics[cloud_topic].count,
            num_points=cloud.width * cloud.height,
            cloud_period_ns=period_of(stamps),
            delay_ns=int(np.median(survey.recorded(cloud_topic) - stamps)),
            cameras=cameras,
            transform_topics=tuple(
                sorted(topic for topic, info in bag.topics.items() if info.msgtype == TRANSFORMS)
            ),
            notes=tuple(notes),
        )


def _choose_cloud(survey, wanted):
    """(topic, notes): `wanted`, else the densest stream of clouds; a map that was published once
    does not win over a stream.
    """
    topics = survey.topics(CLOUD)
    if not topics:
        raise ValueError(
            f"bag {survey.bag.path}: no PointCloud2 in it; its topics are "
            f"{', '.join(sorted(survey.bag.topics)) or 'none'}"
        )
    if wanted is not None:
        if wanted not in topics:
            raise ValueError(
                f"bag {survey.bag.path}: no PointCloud2 on {wanted}; there are clouds on "
                f"{', '.join(topics)}"
            )
        return wanted, []
    most = max(survey.bag.topics[topic].count for topic in topics)
    streams = [topic for topic in topics if survey.bag.topics[topic].count * 4 >= most]
    chosen = max(streams, key=lambda topic: survey.first[topic].width * survey.first[topic].height)
    others = ", ".join(
        f"{t} ({survey.first[t].width * survey.first[t].height} points)"
        for t in topics
        if t != chosen
    )
    return chosen, [
        f"several clouds: took {chosen} as the densest stream; others: {others}; choose with "
        "--points"
    ] if others else []


def _camera_topics(survey, notes):
    """{camera name: image topic}; of several pictures of one camera the raw, compressed one
    (least to send, lens as calibrated).
    """
    groups = {}
    for topic in survey.topics(IMAGE, COMPRESSED):
        parts = [part for part in topic.split("/") if part]
        if "compressedDepth" in parts or getattr(survey.first[topic], "encoding", "") in (
            "16UC1",
            "32FC1",
        ):
            notes.append(f"{topic} holds depth, not a picture: left out")
            continue
        camera = list(parts)
        while len(camera) > 1 and camera[-1] in _PICTURE_WORDS:
            camera.pop()
        groups.setdefault(tuple(camera), []).append(topic)

    def rank(topic):
        words = topic.split("/")
        liked = [index for index, word in enumerate(_PREFERRED) if word in words]
        return (
            min(liked, default=len(_PREFERRED)),
            survey.bag.topics[topic].msgtype != COMPRESSED,
            topic,
        )

    chosen = {}
    for camera, topics in groups.items():
        best = min(topics, key=rank)
        chosen[camera] = best
        if len(topics) > 1:
            notes.append(
                f"{best} was taken; {', '.join(t for t in sorted(topics) if t != best)}: the same "
                "camera"
            )
    return dict(sorted((_short_name(camera, chosen), topic) for camera, topic in chosen.items()))


def _short_name(camera, all_cameras):
    """The shortest tail of a topic's parts that no other camera shares, as a ROS name: ("robot",
    "front", "camera") -> "front_camera".
    """
    for length in range(1, len(camera) + 1):
        if sum(other[-length:] == camera[-length:] for other in all_cameras) == 1:
            break
    name = re.sub(r"\W", "_", "_".join(camera[-length:]))
    return name if name[0].isalpha() else f"camera_{name}"


def _read_camera(survey, name, topic, cloud_topic, cloud_frame, edges):
    image = survey.first[topic]
    frame = image.header.frame_id.lstrip("/")
    info_topic = _info_topic(survey, topic, frame)
    info = survey.first.get(info_topic)
    camera_from_lidar = chain(edges, frame, cloud_frame)
    timing = camera_timing(
        survey.stamps(topic),
        survey.recorded(topic),
        survey.stamps(cloud_topic),
        survey.recorded(cloud_topic),
    )
    problems = []
    if info is None:
        problems.append("no CameraInfo beside it, nor one of its frame")
    elif not info.k[0] > 0:
        problems.append(f"{info_topic} is uncalibrated (K is zero)")
    if camera_from_lidar is None:
        problems.append(f"no static transform between {frame!r} and {cloud_frame!r}")
    if not survey.stamps(topic).all():
        problems.append("its images have no stamps")
    return CameraLayout(
        name=name,
        image_topic=topic,
        compressed=survey.bag.topics[topic].msgtype == COMPRESSED,
        frame_id=frame,
        num_images=survey.bag.topics[topic].count,
        info_topic=info_topic or "",
        info=info,
        camera_from_lidar=camera_from_lidar,
        timing=timing,
        problems=tuple(problems),
    )


def _info_topic(survey, image_topic, frame):
    """The CameraInfo nearest above the image in the tree of names, else the one with the image's
    frame; None where neither is.
    """
    infos = survey.topics(INFO)
    namespace = image_topic
    while "/" in namespace:
        namespace = namespace.rsplit("/", 1)[0]
        beside = [topic for topic in infos if topic.rsplit("/", 1)[0] == namespace]
        if beside and namespace:
            return beside[0]
    same_frame = [
        topic
        for topic in infos
        if frame and survey.first[topic].header.frame_id.lstrip("/") == frame
    ]
    return same_frame[0] if same_frame else None
