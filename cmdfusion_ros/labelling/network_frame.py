"""Where the network sees a stream of clouds: found once over its first scans, then kept.

Networks want z up and the origin in the sensor, 0.4 to 3.5 m over the ground, in metres. Clouds
come in base_link, odom or map too, from LiDARs that hang upside down, in millimetres. The cloud
itself is the judge (`geometry/leveling.py`); transforms say where a sensor could be. Where nothing
is sure the cloud stays as it came.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from cmdfusion_ros.geometry.leveling import (
    KNOWN_HEIGHTS,
    SHARP,
    UNITS,
    USUAL_HEIGHT,
    GroundPlane,
    beam_axis,
    densest_place,
    extent_of,
    find_ground,
    find_origin,
    relative_sharpness,
    rotation_to_z,
    sample_points,
    telling_points,
)
from cmdfusion_ros.geometry.transforms import invert, rigid
from cmdfusion_ros.labelling.placement import Placement
from cmdfusion_ros.messages.transforms import (
    ExtrapolationError,
    Tf2Buffer,
    TransformBuffer,
    TransformError,
)

_SENSOR_NAMES = re.compile(
    r"lidar|laser|velodyne|ouster|os_sensor|os\d|hesai|pandar|rslidar|robosense|livox|mid360|"
    r"hdl|vlp|scanner|lslidar",
    re.IGNORECASE,
)
_BODY_NAMES = re.compile(
    r"base_?(link|footprint|frame)?$|body|ego|vehicle|imu|odom|map|world|earth|ned|enu|camera_init",
    re.IGNORECASE,
)
_LEAVE_TILT = np.cos(np.radians(3.0))  # a street's camber is no mount's tilt
_FAR = 15.0  # metres: a sensor sees something nearer than this
_METRES_EXTENT, _LEAST_EXTENT = 400.0, 1.0  # of a cloud in metres, see `extent_of`
_PLAUSIBLE = (0.75 * KNOWN_HEIGHTS[0], 1.2 * KNOWN_HEIGHTS[1])
TRIES = 10  # scans in which something sure is looked for
_LEAST_POINTS = 200
_AS_SHARP = 0.3  # of what the sharpest place has over 1: less, and the beams begin there instead
_SURELY_SHARP = 1.06  # beams that overrule an origin whose height fits, see `find_origin`


_AS_IT_CAME = Placement(False)


@dataclass(frozen=True, eq=False)
class _Candidate:
    """A place that the beams could come from: cloud's frame, metres."""

    frame: str  # "" for the cloud's own origin
    cloud_from_sensor: np.ndarray

    @property
    def origin(self) -> np.ndarray:
        return self.cloud_from_sensor[:3, 3]


class NetworkFrame:
    """Finds the Placement of a stream of clouds and applies it.

    Args:
        transforms: has `frames() -> names` and `lookup(target, source, stamp)`, which raises
            TransformError; see `messages/transforms.py`.

    Attributes:
        placement: Placement in force.
    """

    def __init__(self, transforms: TransformBuffer | Tf2Buffer):
        self._transforms = transforms
        self._frame_id, self._tries = "", 0
        self._reference = np.zeros(3)  # where the cloud is densest, at first
        self.placement = _AS_IT_CAME

    def take(self, points: np.ndarray, frame_id: str, stamp: int) -> None:
        """Look at one more cloud, where nothing sure is known of its frame yet.

        Args:
            points: (N, 3) as they came. frame_id: of the cloud. stamp: int ns.
        """
        if frame_id != self._frame_id:
            self._frame_id, self._tries, self._reference = frame_id, 0, np.zeros(3)
            self.placement = _AS_IT_CAME
        if self.placement.sure or self._tries >= TRIES:
            return
        sample = sample_points(points)
        if len(sample) < _LEAST_POINTS:
            return  # an empty scan says nothing and counts for nothing
        self._tries += 1
        self.placement = self._find(sample, stamp)
        if self.placement.follows:
            self._reference = densest_place(sample * self.placement.scale)

    def network_from_cloud(self, points: np.ndarray, stamp: int) -> np.ndarray:
        """(4, 4) float64 for the cloud at hand, metres, after its coordinates were multiplied by
        `placement.scale`.

        Raises:
            TransformError: the sensor's place is known by transforms, but not at that time.
        """
        placement = self.placement
        if placement.sensor_frame:
            sensor_from_cloud = self._lookup(placement.sensor_frame, self._frame_id, stamp)
        else:
            sensor_from_cloud = placement.sensor_from_cloud
        if placement.follows:
            moved = densest_place(sample_points(points) * placement.scale) - self._reference
            moved[2] = 0.0  # what is dense is about the sensor, not at its height
            sensor_from_cloud = sensor_from_cloud @ rigid(np.eye(3), -moved)
        return placement.network_from_sensor @ sensor_from_cloud

    def _lookup(self, target: str, source: str, stamp: int) -> np.ndarray:
        try:
            return self._transforms.lookup(target, source, stamp)
        except ExtrapolationError:
            return self._transforms.lookup(target, source)

    def _find(self, sample: np.ndarray, stamp: int) -> Placement:
        candidates, body_up = self._candidates(stamp), self._body_up(stamp)
        found = {}
        for scale in _likely_scales(extent_of(sample)):
            placement = _place(sample * scale, candidates, body_up, self._frame_id)
            unit = next(name for name, value in UNITS.items() if value == scale)
            in_unit = "" if scale == 1.0 else f"coordinates in {unit}; "
            found[scale] = replace(placement, scale=scale, words=in_unit + placement.words)
            # A place that had to be looked for fits any unit.
            told = scale == 1.0 or np.array_equal(placement.sensor_from_cloud, np.eye(4))
            fits = _PLAUSIBLE[0] <= placement.found_height <= _PLAUSIBLE[1]
            if placement.sure and told and fits:
                return found[scale]
        # no height fits: what is in metres may still be right, another unit is not
        return found.get(1.0, _AS_IT_CAME)

    def _candidates(self, stamp: int) -> list[_Candidate]:
        """The cloud's own origin first, then the sensors that transforms know."""
        found = [_Candidate("", np.eye(4))]
        for name in sorted(self._transforms.frames()):
            if name != self._frame_id and _SENSOR_NAMES.search(name) and "camera" not in name:
                try:
                    found.append(_Candidate(name, self._lookup(self._frame_id, name, stamp)))
                except TransformError:
                    continue
        return found

    def _body_up(self, stamp: int) -> np.ndarray | None:
        """(3,) z axis of the vehicle in the cloud's frame by transforms; None where none says."""
        names = [n for n in self._transforms.frames() if _BODY_NAMES.search(n)]
        for name in sorted(names, key=lambda n: ("base" not in n, n)):
            try:
                return self._lookup(self._frame_id, name, stamp)[:3, 2]
            except TransformError:
                continue
        return None


def _likely_scales(extent: float) -> list[float]:
    """Metres in a unit, the likeliest first, for a cloud of this extent in its own unit."""
    sizes = {1.0: _METRES_EXTENT, 0.01: 200.0, 0.001: 200.0}
    return [s for s, most in sizes.items() if _LEAST_EXTENT < extent * s < most]


def _place(
    points: np.ndarray, candidates: Sequence[_Candidate], body_up: np.ndarray | None, frame_id: str
) -> Placement:
    """Placement for (N, 3) points in metres; `scale` and unit are the caller's."""
    near = [c for c in candidates if _sees_near(points, c.origin)]
    centre = near[0].origin if near else densest_place(points)
    ground = _ground(points, centre, body_up, near)
    if ground is None:
        return _without_ground(near, candidates, body_up)
    own = near[0] if near and not near[0].frame else None
    plausible = [c for c in near if _plausible(ground, c.origin)]
    chosen = _choose(points, plausible, frame_id, ground)
    if chosen is not None and chosen.frame:
        return _from_candidate(chosen, ground, frame_id)
    origin, sharpness = find_origin(points, centre, ground)
    if chosen is not None and _is_sharp(points, chosen.origin, ground, least=sharpness):
        return _from_candidate(chosen, ground, frame_id)
    if own and _is_sharp(points, own.origin, ground, least=sharpness):
        return _from_candidate(own, ground, frame_id)  # on a mast, or on the floor
    if (
        chosen is not None
        and sharpness < _SURELY_SHARP
        and KNOWN_HEIGHTS[0] <= ground.height(chosen.origin) <= KNOWN_HEIGHTS[1]
    ):
        return _from_candidate(chosen, ground, frame_id)  # a LiDAR without beams
    return _from_beams(origin, sharpness, centre, ground, follows=own is None)


def _sees_near(points: np.ndarray, origin: np.ndarray) -> bool:
    squares = np.einsum("ij,ij->i", points - origin, points - origin)
    return np.quantile(squares, 0.02) < _FAR**2


def _plausible(ground: GroundPlane, origin: np.ndarray) -> bool:
    return _PLAUSIBLE[0] <= ground.height(origin) <= _PLAUSIBLE[1]


def _ground(
    points: np.ndarray, centre: np.ndarray, body_up: np.ndarray | None, near: Sequence[_Candidate]
) -> GroundPlane | None:
    """The ground in the likeliest direction that has one: the vehicle's up, the cloud's z, upside
    down, then any; nearer than a wall may be before one that lies as far as a wall.
    """
    likely = ([] if body_up is None else [body_up]) + [np.array((0, 0, z)) for z in (1.0, -1.0)]
    found = []
    for up in likely:
        ground = find_ground(points, centre, up)
        if ground is not None and _lies_under(ground, near, -0.5, _PLAUSIBLE[1]):
            return ground
        found += [ground] if ground is not None else []
    corners = [np.array((x, y, z)) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (1, 0, -1)]
    some = points[::4]
    tilted = [find_ground(some, centre, c / np.linalg.norm(c)) for c in corners if c[:2].any()]
    # A wall is a plane too, with nothing behind it; but it does not fill most of what is seen.
    seen = [g for g in tilted if g and g.share > 0.5 and _lies_under(g, near, *_PLAUSIBLE)]
    if seen:
        best = max(seen, key=lambda g: g.area)
        return find_ground(points, centre, best.up) or best
    return next((g for g in found if _lies_under(g, near, -0.5, 12.0)), None)


def _lies_under(
    ground: GroundPlane, near: Sequence[_Candidate], lowest: float, highest: float
) -> bool:
    """Whether one of the places is that high over it; yes where there is none."""
    return not near or any(lowest <= ground.height(c.origin) <= highest for c in near)


def _is_sharp(
    points: np.ndarray,
    origin: np.ndarray,
    ground: GroundPlane,
    axis: ArrayLike = (0.0, 0.0, 1.0),
    least: float = 1.0,
) -> bool:
    """Whether the beams of a LiDAR that turns about its `axis`, or about the upright, begin at
    `origin`, where elsewhere they are `least` sharp: a place of chance is a little sharp too.
    """
    near = points[np.einsum("ij,ij->i", points - origin, points - origin) < 625.0]
    near = telling_points(near, ground)
    axes = np.asarray(axis, np.float64), beam_axis(ground.up), ground.up
    wanted = max(SHARP, 1.0 + _AS_SHARP * (least - 1.0))
    return any(relative_sharpness(near, origin, one) >= wanted for one in axes)


def _choose(
    points: np.ndarray, plausible: Sequence[_Candidate], frame_id: str, ground: GroundPlane
) -> _Candidate | None:
    """Of the candidates whose height over the ground fits: the cloud's own origin, unless its
    frame is a vehicle's or the beams say that they come from elsewhere.
    """
    if len(plausible) <= 1:
        return plausible[0] if plausible else None
    own = next((c for c in plausible if not c.frame), None)
    if own and (_SENSOR_NAMES.search(frame_id) or not _BODY_NAMES.search(frame_id)):
        return own
    axes = [c.cloud_from_sensor[:3, 2] for c in plausible]
    sharp = [
        candidate
        for candidate, axis in zip(plausible, axes, strict=True)
        if _is_sharp(points, candidate.origin, ground, axis)
    ]
    others = [c for c in sharp or plausible if c.frame] or sharp
    return max(others, key=lambda c: ground.height(c.origin))


def _from_candidate(chosen: _Candidate, ground: GroundPlane, frame_id: str) -> Placement:
    sensor_from_cloud = invert(chosen.cloud_from_sensor)
    up = sensor_from_cloud[:3, :3] @ ground.up
    height = ground.height(chosen.origin)
    place = f"origin of {chosen.frame or frame_id or 'the cloud'}"
    return _leveled(up, height, place, chosen.frame, np.eye(4))


def _leveled(
    up: np.ndarray,
    height: float,
    place: str,
    sensor_frame: str,
    sensor_from_cloud: np.ndarray,
    follows: bool = False,
) -> Placement:
    """The Placement of a sensor that sees the ground's `up` (3,) in its own axes, at `height`."""
    rotation = _level_rotation(up)
    lifted = float(np.clip(height, *KNOWN_HEIGHTS)) - height if height > 0 else 0.0
    tilt = float(np.degrees(np.arccos(np.clip(up[2], -1, 1))))
    words = f"{place}, {height:.2f} m over the ground, {_tilt_words(tilt)}"
    if lifted:
        low, high = KNOWN_HEIGHTS
        words += f"; the networks know {low} to {high} m, so it is shown {height + lifted:.1f} m"
    return Placement(
        True,
        network_from_sensor=rigid(rotation, np.array((0.0, 0.0, -lifted))),  # the ground falls
        sensor_frame=sensor_frame,
        sensor_from_cloud=sensor_from_cloud,
        height=height + lifted,
        found_height=height,
        tilt_deg=tilt,
        words=words,
        follows=follows,
    )


def _level_rotation(up: np.ndarray) -> np.ndarray:
    """(3, 3): the quarter turns that bring `up` nearest to z, and the rest of the way only where
    it is more than a street's camber.
    """
    turn = rotation_to_z(beam_axis(up, 45.0))
    rest = turn @ up
    return turn if rest[2] >= _LEAVE_TILT else rotation_to_z(rest) @ turn


def _tilt_words(tilt: float) -> str:
    if tilt > 170:
        return "upside down"
    return f"tilted by {tilt:.0f} degrees" if tilt > 3 else "upright"


def _from_beams(
    origin: np.ndarray, sharpness: float, centre: np.ndarray, ground: GroundPlane, follows: bool
) -> Placement:
    """Neither the cloud's origin nor a transform is a sensor's place."""
    if sharpness >= SHARP:
        place = "its origin is no sensor's; the beams come from {} m"
    else:
        origin = centre + ground.up * (USUAL_HEIGHT - ground.height(centre))
        place = "its origin is no sensor's and no transform tells one: assumed at {} m"
    place = place.format(", ".join(f"{value:.1f}" for value in origin))
    shifted = rigid(np.eye(3), -origin)
    return _leveled(ground.up, ground.height(origin), place, "", shifted, follows=follows)


def _without_ground(
    near: Sequence[_Candidate], candidates: Sequence[_Candidate], body_up: np.ndarray | None
) -> Placement:
    """No ground is seen: only what transforms say counts."""
    known = [c for c in candidates if c.frame]
    own = (bool(near) and not near[0].frame) or not known
    if own and (body_up is None or body_up[2] > 0.7):
        return replace(_AS_IT_CAME, words="no ground seen in it: taken as it came")
    chosen = candidates[0] if own else next((c for c in near if c.frame), known[0])
    up = np.array((0.0, 0.0, 1.0))
    if body_up is not None:
        up = chosen.cloud_from_sensor[:3, :3].T @ body_up
    tilt = float(np.degrees(np.arccos(np.clip(up[2], -1, 1))))
    return Placement(
        True,
        network_from_sensor=rigid(_level_rotation(up), np.zeros(3)),
        sensor_frame=chosen.frame,
        sensor_from_cloud=np.eye(4),
        tilt_deg=tilt,
        words=f"no ground seen; {_tilt_words(tilt)}, as the transforms say"
        + (f"; origin of {chosen.frame}" if chosen.frame else ""),
    )
