"""Labels -> PointCloud2: the layouts in which labelled clouds are published."""

import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cmdfusion_ros.class_map import ClassMap
from cmdfusion_ros.frame import IGNORE_LABEL, Prediction
from cmdfusion_ros.messages.clouds import DTYPES, FLOAT32, UINT8, UINT32, Cloud, Field, MessageError

# in this order, 4 bytes each
_OURS = {"rgb": FLOAT32, "label": UINT32, "confidence": FLOAT32, "camera_mask": UINT32}
_XYZ = (Field("x", 0, FLOAT32), Field("y", 4, FLOAT32), Field("z", 8, FLOAT32))


@dataclass(frozen=True, eq=False)
class CloudPayload:
    """A PointCloud2 but for its header: what `fill_cloud` writes. `data` is an array.array("B"),
    the only type that rclpy takes without a scan.
    """

    height: int
    width: int
    fields: tuple
    point_step: int
    data: array.array = field(repr=False)
    is_dense: bool
    is_bigendian: bool = False


def write_labelled_cloud(
    cloud: Cloud,
    prediction: Prediction,
    rows: np.ndarray,
    class_map: ClassMap,
    layout: str = "full",
    confidence_threshold: float = 0.0,
    unlabelled_id: int | None = None,
) -> CloudPayload:
    """The labelled PointCloud2 of a scan: same points, order, count and organisation as the input,
    little-endian.

    full      x y z intensity FLOAT32, rgb FLOAT32 (0x00RRGGBB in its bits, as RViz and PCL read
              it), label UINT32 (raw label of the class map), confidence FLOAT32, camera_mask UINT32
              (bit i = view i of the Frame, 0 = LiDAR alone): 32 bytes. intensity is
              Cloud.intensity, in [0, 1].
    minimal   x y z FLOAT32, label UINT32: 16 bytes.
    append    the input's own points, then rgb label confidence camera_mask. An input field of one
    of these names gives way to ours.
    autoware  x y z FLOAT32, class_id UINT8, probability FLOAT32, packed: 17 bytes.

    A point that was not given to the network (not in `rows`) or whose confidence is below
    `confidence_threshold` is unlabelled: `unlabelled_id`, confidence 0, the colour of IGNORE_LABEL.
    No label is invented for it.

    Args:
        cloud: the Cloud that was read.
        prediction: Prediction of the points `cloud.points[rows]`, in that order.
        rows: (N,) bool, or (P,) int row numbers.
        class_map: ClassMap of the labels.
        layout: "full", "minimal", "append" or "autoware".
        confidence_threshold: 0 to 1.
        unlabelled_id: raw label of unlabelled points; None for the class map's `ignore_raw`.

    Returns:
        CloudPayload.

    Raises:
        ValueError: unknown layout, a count of predictions that does not fit, raw labels that do not
            fit the layout.
        MessageError: append to a big-endian cloud with a field of unknown type, whose bytes nobody
            can swap.
    """
    writers = {
        "full": _write_full,
        "minimal": _write_minimal,
        "append": _write_append,
        "autoware": _write_autoware,
    }
    if layout not in writers:
        raise ValueError(f"layout: expected one of {', '.join(writers)}, got {layout!r}")
    return writers[layout](
        cloud, _spread(cloud, prediction, rows, class_map, confidence_threshold, unlabelled_id)
    )


def _spread(
    cloud: Cloud,
    prediction: Prediction,
    rows: np.ndarray,
    class_map: ClassMap,
    confidence_threshold: float,
    unlabelled_id: int | None,
) -> dict[str, np.ndarray]:
    """Our four columns, each (N,) uint32 (floats as their bits), for all rows of the cloud."""
    rows = np.asarray(rows)
    num_rows = int(np.count_nonzero(rows)) if rows.dtype == bool else len(rows)
    if num_rows != len(prediction.labels):
        raise ValueError(
            f"prediction: expected {num_rows} labels, one for each of `rows`, got "
            f"{len(prediction.labels)}"
        )
    place: np.ndarray | slice = rows
    if rows.dtype == bool and num_rows == len(rows):
        place = slice(None)  # every point: a plain copy, four times as fast as a scatter
    sure = prediction.confidence >= confidence_threshold
    labels = np.full(cloud.num_points, IGNORE_LABEL, np.uint8)
    labels[place] = np.where(sure, prediction.labels, IGNORE_LABEL)
    confidence = np.zeros(cloud.num_points, np.float32)
    confidence[place] = np.where(sure, prediction.confidence, 0)
    camera_mask = np.zeros(cloud.num_points, np.uint32)
    camera_mask[place] = prediction.camera_mask
    every_label = np.arange(256, dtype=np.uint8)
    raw_of = class_map.raw_from_labels(every_label).astype(np.uint32)
    if unlabelled_id is not None:
        raw_of[IGNORE_LABEL] = unlabelled_id
    red, green, blue = class_map.colors_from_labels(every_label).astype(np.uint32).T
    rgb_of = red << 16 | green << 8 | blue
    return {
        "rgb": rgb_of[labels],
        "label": raw_of[labels],
        "confidence": confidence.view(np.uint32),
        "camera_mask": camera_mask,
    }


def _write_full(cloud: Cloud, columns: Mapping[str, np.ndarray]) -> CloudPayload:
    fields = (*_XYZ, Field("intensity", 12, FLOAT32), *_our_fields(16))
    data, words = _blank(cloud, 32, np.uint32)
    words[:, :3].view(np.float32)[:] = cloud.points
    words[:, 3] = cloud.intensity.view(np.uint32)
    _fill(words[:, 4:], columns)
    return _payload(cloud, fields, 32, data)


def _write_minimal(cloud: Cloud, columns: Mapping[str, np.ndarray]) -> CloudPayload:
    data, words = _blank(cloud, 16, np.uint32)
    words[:, :3].view(np.float32)[:] = cloud.points
    words[:, 3] = columns["label"]
    return _payload(cloud, (*_XYZ, Field("label", 12, UINT32)), 16, data)


def _write_autoware(cloud: Cloud, columns: Mapping[str, np.ndarray]) -> CloudPayload:
    largest = int(columns["label"].max(initial=0))
    if largest > 255:
        raise ValueError(
            f"layout autoware: expected raw labels up to 255 (class_id is UINT8), got {largest}; "
            "use the layout full"
        )
    data, packed = _blank(
        cloud, 17, np.dtype([("xyz", "<f4", 3), ("class_id", "u1"), ("probability", "<u4")])
    )
    packed = packed[:, 0]
    packed["xyz"], packed["class_id"], packed["probability"] = (
        cloud.points,
        columns["label"],
        columns["confidence"],
    )
    return _payload(
        cloud, (*_XYZ, Field("class_id", 12, UINT8), Field("probability", 13, FLOAT32)), 17, data
    )


def _write_append(cloud: Cloud, columns: Mapping[str, np.ndarray]) -> CloudPayload:
    theirs = tuple(item for item in cloud.fields if item.name not in _OURS)
    old_step = cloud.raw.shape[1]
    start = (old_step + 3) // 4 * 4  # ours begin at a whole word
    data, rows = _blank(cloud, start + 16, np.uint8)
    rows[:, :old_step] = cloud.raw
    if cloud.is_bigendian:
        _swap_bytes(rows, theirs)
    _fill(rows[:, start:].view(np.uint32), columns)
    return _payload(cloud, theirs + _our_fields(start), start + 16, data)


def _swap_bytes(rows: np.ndarray, fields: Sequence[Field]) -> None:
    for item in fields:
        if item.datatype not in DTYPES:
            raise MessageError(
                f"cloud field {item.name!r}: cannot swap bytes of the unknown datatype "
                f"{item.datatype}; use the layout full"
            )
        size = np.dtype(DTYPES[item.datatype]).itemsize
        if size == 1 or not len(rows):
            continue  # nothing to swap, however many a field claims to hold
        theirs = rows[:, item.offset : item.offset + size * item.count]
        theirs[:] = theirs.reshape(len(rows), item.count, size)[:, :, ::-1].reshape(theirs.shape)


def write_selected_cloud(cloud: Cloud, keep: np.ndarray) -> CloudPayload:
    """The rows of `cloud` where `keep` (N,) is True, as an unorganised PointCloud2 in the
    input's own layout and byte order.
    """
    raw = cloud.raw[keep]
    data = array.array("B")
    data.frombytes(np.ascontiguousarray(raw).reshape(-1).data)
    return CloudPayload(
        1, len(raw), cloud.fields, raw.shape[1], data, cloud.is_dense, cloud.is_bigendian
    )


def fill_cloud(
    message: Any, payload: CloudPayload, header: Any, point_field: Callable[..., Any]
) -> Any:
    """Fill a PointCloud2 with `payload` and return it.

    `data` is an array.array because rclpy takes that as it is or copies it in one go (0 to 2 ms for
    4 MB); it looks through a numpy array element by element (0.6 s), and through bytes too where it
    checks fields (0.7 s).

    Args:
        message: an empty PointCloud2. header: the input cloud's header. point_field: the class
            PointField.
    """
    message.header = header
    message.height, message.width = payload.height, payload.width
    message.fields = [
        point_field(name=f.name, offset=f.offset, datatype=f.datatype, count=f.count)
        for f in payload.fields
    ]
    message.is_bigendian, message.is_dense = payload.is_bigendian, payload.is_dense
    message.point_step, message.row_step = payload.point_step, payload.point_step * payload.width
    message.data = payload.data
    return message


def _blank(cloud: Cloud, point_step: int, dtype: Any) -> tuple[Any, np.ndarray]:
    """Zeroed bytes for every point of `cloud` and a (N, point_step / itemsize) view of them to
    write through: filled in place, never copied.
    """
    data = array.array("B", [0]) * (cloud.num_points * point_step)
    if not data:
        return data, np.zeros((0, point_step // np.dtype(dtype).itemsize), dtype)
    return data, np.frombuffer(data, dtype).reshape(cloud.num_points, -1)


def _our_fields(start: int) -> tuple[Field, ...]:
    return tuple(
        Field(name, start + 4 * index, datatype)
        for index, (name, datatype) in enumerate(_OURS.items())
    )


def _fill(words: np.ndarray, columns: Mapping[str, np.ndarray]) -> None:
    for index, name in enumerate(_OURS):
        words[:, index] = columns[name]


def _payload(cloud: Cloud, fields: tuple[Field, ...], point_step: int, data: Any) -> CloudPayload:
    return CloudPayload(cloud.height, cloud.width, fields, point_step, data, cloud.is_dense)
