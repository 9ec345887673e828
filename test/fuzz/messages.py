"""The doors for messages. Their inputs are CDR bytes, as they come over the wire."""

import struct
import zlib
from random import Random

import cv2
import numpy as np
from builders import bag_messages as bags
from fuzz.door import Door
from fuzz.mutate import as_message, mutate_bytes

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.data.bags.bag import ros2_types
from cmdfusion_ros.frame import Prediction
from cmdfusion_ros.messages.camera_info import read_camera_info
from cmdfusion_ros.messages.clouds import DTYPES, MAX_FIELDS, MessageError, read_cloud, read_columns
from cmdfusion_ros.messages.images import ENCODINGS, decode_image
from cmdfusion_ros.messages.jpeg_check import jpeg_damage
from cmdfusion_ros.messages.labelled_clouds import write_labelled_cloud, write_selected_cloud
from cmdfusion_ros.messages.stamps import raw_frame_id, raw_num_fields, raw_stamp_ns
from cmdfusion_ros.messages.transforms import TransformBuffer, TransformError

LAYOUTS = ("full", "minimal", "append", "autoware")
SIZE = 24, 16  # pixels of the images
_FIELD_NAMES = (
    "x",
    "y",
    "z",
    "intensity",
    "i",
    "rgb",
    "label",
    "confidence",
    "camera_mask",
    "ring",
)


def _read(data, msgtype):
    """What the node does with bytes: first the stamp, then the rest."""
    raw_stamp_ns(data)
    return _deserialised(data, msgtype)


def _deserialised(data, msgtype):
    try:
        return ros2_types().deserialize_cdr(data, msgtype)
    except Exception as error:  # of rosbags or numpy; rclpy's own is C++, and guarded likewise
        raise MessageError(f"{error}") from error


def _bytes(message, msgtype):
    return bytes(ros2_types().serialize_cdr(message, msgtype))


# ---- clouds


def take_cloud(data, folder):
    """Read a cloud and write it in every layout."""
    raw_frame_id(data)
    if raw_num_fields(data) > MAX_FIELDS:
        return
    message = _read(data, bags.CLOUD)
    cloud = read_cloud(message)
    number = np.count_nonzero(cloud.usable)
    street = load_class_map("street")
    prediction = Prediction(
        (np.arange(number) % street.num_classes).astype(np.uint8),
        np.full(number, 0.5, np.float32),
        np.ones(number, np.uint32),
    )
    for layout in LAYOUTS:
        try:
            written = write_labelled_cloud(cloud, prediction, cloud.usable, street, layout)
        except MessageError:
            continue
        assert written.height * written.width == cloud.num_points
        assert len(written.data) == cloud.num_points * written.point_step
    write_selected_cloud(cloud, cloud.usable)
    columns = read_columns(message)
    assert len(columns) == cloud.num_points


def cloud_seeds():
    """Clouds of every type of field, organised, padded, of either byte order, and empty."""
    point_field = ros2_types().types["sensor_msgs/msg/PointField"]
    found = []
    for order, height, padding, kind in (
        ("<", 1, 0, 7), (">", 1, 0, 7), ("<", 3, 8, 7), ("<", 1, 0, 8), (">", 2, 5, 8),
    ):  # fmt: skip
        size = 4 if kind == 7 else 8
        extra = [("intensity", 2, 1), ("ring", 4, 1), ("t", 6, 1), ("echo", 5, 3)]
        fields = [point_field(name, size * place, kind, 1) for place, name in enumerate("xyz")]
        step = 3 * size
        for name, datatype, count in extra:
            fields.append(point_field(name, step, datatype, count))
            step += np.dtype(DTYPES[datatype]).itemsize * count
        width = 6 // height
        rows = np.random.default_rng(len(found)).integers(0, 256, (height, width, step), np.uint8)
        xyz = np.arange(3.0 * height * width).reshape(height, width, 3).astype(f"{order}f{size}")
        rows[..., : 3 * size] = np.frombuffer(xyz.tobytes(), np.uint8).reshape(height, width, -1)
        data = np.pad(rows.reshape(height, -1), ((0, 0), (0, padding))).reshape(-1)
        message = bags.make(
            bags.CLOUD, bags.header(bags.START, "lidar"), height, width, fields, order == ">", step,
            step * width + padding, data, False,
        )  # fmt: skip
        found.append(_bytes(message, bags.CLOUD))
    found.append(_bytes(bags.cloud(bags.START), bags.CLOUD))
    found.append(_bytes(bags.cloud(bags.START, 0), bags.CLOUD))
    return found


# ---- images


def take_image(data, folder):
    """Decode a raw image, first held against its calibration, then against the limit alone."""
    _decode(_read(data, bags.IMAGE))


def take_compressed(data, folder):
    _decode(_read(data, bags.COMPRESSED))


def _decode(message):
    for expected in (SIZE, None):
        try:
            image = decode_image(message, expected)
        except MessageError:
            continue
        assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
        assert expected is None or image.shape[1::-1] == expected


def image_seeds():
    found = []
    for name, (pixel_bytes, _) in ENCODINGS.items():
        lines = SIZE[1] * 3 // 2 if name in ("nv12", "nv21") else SIZE[1]
        step = SIZE[0] * pixel_bytes + (3 if name == "rgb8" else 0)
        data = np.arange(lines * step).astype(np.uint8)
        message = bags.make(
            bags.IMAGE, bags.header(bags.START, "front"), SIZE[1], SIZE[0], name, 0, step, data
        )
        found.append(_bytes(message, bags.IMAGE))
    return found


def picture():
    return np.random.default_rng(0).integers(0, 256, (SIZE[1], SIZE[0], 3), np.uint8)


def image_files():
    """(bytes, format) of small files of every kind."""
    image = picture()
    yield cv2.imencode(".jpg", image)[1], "jpeg"
    yield cv2.imencode(".jpg", image[:, :, 0])[1], "mono8; jpeg compressed mono8"
    yield cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1], "jpeg"
    yield (
        cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_RST_INTERVAL, 2])[1],
        "rgb8; jpeg ",
    )
    yield cv2.imencode(".png", image)[1], "rgb8; png compressed bgr8"
    yield cv2.imencode(".png", image.astype(np.uint16) * 256)[1], "png"
    yield cv2.imencode(".png", image[:, :, 0])[1], "bayer_rggb8; png compressed "
    yield cv2.imencode(".tiff", image)[1], "tiff"
    yield cv2.imencode(".tiff", image, [cv2.IMWRITE_TIFF_COMPRESSION, 1])[1], "tiff"


def compressed_seeds():
    return [
        _bytes(
            bags.make(bags.COMPRESSED, bags.header(bags.START, "front"), kind, data.reshape(-1)),
            bags.COMPRESSED,
        )
        for data, kind in image_files()
    ]


def mutate_file(data: bytes, random: Random) -> bytes:
    """Bytes of an image file changed; the checksums of a PNG made right again for one in two."""
    changed = mutate_bytes(data, random)
    if data[:4] == b"\x89PNG" and random.random() < 0.5:
        changed = with_checksums(changed)
    return changed


def with_checksums(data):
    raw, place = bytearray(data), 8
    while place + 12 <= len(raw):
        (length,) = struct.unpack_from(">I", raw, place)
        if place + 12 + length > len(raw):
            break
        end = place + 8 + length
        struct.pack_into(">I", raw, end, zlib.crc32(raw[place + 4 : end]))
        place = end + 4
    return bytes(raw)


def take_jpeg(data, folder):
    """The compiled check alone, which gets any bytes."""
    assert isinstance(jpeg_damage(np.frombuffer(data, np.uint8)), str)


def jpeg_seeds():
    return [data.tobytes() for data, kind in image_files() if "jpeg" in kind]


JPEG_WORDS = tuple(
    bytes([0xFF, marker]) for marker in (*range(0xC0, 0xE0), 0xFE, 0x00, 0xFF)
)  # fmt: skip


# ---- calibration and places


def take_camera_info(data, folder):
    message = _read(data, bags.INFO)
    for rectified in (False, True):
        try:
            intrinsic, _, size = read_camera_info(message, rectified)
        except MessageError:
            continue
        assert np.isfinite(intrinsic).all() and all(0 < side <= 65_535 for side in size)


def camera_info_seeds():
    found = []
    for model, count in (("plumb_bob", 5), ("equidistant", 4), ("rational_polynomial", 8), ("", 0)):
        message = bags.info(bags.START, "front", binning=2 if count == 4 else 0)
        object.__setattr__(message, "distortion_model", model)
        object.__setattr__(message, "d", np.full(count, 0.01))
        object.__setattr__(message, "width", 640)
        object.__setattr__(message, "height", 480)
        object.__setattr__(message, "p", np.array([1.0, 0, 2, 0, 0, 1, 2, 0, 0, 0, 1, 0]))
        found.append(_bytes(message, bags.INFO))
    return found


def take_transforms(data, folder):
    """Put transforms in twice, as fixed and as moving ones, and ask for all between some frames."""
    message = _deserialised(data, bags.TRANSFORMS)
    buffer = TransformBuffer()
    for static in (True, False):
        for problem in buffer.add(message, static):
            assert isinstance(problem, str)
        frames = sorted(buffer.frames())[:3]
        for target in frames:
            for source in frames:
                for ask in (
                    lambda t=target, s=source: buffer.lookup(t, s),
                    lambda t=target, s=source: buffer.lookup(t, s, bags.START),
                    lambda t=target, s=source: buffer.lookup_full(t, 1, s, bags.START, t),
                ):
                    try:
                        assert ask().shape == (4, 4)
                    except TransformError:
                        continue
        buffer.clear()


def transform_seeds():
    place = np.eye(4)
    links = [("map", "odom"), ("odom", "base"), ("base", "lidar"), ("lidar", "front")]
    tree = [bags.transform(parent, child, place) for parent, child in links]
    later = [
        bags.transform(parent, child, place, bags.START + 10**7 * number)
        for number, (parent, child) in enumerate(links * 2)
    ]
    circle = [bags.transform(a, b, place) for a, b in ("ab", "bc", "ca")]
    return [
        _bytes(bags.make(bags.TRANSFORMS, some), bags.TRANSFORMS)
        for some in (tree, later, circle, [])
    ]


ENCODING_TEXTS = (*ENCODINGS, "8UC2", "bayer_rggb32", "RGB8", "rgb8 ", "32FC1")
FORMAT_TEXTS = (
    "jpeg", "png", "tiff", "bgr8; jpeg compressed bgr8", "rgb8; png compressed rgb8",
    "bayer_rggb8; png compressed", "bayer_gbrg16; png compressed ", "mono16; png compressed mono16",
)  # fmt: skip
MODEL_TEXTS = ("plumb_bob", "equidistant", "rational_polynomial", "fisheye", "none", "thin_prism")
FRAME_TEXTS = ("map", "/map", "odom", "base", "lidar", "front", "a", "b", "c")

MESSAGE_DOORS = [
    Door(
        "cloud", take_cloud, (ValueError,), cloud_seeds, as_message(bags.CLOUD, _FIELD_NAMES), 3.0
    ),
    Door(
        "image", take_image, (ValueError,), image_seeds, as_message(bags.IMAGE, ENCODING_TEXTS), 2.0
    ),
    Door(
        "compressed",
        take_compressed,
        (ValueError,),
        compressed_seeds,
        as_message(bags.COMPRESSED, FORMAT_TEXTS, buffer=mutate_file),
        3.0,
    ),
    Door(
        "jpeg",
        take_jpeg,
        (),
        jpeg_seeds,
        lambda data, random: mutate_bytes(data, random, JPEG_WORDS),
    ),
    Door(
        "camera_info",
        take_camera_info,
        (ValueError,),
        camera_info_seeds,
        as_message(bags.INFO, MODEL_TEXTS),
        2.0,
    ),
    Door(
        "transforms",
        take_transforms,
        (ValueError,),
        transform_seeds,
        as_message(bags.TRANSFORMS, FRAME_TEXTS),
    ),
]
