"""What the clouds of a bag are like: beams, field of view, what of them is usable, how they lie to
what the network knows, their intensity, their stamps. Numbers and words, before anything is
labelled.
"""

import contextlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cmdfusion_ros.data.bags.bag import Bag
from cmdfusion_ros.data.bags.bag_transforms import BagTransforms
from cmdfusion_ros.data.bags.camera_timing import gaps_in, stamps_tell
from cmdfusion_ros.data.bags.message_heads import message_heads, message_of
from cmdfusion_ros.geometry.scan_pattern import count_beams
from cmdfusion_ros.geometry.transforms import apply, invert
from cmdfusion_ros.intensity import USUAL_INTENSITY
from cmdfusion_ros.labelling.lost_points import lost_points
from cmdfusion_ros.labelling.network_frame import NetworkFrame
from cmdfusion_ros.labelling.placement import Placement
from cmdfusion_ros.messages.clouds import (
    Cloud,
    MessageError,
    read_cloud,
    read_columns,
    usable_points,
)
from cmdfusion_ros.messages.stamps import raw_stamp_ns
from cmdfusion_ros.messages.transforms import TransformError

_LOOKED_AT = 12  # clouds that are read, spread over the bag
_NEAR = 0.5  # metres, the node's points.min_range: the vehicle itself
_RINGS = ("ring", "channel", "line", "laser_id")
_MOST_BEAMS = 512


@dataclass(frozen=True, eq=False)
class CloudFindings:
    """What was found of the clouds of one topic.

    Attributes:
        clouds: how many were read; unreadable: {why: how many}.
        fields: names, in order. height, width, points: of a usual cloud, rows and columns.
        beams: number, 0 where none can be told; beams_from: "the field ring", "the rows of the
            cloud", "the points" or "". vertical, horizontal: (low, high) degrees of the field of
            view from the sensor; NaN without points.
        usable: share of the rows that are points; lost: {cause: share} of the rest.
        layouts: how many sets of fields the clouds have. intensity_field: "" for none.
            intensity_scale: what it is divided by. raw_quantiles: of intensity before that, 1, 50
            and 99 %. mean, deviation: after it.
        rows: (fewest, most) of a cloud. reach: metres within which 50 and 99 % of the points lie.
        placement: Placement; sample, stamp: one cloud as the network sees it, (N, 3) metres, and
            its stamp; cloud_sample: the same points in the cloud's frame, metres; origin: (3,)
            metres, the sensor in that frame.
        gaps: [(seconds after the first cloud, seconds long)]. backward, doubled: numbers of stamps.
    """

    clouds: int
    unreadable: dict[str, int]
    fields: tuple[str, ...]
    height: int
    width: int
    beams: int
    beams_from: str
    vertical: tuple[float, float]
    horizontal: tuple[float, float]
    usable: float
    lost: dict[str, float]
    layouts: int
    intensity_field: str
    intensity_scale: float
    raw_quantiles: tuple[float, ...]
    mean: float
    deviation: float
    rows: tuple[int, int]
    reach: tuple[float, float]
    placement: Placement
    gaps: tuple[tuple[float, float], ...]
    backward: int
    doubled: int
    stamp: int = 0
    sample: np.ndarray = field(repr=False, default_factory=lambda: np.empty((0, 3), np.float32))
    cloud_sample: np.ndarray = field(
        repr=False, default_factory=lambda: np.empty((0, 3), np.float32)
    )
    origin: np.ndarray = field(repr=False, default_factory=lambda: np.zeros(3))

    def problems(self) -> list[str]:
        """What will make labels worse or impossible, with what to do."""
        found = [f"{count} clouds cannot be read: {why}" for why, count in self.unreadable.items()]
        if not self.usable:
            worst = max(self.lost, key=lambda cause: self.lost[cause], default="no points in them")
            found.append(f"no row is a usable point: {worst}; nothing will be labelled")
        elif not self.placement.sure:
            words = self.placement.words or "no height over the ground was found"
            found.append(
                f"{words}; the network sees the cloud as it comes: z up and the origin in the "
                "sensor? points.frame names a frame where it is so"
            )
        if self.layouts > 1:
            found.append(
                f"the clouds have {self.layouts} sets of fields; each is read as it comes, and of "
                "those without intensity labels are worse"
            )
        if not self.intensity_field:
            found.append(
                "no field of intensity: labels are worse without; points.intensity_field names it"
            )
        elif self.raw_quantiles[0] == self.raw_quantiles[2]:
            found.append(f"the intensity is always {self.raw_quantiles[0]:g}: as good as none")
        if self.backward or self.doubled:
            found.append(
                f"{self.backward} stamps go back, {self.doubled} come twice: such clouds are "
                "dropped as duplicate or late, or time begins anew"
            )
        return found

    def lines(self) -> list[tuple[str, str]]:
        """(subject, words) in the order of a table."""
        low, median, high = self.raw_quantiles
        mean, deviation = USUAL_INTENSITY
        beams = f"{self.beams} beams, by {self.beams_from}" if self.beams else "no beams told apart"
        intensity = "none"
        if self.intensity_field:
            intensity = (
                f"{self.intensity_field}: {low:g} ... {median:g} ... {high:g} (1, 50, 99 %), "
                f"divided by {self.intensity_scale:g}; mean {self.mean:.2f} with deviation "
                f"{self.deviation:.2f}, the weights know {mean:g} with {deviation:g}, and see the "
                "rank beside it"
            )
        lost = ", ".join(f"{100 * share:.1f} % {why}" for why, share in self.lost.items())
        gaps = f"{len(self.gaps)} gaps" if len(self.gaps) != 1 else "one gap"
        longest = f", the longest {max(g for _, g in self.gaps):.2f} s" if self.gaps else ""
        return [
            ("fields", " ".join(self.fields)),
            (
                "points",
                f"{self.height} x {self.width} rows a cloud ({self.rows[0]} to {self.rows[1]}), "
                + beams,
            ),
            (
                "view",
                "not known: no usable point"
                if not len(self.sample)
                else f"{self.vertical[0]:.1f} to {self.vertical[1]:.1f} degrees up, "
                f"{self.horizontal[1] - self.horizontal[0]:.0f} degrees around; half of the points "
                f"within {self.reach[0]:.1f} m, 99 % within {self.reach[1]:.1f} m",
            ),
            ("usable", f"{100 * self.usable:.1f} % of the rows" + (f"; {lost}" if lost else "")),
            ("intensity", intensity),
            ("placement", self.placement.words or "nothing sure was found: taken as it comes"),
            ("stamps", f"{gaps}{longest}; {self.backward} go back, {self.doubled} come twice"),
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        place = self.placement
        return {
            "clouds": self.clouds,
            "unreadable": self.unreadable,
            "fields": list(self.fields),
            "height": self.height,
            "width": self.width,
            "rows": list(self.rows),
            "reach_m_50_99": [_plain(x) for x in self.reach],
            "beams": self.beams,
            "beams_from": self.beams_from,
            "vertical_deg": [_plain(x) for x in self.vertical],
            "horizontal_deg": [_plain(x) for x in self.horizontal],
            "usable": round(self.usable, 4),
            "lost": {cause: round(share, 4) for cause, share in self.lost.items()},
            "intensity": {
                "field": self.intensity_field,
                "scale": self.intensity_scale,
                "quantiles_1_50_99": [_plain(x) for x in self.raw_quantiles],
                "mean": _plain(self.mean),
                "deviation": _plain(self.deviation),
            },
            "placement": {
                "sure": place.sure,
                "unit": place.unit,
                "height_m": _plain(place.found_height),
                "tilt_deg": round(place.tilt_deg, 1),
                "sensor_frame": place.sensor_frame,
                "words": place.words,
            },
            "gaps": [[round(at, 3), round(long, 3)] for at, long in self.gaps],
            "stamps_backward": self.backward,
            "stamps_doubled": self.doubled,
        }


def _plain(value: float) -> float | None:
    return round(float(value), 3) if np.isfinite(value) else None


def find_in_clouds(
    bag: Bag, topic: str, transforms: BagTransforms, stamped: bool | None = None
) -> CloudFindings:
    """CloudFindings of one topic.

    Args:
        bag: open. topic: of clouds in it. transforms: of that bag. stamped: whether the clouds'
            stamps tell them apart, None where that is to be found out.
    """
    heads = list(message_heads(bag, {topic}))
    if stamped is None:
        stamped = stamps_tell(_stamps_of(heads, True))
    stamps = _stamps_of(heads, stamped)
    step = max(len(stamps) // _LOOKED_AT, 1)
    clouds: list[Cloud] = []
    unreadable: dict[str, int] = {}
    rings: tuple[int, str] | None = None
    for head in heads[::step]:
        if len(clouds) >= _LOOKED_AT:
            break
        try:
            content = bag.deserialize(message_of(bag, *head))
            cloud = read_cloud(content)
            rings = rings or _rings_of(content, cloud)
            clouds.append(cloud)
        except (MessageError, ValueError) as error:
            unreadable[str(error)] = unreadable.get(str(error), 0) + 1
    return _findings(clouds, unreadable, rings, stamps, transforms)


def _stamps_of(heads: list[tuple[str, int, bytes]], stamped: bool) -> np.ndarray:
    """(M,) int64 ns of the messages that have one; those that are cut off are no clouds either.
    Where stamps tell nothing, the times of recording, which are taken for them.
    """
    stamps = []
    for _, time, head in heads:
        with contextlib.suppress(ValueError):
            stamp = raw_stamp_ns(head)
            stamps.append(stamp if stamped else time)
    return np.array(stamps, np.int64)


def _findings(
    clouds: list[Cloud],
    unreadable: dict[str, int],
    rings: tuple[int, str] | None,
    stamps: np.ndarray,
    transforms: BagTransforms,
) -> CloudFindings:
    frame = NetworkFrame(transforms.buffer)
    for cloud in clouds:
        frame.take(cloud.points, cloud.frame_id, cloud.stamp)
    full = [cloud for cloud in clouds if cloud.usable.any()]
    seen = _as_seen(full[len(full) // 2], frame) if full else None
    in_sensor, sample, cloud_sample = seen or (np.empty((0, 3), np.float32),) * 3
    usual = clouds[len(clouds) // 2] if clouds else None
    usable, lost = _lost(clouds, frame.placement.scale)
    bright = [cloud for cloud in full if cloud.intensity_field]
    parts = [(cloud.intensity[cloud.usable], cloud.intensity_scale) for cloud in bright]
    values = np.concatenate([each for each, _ in parts] or [np.zeros(1, np.float32)])
    raw = np.concatenate([each * scale for each, scale in parts] or [np.zeros(1, np.float32)])
    kinds = {tuple(each.name for each in cloud.fields) for cloud in clouds}
    beams, beams_from = rings or _beams(in_sensor, usual)
    sizes = [cloud.num_points for cloud in clouds] or [0]
    steps = np.diff(stamps)
    return CloudFindings(
        clouds=len(clouds),
        unreadable=unreadable,
        fields=tuple(each.name for each in usual.fields) if usual else (),
        height=usual.height if usual else 0,
        width=usual.width if usual else 0,
        beams=beams,
        beams_from=beams_from,
        vertical=_span(in_sensor[:, 2], np.hypot(in_sensor[:, 0], in_sensor[:, 1])),
        horizontal=_around(in_sensor),
        usable=usable,
        lost=lost,
        layouts=len(kinds),
        intensity_field=bright[0].intensity_field if bright else "",
        intensity_scale=max((scale for _, scale in parts), default=1.0),
        raw_quantiles=tuple(float(q) for q in np.quantile(raw, (0.01, 0.5, 0.99))),
        mean=float(values.mean()),
        deviation=float(values.std()),
        rows=(min(sizes), max(sizes)),
        reach=_reach(in_sensor),
        placement=frame.placement,
        gaps=tuple(
            (float((stamps[row] - stamps[0]) / 1e9), float(steps[row] / 1e9))
            for row in gaps_in(stamps)
        ),
        backward=int((steps < 0).sum()),
        doubled=int((steps == 0).sum()),
        stamp=full[len(full) // 2].stamp if full else 0,
        sample=sample,
        cloud_sample=cloud_sample,
        origin=_origin(full[len(full) // 2], frame) if full else np.zeros(3),
    )


def _as_seen(cloud: Cloud, frame: NetworkFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The usable points in the sensor's own axes, as the network sees them, and as they came, all
    (N, 3) float32 metres.
    """
    points = cloud.points * np.float32(frame.placement.scale)
    points = points[usable_points(points)]
    try:
        network_from_cloud = frame.network_from_cloud(cloud.points, cloud.stamp)
    except TransformError:
        return points, points, points
    if not frame.placement.changes:
        return points, points, points
    sensor_from_cloud = invert(frame.placement.network_from_sensor) @ network_from_cloud
    return apply(sensor_from_cloud, points), apply(network_from_cloud, points), points


def _origin(cloud: Cloud, frame: NetworkFrame) -> np.ndarray:
    """(3,) metres, where the sensor is in the cloud's frame."""
    if not frame.placement.changes:
        return np.zeros(3)
    try:
        return invert(frame.network_from_cloud(cloud.points, cloud.stamp))[:3, 3]
    except TransformError:
        return np.zeros(3)


def _rings_of(message: Any, cloud: Cloud) -> tuple[int, str] | None:
    """(number, where from) by a field that numbers the beams; None where there is none."""
    columns = read_columns(message)
    for name in _RINGS:
        if name in (columns.dtype.names or ()) and cloud.usable.any():
            number = len(np.unique(columns[name][cloud.usable]))
            if 1 < number <= _MOST_BEAMS:
                return number, f"the field {name}"
    return None


def _beams(points: np.ndarray, cloud: Cloud | None) -> tuple[int, str]:
    """(number, where from): rows of an organised cloud, else as the points tell; (0, "") where they
    lie on no beams.
    """
    if cloud is not None and 4 <= cloud.height <= 256 and cloud.width > 2 * cloud.height:
        return cloud.height, "the rows of the cloud"
    number = count_beams(points.astype(np.float64))
    return number, "the points" if number else ""


def _span(up: np.ndarray, along: np.ndarray) -> tuple[float, float]:
    if not len(up):
        return float("nan"), float("nan")
    angles = np.degrees(np.arctan2(up, np.maximum(along, 1e-6)))
    low, high = np.quantile(angles, (0.001, 0.999))
    return float(low), float(high)


def _reach(points: np.ndarray) -> tuple[float, float]:
    if not len(points):
        return float("nan"), float("nan")
    half, most = np.quantile(np.linalg.norm(points, axis=1), (0.5, 0.99))
    return float(half), float(most)


def _around(points: np.ndarray) -> tuple[float, float]:
    """(from, to) degrees to the left of x: all but the widest part without points."""
    if not len(points):
        return float("nan"), float("nan")
    angles = np.sort(np.degrees(np.arctan2(points[:, 1], points[:, 0])))
    gaps = np.diff(np.append(angles, angles[0] + 360.0))
    widest = int(gaps.argmax())
    if gaps[widest] < 5.0:
        return -180.0, 180.0
    start = angles[(widest + 1) % len(angles)]
    return float(start), float(start + 360.0 - gaps[widest])


def _lost(clouds: list[Cloud], scale: float) -> tuple[float, dict[str, float]]:
    """(share of the rows that are points which the node labels, {cause: share} of the others, the
    largest first). `scale`: metres in a unit of the clouds.
    """
    counts: Counter[str] = Counter()
    rows = sum(cloud.num_points for cloud in clouds)
    if not rows:
        return 0.0, {}
    for cloud in clouds:
        counts.update(lost_points(cloud.points, scale, _NEAR))
    kept = (rows - counts.total()) / rows
    return kept, {cause: count / rows for cause, count in counts.most_common()}
