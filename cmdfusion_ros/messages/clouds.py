"""PointCloud2 -> numpy: what the node receives, what bags hold, what training reads. The way back
is in `labelled_clouds.py`.

Nothing here imports ROS: every function takes any object with the fields of the message, from rclpy
or from rosbags. A message that cannot be read raises MessageError and nothing else, whatever its
bytes are.

sensor_msgs_py is not used, even where it is installed. Tried side by side (its version of November
2024), it takes no notice of row_step, so that a cloud with padded rows comes out as other points;
swaps a big-endian cloud wrongly when three of its fields are asked for; and gives an organised
cloud as width x height. It knows neither all-zero points nor scales of intensity.
`benchmarks/node_overhead.py` has the times: about ours with structured arrays, 60 times ours with
the loops people write.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

# sensor_msgs/PointField datatype -> numpy
DTYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}
UINT8, UINT32, FLOAT32, FLOAT64 = 2, 6, 7, 8
_DATATYPE_NAMES = dict(
    zip(DTYPES, "INT8 UINT8 INT16 UINT16 INT32 UINT32 FLOAT32 FLOAT64".split(), strict=True)
)
# what "auto" looks for, in this order
INTENSITY_NAMES = ("intensity", "intensities", "reflectivity", "reflectance", "remission", "i")
INTENSITY_SCALES = (1.0, 255.0, 65535.0)
# metres; no LiDAR reaches it, and voxel indices end at 52 km with voxels of 0.1 m
MAX_RANGE = 10_000.0
# what an announcement in a few bytes may make of us; no LiDAR comes near either
MAX_POINT_STEP, MAX_FIELDS = 65_536, 1024
# points looked at to guess the scale of an intensity: 0.1 ms, whatever the size of the cloud
_SCALE_SAMPLE = 8192


class MessageError(ValueError):
    """A message that cannot be used. The text says where, what was expected, what was found and
    what to do.
    """


@dataclass(frozen=True)
class Field:
    """One sensor_msgs/PointField."""

    name: str
    offset: int
    datatype: int
    count: int = 1


@dataclass(frozen=True, eq=False)
class Cloud:
    """What `read_cloud` found. Arrays may share memory with the message and are read-only where
    they do.

    Attributes:
        points: (N, 3) float32, metres, frame `frame_id`; all N = height * width rows of the
            message, NaN and zero rows included.
        usable: (N,) bool, the rows that are points: finite, not (0, 0, 0) (how Ouster and others
            write "no return") and nearer than MAX_RANGE.
        intensity: (N,) float32 in [0, 1]; 0 where it is NaN or there is none.
        intensity_field: the field it was read from; "" where there is none.
        intensity_scale: what it was divided by.
        height, width: organisation of the message; row r of the arrays is line r // width, column r
            % width.
        stamp: int, ns. frame_id: str. is_dense: bool, as the message says.
        raw: (N, point_step) uint8, the message's own bytes; a view unless its rows are padded.
        fields: tuple of Field, as in the message (a count of 0 as 1). is_bigendian: byte order of
            `raw`.
    """

    points: np.ndarray
    usable: np.ndarray
    intensity: np.ndarray
    intensity_field: str
    intensity_scale: float
    height: int
    width: int
    stamp: int
    frame_id: str
    is_dense: bool
    raw: np.ndarray = field(repr=False)
    fields: tuple = ()
    is_bigendian: bool = False

    @property
    def num_points(self) -> int:
        return len(self.points)


def stamp_ns(stamp: Any) -> int:
    """builtin_interfaces/Time -> int nanoseconds."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def read_cloud(
    message: Any,
    intensity_field: str = "auto",
    intensity_scale: float = 0.0,
    least_scale: float = 0.0,
) -> Cloud:
    """sensor_msgs/PointCloud2 of any layout -> Cloud.

    Takes padding in points and rows, either byte order, organised clouds, fields in any order and
    any further fields. x, y, z may be FLOAT32 or FLOAT64. Where they are little-endian FLOAT32
    beside each other, `Cloud.points` is a view of the message: nothing is copied.

    The scale of an intensity is not in the message. Where `intensity_scale` is 0 it is guessed: 255
    for 8-bit fields, else the least of 1, 255 and 65535 (no 1 for integers) that 99 of 100 usable
    points stay within, but never less than `least_scale`. Give the last cloud's `intensity_scale`
    as `least_scale`, and a dark scan does not change the meaning of the numbers. What is over the
    scale becomes 1.

    Args:
        message: PointCloud2.
        intensity_field: "auto" (the first of INTENSITY_NAMES that is there, else none), "none", or
            the name of a field.
        intensity_scale: the value that stands for full intensity; 0 to guess.
        least_scale: lower bound of a guess.

    What PCL and RViz take is taken too: a field's count of 0, which means 1; no point_step in an
    empty cloud; no row_step in a single row.

    Raises:
        MessageError: truncated or surplus data, wrong steps, missing or doubled fields, wrong
            types, offsets beyond the step.
    """
    fields = _fields_of(message)
    grid = _check_grid(message, fields)
    _check_fields(fields, grid.point_step)
    order = ">" if message.is_bigendian else "<"
    chosen = _intensity_field(fields, intensity_field)
    points = _read_points(grid, fields, order)
    usable = usable_points(points)
    if chosen is None:
        scale = intensity_scale or max(least_scale, 1.0)
        intensity = np.zeros(len(points), np.float32)
    else:
        values = grid.values(chosen.offset, order + DTYPES[chosen.datatype])
        scale = intensity_scale or guess_intensity_scale(values, usable, least_scale)
        intensity = _normalised(values, scale)
    return Cloud(
        points=points,
        usable=usable,
        intensity=intensity,
        intensity_field=chosen.name if chosen else "",
        intensity_scale=float(scale),
        height=grid.height,
        width=grid.width,
        stamp=stamp_ns(message.header.stamp),
        frame_id=str(message.header.frame_id),
        is_dense=bool(message.is_dense),
        raw=grid.values(0, "u1", grid.point_step),
        fields=fields,
        is_bigendian=bool(message.is_bigendian),
    )


def read_columns(message: Any) -> np.ndarray:
    """All fields of a PointCloud2 as a read-only structured array (N,), one column a field of
    count 1; a view unless rows are padded.

    For clouds whose further fields matter, as labels; x, y, z and intensity as the network takes
    them come from `read_cloud`.

    Raises:
        MessageError: as `read_cloud` does.
    """
    fields = _fields_of(message)
    grid = _check_grid(message, fields)
    _check_fields(fields, grid.point_step)
    order = ">" if message.is_bigendian else "<"
    single = [item for item in fields if item.count == 1 and item.datatype in DTYPES]
    layout = {
        "names": [item.name for item in single],
        "formats": [order + DTYPES[item.datatype] for item in single],
        "offsets": [item.offset for item in single],
        "itemsize": grid.point_step,
    }
    try:
        dtype = np.dtype(layout)  # type: ignore[call-overload]  # numpy's stubs know no such dict
    except ValueError as error:  # two fields of one name
        raise MessageError(f"cloud fields: {error}; is this the LiDAR's topic?") from error
    return grid.rows(dtype)


@dataclass(frozen=True)
class _Grid:
    """The bytes of a cloud and the steps through them, checked against each other."""

    flat: np.ndarray  # (bytes,) uint8, read-only
    height: int
    width: int
    point_step: int
    row_step: int

    def rows(self, dtype: Any) -> np.ndarray:
        """(N,) of a structured dtype as wide as a point."""
        if not self.height * self.width:
            return np.zeros(0, dtype)
        shape, strides = (self.height, self.width), (self.row_step, self.point_step)
        return np.ndarray(shape, dtype, self.flat, 0, strides).reshape(-1)

    def values(self, offset: int, dtype: Any, columns: Any = None) -> np.ndarray:
        """(N,) or (N, columns) values that start `offset` bytes into each point: a view unless
        rows are padded or bytes must be swapped.
        """
        dtype = np.dtype(dtype)
        inner = () if columns is None else (columns,)
        if not self.height * self.width:
            return np.zeros((0, *inner), dtype.newbyteorder("="))
        shape = (self.height, self.width, *inner)
        strides = (self.row_step, self.point_step, dtype.itemsize)[: len(shape)]
        values = np.ndarray(shape, dtype, self.flat, offset, strides)
        return values.reshape(-1, *inner).astype(dtype.newbyteorder("="), copy=False)


def _fields_of(message: Any) -> tuple[Field, ...]:
    return tuple(
        Field(str(f.name), int(f.offset), int(f.datatype), int(f.count) or 1)
        for f in message.fields
    )


def _check_grid(message: Any, fields: Sequence[Field]) -> _Grid:
    height, width = int(message.height), int(message.width)
    point_step, row_step = int(message.point_step), int(message.row_step)
    if not height * width and not point_step:
        point_step = max(map(_end, fields), default=0)
    if height == 1 and not row_step:
        row_step = width * point_step
    if point_step > MAX_POINT_STEP:
        raise MessageError(
            f"cloud point_step: expected at most {MAX_POINT_STEP} bytes, got {point_step}; the "
            "driver sets it wrongly"
        )
    try:
        flat = np.frombuffer(message.data, np.uint8) if len(message.data) else np.zeros(0, np.uint8)
    except (TypeError, ValueError) as error:
        raise MessageError(
            f"cloud data: expected a buffer of bytes, got {type(message.data).__name__} ({error})"
        ) from error
    flat.flags.writeable = False
    if height * width and not point_step:
        raise MessageError(
            f"cloud point_step: expected more than 0 for {height} x {width} points, got 0; the "
            "driver sets it wrongly"
        )
    if row_step < width * point_step and height:
        raise MessageError(
            f"cloud row_step: expected at least width * point_step = {width * point_step}, got "
            f"{row_step}; the driver sets it wrongly"
        )
    # the last row may lack its padding
    needed = row_step * (height - 1) + width * point_step if height and width else 0
    if len(flat) < needed:
        raise MessageError(
            f"cloud data: expected {needed} bytes ({height} rows of {row_step}), got {len(flat)}: "
            "cut off; does the transport lose fragments?"
        )
    if len(flat) > row_step * height:
        raise MessageError(
            f"cloud data: expected {row_step * height} bytes ({height} rows of {row_step}), got "
            f"{len(flat)}; are height and width right?"
        )
    return _Grid(flat, height, width, point_step, row_step)


def _check_fields(fields: Sequence[Field], point_step: int) -> None:
    """Every field must lie inside the point. A type that we do not know (a newer message's)
    passes as long as nobody reads it.
    """
    for item in fields:
        end = _end(item)
        if end > point_step:
            raise MessageError(
                f"cloud field {item.name!r}: expected to end within point_step = {point_step} "
                f"bytes, ends at {end}; the driver sets it wrongly"
            )


def _end(item: Field) -> int:
    return item.offset + np.dtype(DTYPES.get(item.datatype, "u1")).itemsize * item.count


def _find_field(fields: Sequence[Field], name: str, datatypes: Collection[int]) -> Field:
    found = [item for item in fields if item.name == name]
    if len(found) != 1:
        known = ", ".join(item.name for item in fields) or "none"
        raise MessageError(
            f"cloud fields: expected one field {name!r}, got {len(found)} among {known}; is this "
            "the LiDAR's topic?"
        )
    if found[0].count != 1 or found[0].datatype not in datatypes:
        kinds = " or ".join(_DATATYPE_NAMES[kind] for kind in sorted(datatypes))
        got = _DATATYPE_NAMES.get(found[0].datatype, f"of datatype {found[0].datatype}")
        raise MessageError(
            f"cloud field {name!r}: expected one {kinds} a point, got {found[0].count} {got}; let "
            "the driver publish it so"
        )
    return found[0]


def _intensity_field(fields: Sequence[Field], wanted: str) -> Field | None:
    if wanted == "auto":
        names = {item.name for item in fields}
        wanted = next((name for name in INTENSITY_NAMES if name in names), "none")
    if wanted == "none" or not fields:  # an empty cloud often names no fields
        return None
    return _find_field(fields, wanted, DTYPES)


def _read_points(grid: _Grid, fields: Sequence[Field], order: str) -> np.ndarray:
    if not grid.height * grid.width:
        return np.zeros((0, 3), np.float32)
    x, y, z = (_find_field(fields, name, (FLOAT32, FLOAT64)) for name in "xyz")
    beside = (y.offset, z.offset) == (
        x.offset + 4,
        x.offset + 8,
    ) and x.datatype == y.datatype == z.datatype == FLOAT32
    if beside:
        points = grid.values(x.offset, order + "f4", 3)
        if points.strides[0] % 4 == 0 and points.flags.aligned:
            return points
        return np.ascontiguousarray(points)  # torch takes no strides that are not whole floats
    points = np.empty((grid.height * grid.width, 3), np.float32)
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, so unusable
        for column, item in enumerate((x, y, z)):
            points[:, column] = grid.values(item.offset, order + DTYPES[item.datatype])
    return points


def usable_points(points: np.ndarray) -> np.ndarray:
    """(N,) bool: the rows of (N, 3) metres that are points; see `Cloud.usable`."""
    with np.errstate(over="ignore", invalid="ignore"):
        # one pass; NaN and infinity fail the comparisons
        squares = np.einsum("ij,ij->i", points, points)
        return (squares > 0) & (squares < MAX_RANGE**2)


def guess_intensity_scale(
    values: np.ndarray, usable: np.ndarray, least_scale: float = 0.0
) -> float:
    """The value that stands for full intensity; the rule is in `read_cloud`. (N,) values and
    (N,) bool -> float.
    """
    if values.dtype.itemsize == 1:
        return max(least_scale, 255.0)
    step = max(1, len(values) // _SCALE_SAMPLE)
    sample = values[::step][usable[::step]]
    sample = sample[np.isfinite(sample)]
    scales = INTENSITY_SCALES if values.dtype.kind == "f" else INTENSITY_SCALES[1:]
    if not len(sample):
        return max(least_scale, scales[0])
    largest = np.quantile(sample.astype(np.float64), 0.99)
    return max(least_scale, next((scale for scale in scales if largest <= scale), scales[-1]))


def _normalised(values: np.ndarray, scale: float) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        intensity = values.astype(np.float32)
        intensity *= np.float32(1.0 / scale)
    return np.nan_to_num(intensity.clip(0.0, 1.0), copy=False, nan=0.0)
