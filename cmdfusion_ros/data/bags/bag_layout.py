"""What is in a bag: the cloud, the cameras with their calibration, where they sit, and how their
clocks lie to the cloud's.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cmdfusion_ros.data.bags.bag import Bag
from cmdfusion_ros.data.bags.bag_survey import (
    CLOUD,
    COMPRESSED,
    TRANSFORMS,
    BagSurvey,
    chain,
)
from cmdfusion_ros.data.bags.camera_timing import (
    RecordedTiming,
    camera_timing,
    period_of,
    stamps_tell,
)
from cmdfusion_ros.data.bags.cameras_of_bag import (
    camera_topics,
    clock_problem,
    fit_problem,
    info_topic,
    is_rectified,
)
from cmdfusion_ros.frame import MAX_CAMERAS
from cmdfusion_ros.messages.foreign import remedy_for
from cmdfusion_ros.messages.texts import printable

_LONG = 2000  # letters of a line
# topics of a node called `cmdfusion`: in a bag they are an earlier run's, and would mix with what
# is made now
OWN_TOPICS = ("/cmdfusion/",)
# and of one in a namespace, whatever its output.layout
OWN_CLOUDS = ("/points_labeled", "/points_filtered")
LONGEST_LAG_NS = 1_000_000_000  # the most that `sync.max_wait` may be


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
        rectified: whether its pictures are undistorted, so that P is their intrinsic.
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
    rectified: bool = False


@dataclass(frozen=True)
class BagLayout:
    """What `inspect_bag` found.

    Attributes:
        path, kind: the bag; "ROS 1" or "rosbag2", or "points" where there is a `source`.
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
        stamped: whether the clouds' stamps tell them apart; where not, their recording times are
            taken.
        source: the file or folder of points that the bag was made of; None for a bag of the user's.
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
    stamped: bool = True
    source: Path | None = None

    @property
    def given(self) -> Path:
        """What the user gave: the bag, or the points that it was made of."""
        return self.source or self.path

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
            f"{'files' if self.source else 'bag':<8} {self.given.absolute().name} ({self.kind}, "
            f"{(self.end - self.start) / 1e9:.1f} s)",
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
        lines += [f"note     {note}" for note in self.notes]
        return "\n".join(printable(line, _LONG) for line in lines)


def inspect_bag(
    path: str | Path,
    cloud_topic: str | None = None,
    duration: float = 0.0,
    seconds: float = 60.0,
    source: Path | None = None,
) -> BagLayout:
    """Find the cloud, the cameras, their extrinsics and time offsets in a bag.

    Args:
        path: any bag that `Bag` reads.
        cloud_topic: the PointCloud2 topic to take; None for the densest stream of clouds.
        duration: seconds after which the bag is taken to end, 0 for all of it; counts of clouds are
            of that part.
        seconds: how much of its head is looked at.
        source: the points that the bag was made of, if it was.

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
        stamps, stamped = _cloud_stamps(survey, cloud_topic)
        if not stamped:
            notes.append(
                f"the stamps of {cloud_topic} do not change, or are 0: the times of recording are "
                "taken; does the driver stamp its clouds?"
            )
        cameras: tuple[CameraLayout, ...] = ()
        for name, topic in camera_topics(survey, notes).items():
            is_full = sum(not camera.problems for camera in cameras) >= MAX_CAMERAS
            cameras += (
                _read_camera(survey, name, topic, cloud_topic, stamps, frame, edges, is_full),
            )
        notes += survey.notes + (moving_notes if cameras else [])
        if not cameras:
            notes.append(
                "no Image or CompressedImage topic: every cloud will be labelled from the LiDAR "
                "alone"
            )
        notes += foreign_notes(bag)
        return BagLayout(
            path=bag.path,
            kind="points" if source else bag.kind,
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
            stamped=stamped,
            source=source,
        )


def _cloud_stamps(survey, topic):
    """((M,) int ns, whether they are the messages' own): stamps that are 0 or hardly ever change
    tell nothing, the times of recording do.
    """
    stamps = survey.stamps(topic)
    own = stamps_tell(stamps)
    return (stamps if own else survey.recorded(topic)), own


def _choose_cloud(survey, wanted):
    """(topic, notes): `wanted`, else the densest stream of clouds; a map that was published once
    does not win over a stream, and what we have labelled ourselves is no LiDAR.
    """
    topics = survey.topics(CLOUD)
    own = [t for t in topics if t.endswith(OWN_CLOUDS) or is_labelled(survey.first[t])]
    if not topics:
        raise ValueError(
            f"bag {survey.bag.path}: no PointCloud2 in it; it has "
            + (
                ", ".join(f"{t} ({i.msgtype})" for t, i in sorted(survey.bag.topics.items()))
                or "none"
            )
            + "".join(f"\n{note}" for note in foreign_notes(survey.bag))
        )
    if wanted is not None:
        if wanted not in topics:
            raise ValueError(
                f"bag {survey.bag.path}: no PointCloud2 on {wanted}; there are clouds on "
                f"{', '.join(topics)}"
            )
        return wanted, []
    notes = [f"{topic} was labelled before: left out" for topic in own if len(own) < len(topics)]
    topics = [topic for topic in topics if topic not in own] or topics
    most = max(survey.bag.topics[topic].count for topic in topics)
    streams = [topic for topic in topics if survey.bag.topics[topic].count * 4 >= most]
    chosen = max(streams, key=lambda topic: survey.first[topic].width * survey.first[topic].height)
    others = ", ".join(
        f"{t} ({survey.first[t].width * survey.first[t].height} points)"
        for t in topics
        if t != chosen
    )
    return chosen, notes + (
        [
            f"several clouds: took {chosen} as the densest stream; others: {others}; choose with "
            "--points"
        ]
        if others
        else []
    )


def is_labelled(cloud: Any) -> bool:
    """Whether a PointCloud2 has the fields of our own output."""
    return {"label", "confidence"} <= {field.name for field in cloud.fields}


def foreign_notes(bag: Bag) -> list[str]:
    """One sentence for each topic of a type that hides clouds or pictures."""
    return [
        f"{topic} is a {info.msgtype}, which is not read: {remedy}"
        for topic, info in sorted(bag.topics.items())
        if info.count and (remedy := remedy_for(info.msgtype))
    ]


def _read_camera(survey, name, topic, cloud_topic, cloud_stamps, cloud_frame, edges, is_full):
    image = survey.first[topic]
    frame = image.header.frame_id.lstrip("/")
    info_name = info_topic(survey, topic, frame)
    info = survey.first.get(info_name)
    camera_from_lidar = chain(edges, frame, cloud_frame)
    timing = camera_timing(
        survey.stamps(topic),
        survey.recorded(topic),
        cloud_stamps,
        survey.recorded(cloud_topic),
    )
    rectified = is_rectified(topic) and info is not None and info.p[0] > 0
    problems = []
    if info is None:
        problems.append("no CameraInfo beside it, nor one of its frame")
    elif not info.k[0] > 0:
        problems.append(f"{info_name} is uncalibrated (K is zero)")
    if camera_from_lidar is None:
        problems.append(f"no static transform between {frame!r} and {cloud_frame!r}")
    if not survey.stamps(topic).all():
        problems.append(
            f"its images have no stamps; does the driver stamp them? The node's "
            f"{name}.stamp_source: arrival dates them by their arrival"
        )
    elif not stamps_tell(survey.stamps(topic)):
        problems.append(
            f"the stamps of its images do not change; does the driver stamp them? The node's "
            f"{name}.stamp_source: arrival dates them by their arrival"
        )
    elif clock := clock_problem(survey.stamps(topic), cloud_stamps):
        problems.append(clock)
    if timing.lag > LONGEST_LAG_NS:
        problems.append(
            f"its images come {timing.lag / 1e9:.1f} s after their clouds; no cloud waits longer "
            f"than {LONGEST_LAG_NS / 1e9:g} s (sync.max_wait)"
        )
    if is_full:
        problems.append(f"the node takes {MAX_CAMERAS} cameras, and has so many")
    elif info is not None and info.k[0] > 0:
        problems += filter(None, [fit_problem(info, image, rectified)])
    return CameraLayout(
        name=name,
        image_topic=topic,
        compressed=survey.bag.topics[topic].msgtype == COMPRESSED,
        frame_id=frame,
        num_images=survey.bag.topics[topic].count,
        info_topic=info_name or "",
        info=info,
        camera_from_lidar=camera_from_lidar,
        timing=timing,
        problems=tuple(problems),
        rectified=rectified,
    )
