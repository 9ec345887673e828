"""Image and CompressedImage messages -> RGB arrays.

`image_decoder()` is the door: it says whether cv_bridge or our own table does the work.
"""

import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np

from cmdfusion_ros.messages.clouds import MessageError
from cmdfusion_ros.messages.image_headers import MOST_PIXELS, jpeg_size, png_size, tiff_size
from cmdfusion_ros.messages.jpeg_check import jpeg_damage

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"  # how the files begin
_TIFF = b"II*\0", b"MM\0*"
# what compressed_image_transport writes of a mosaic that it compressed as it was
_MOSAIC = re.compile(r"bayer_(\w{4})(8|16); \w+ compressed ?$")
# turned by EXIF, an image would not fit its intrinsic
_COLOR = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION


def image_decoder() -> tuple[Callable[..., np.ndarray], str]:
    """(decode, who): the function that turns an Image or CompressedImage into RGB, and "cv_bridge"
    or "own" for the reports.

    cv_bridge is used where it can be imported and passes a trial on a small image, for the messages
    it does well (`_suits_bridge`). Ours does the rest
    everywhere: cv_bridge knows no nv12, refuses 8UC1 and 16UC1 as not being colours, skews an image
    whose step is no whole number of pixels, and where is_bigendian is set calls a numpy method that
    numpy 2 no longer has. The trial is there because a cv_bridge built for another OpenCV or numpy
    imports well and then fails, or gives wrong colours. Compressed images are always ours:
    cv_bridge keeps the file's own channels and depth, so that a grey JPEG or a 16-bit PNG fails,
    and shows half an image where data was cut off.
    """
    try:
        import cv_bridge

        decode = _bridge_decoder(cv_bridge.CvBridge())
        trial = SimpleNamespace(
            height=2, width=2, encoding="bgr8", step=6, is_bigendian=0, data=bytes(range(12))
        )
        works = np.array_equal(decode(trial), decode_image(trial))
    except (
        Exception
    ):  # whatever a broken installation raises, and it raises many things: ours works without it
        works = False
    return (decode, "cv_bridge") if works else (decode_image, "own")


def _bridge_decoder(bridge: Any) -> Callable[..., np.ndarray]:
    def decode(message: Any, expected_size: tuple[int, int] | None = None) -> np.ndarray:
        if not _suits_bridge(message):
            return decode_image(message, expected_size)
        _check_size(message.encoding, (int(message.width), int(message.height)), expected_size)
        _rows(message)  # cv_bridge checks sizes only in part
        try:
            return np.asarray(bridge.imgmsg_to_cv2(message, desired_encoding="rgb8"))
        except (
            Exception
        ) as error:  # whatever a foreign library raises, it is this image that failed
            raise MessageError(
                f"image {message.encoding}: cv_bridge: {type(error).__name__}: {error}"
            ) from error

    return decode


def _suits_bridge(message: Any) -> bool:
    if getattr(message, "encoding", None) not in _BRIDGE_ENCODINGS or message.is_bigendian:
        return False
    return message.step % ENCODINGS[message.encoding][0] == 0


class ImageSizeError(MessageError):
    """An image of another size than its calibration, or of one that no camera has."""


def decode_image(message: Any, expected_size: tuple[int, int] | None = None) -> np.ndarray:
    """sensor_msgs/Image or CompressedImage -> (H, W, 3) uint8 RGB.

    The size is read from the message's or the file's header and held against `expected_size`
    (width, height), or where that is None against MOST_PIXELS, before anything is decoded.

    A file that a decoder could show only by guessing is an error, not an image.

    Honours step and is_bigendian. 16-bit samples keep their upper 8 bits. 8UC3 is taken as BGR, as
    OpenCV writes it. The array may be a read-only view of the message.

    Raises:
        ImageSizeError: another size than expected.
        MessageError: an unknown encoding (the known ones are named), truncated or damaged data,
            wrong steps, sizes that the encoding cannot have.
    """
    if hasattr(message, "encoding"):
        size = int(message.width), int(message.height)
        # without a calibration the bytes that came bound what is made of them
        if _encoding(message) and expected_size is not None:
            _check_size(f"image {message.encoding}", size, expected_size)
        return _decode_raw(message)
    return _decode_compressed(message, expected_size)


def _check_size(what: str, size: tuple[int, int], expected_size: tuple[int, int] | None) -> None:
    if expected_size is not None and tuple(size) != tuple(expected_size):
        raise ImageSizeError(
            f"{what}: calibrated for {tuple(expected_size)}, the image is {tuple(size)}; is this "
            "the right CameraInfo?"
        )
    if size[0] * size[1] > MOST_PIXELS:
        raise ImageSizeError(
            f"{what}: expected at most {MOST_PIXELS} pixels, got {size[0]} x {size[1]}"
        )


def _decode_raw(message: Any) -> np.ndarray:
    _, to_rgb = _encoding(message)
    try:
        return to_rgb(_rows(message), bool(message.is_bigendian))
    except cv2.error as error:
        raise MessageError(
            f"image {message.encoding} {message.width} x {message.height}: OpenCV cannot convert "
            f"it: {error}"
        ) from error


def _encoding(message: Any) -> Any:
    if message.encoding not in ENCODINGS:
        raise MessageError(
            f"image encoding: expected one of {', '.join(ENCODINGS)}, got {message.encoding!r}; "
            "convert it before (image_proc)"
        )
    return ENCODINGS[message.encoding]


def _rows(message: Any) -> np.ndarray:
    """The message's pixels, (H, W, bytes of a pixel) uint8, or (H * 3 / 2, W, 1) for the planes
    of nv12 and nv21: a view, row padding skipped.
    """
    (pixel_bytes, _), name = _encoding(message), message.encoding
    height, width, step = int(message.height), int(message.width), int(message.step)
    if not height or not width:
        raise MessageError(f"image {name}: expected at least one pixel, got {width} x {height}")
    if name in _EVEN_WIDTH and (width % 2 or (name in _PLANAR and height % 2)):
        raise MessageError(
            f"image {name}: expected even sizes (pixels share their colour in pairs), got {width} "
            f"x {height}"
        )
    lines = height * 3 // 2 if name in _PLANAR else height
    if step < width * pixel_bytes:
        raise MessageError(
            f"image {name}: expected step of at least width * {pixel_bytes} = "
            f"{width * pixel_bytes} bytes, got {step}"
        )
    try:
        flat = np.frombuffer(message.data, np.uint8) if len(message.data) else np.zeros(0, np.uint8)
    except (TypeError, ValueError) as error:
        raise MessageError(
            f"image {name}: expected data as a buffer of bytes, got {type(message.data).__name__} "
            f"({error})"
        ) from error
    if not step * (lines - 1) + width * pixel_bytes <= len(flat) <= step * lines:
        raise MessageError(
            f"image {name} {width} x {height}: expected {step * lines} bytes ({lines} lines of "
            f"{step}), got {len(flat)}; was it cut off?"
        )
    rows = np.ndarray((lines, width, pixel_bytes), np.uint8, flat, strides=(step, pixel_bytes, 1))
    rows.flags.writeable = False
    return rows


def _keep(rows: np.ndarray, big_endian: bool) -> np.ndarray:
    return np.ascontiguousarray(rows)


def _recolour(code: int) -> Callable[[np.ndarray, bool], np.ndarray]:
    return lambda rows, big_endian: cv2.cvtColor(np.ascontiguousarray(rows), code)


def _grey(rows: np.ndarray, big_endian: bool) -> np.ndarray:
    return np.repeat(rows, 3, axis=2)


def _upper_byte(
    to_rgb: Callable[[np.ndarray, bool], np.ndarray],
) -> Callable[[np.ndarray, bool], np.ndarray]:
    """For 16-bit samples: drop the lower byte of each, then go on as with 8 bits."""
    return lambda rows, big_endian: to_rgb(
        rows[:, :, 0::2] if big_endian else rows[:, :, 1::2], big_endian
    )


_UYVY, _YUYV = _recolour(cv2.COLOR_YUV2RGB_UYVY), _recolour(cv2.COLOR_YUV2RGB_YUY2)
_BGR = _recolour(cv2.COLOR_BGR2RGB)
_BAYER = {  # OpenCV names a pattern by its second row and column, ROS by the first
    "rggb": _recolour(cv2.COLOR_BayerBG2RGB),
    "bggr": _recolour(cv2.COLOR_BayerRG2RGB),
    "gbrg": _recolour(cv2.COLOR_BayerGR2RGB),
    "grbg": _recolour(cv2.COLOR_BayerGB2RGB),
}
ENCODINGS = {  # name: (bytes of a pixel, rows -> RGB)
    "rgb8": (3, _keep),
    "bgr8": (3, _BGR),
    "8UC3": (3, _BGR),
    "rgba8": (4, _recolour(cv2.COLOR_RGBA2RGB)),
    "bgra8": (4, _recolour(cv2.COLOR_BGRA2RGB)),
    "mono8": (1, _grey),
    "8UC1": (1, _grey),
    "mono16": (2, _upper_byte(_grey)),
    "16UC1": (2, _upper_byte(_grey)),
    "yuv422": (2, _UYVY),
    "uyvy": (2, _UYVY),
    "yuv422_yuy2": (2, _YUYV),
    "yuyv": (2, _YUYV),
    "nv12": (1, _recolour(cv2.COLOR_YUV2RGB_NV12)),
    "nv21": (1, _recolour(cv2.COLOR_YUV2RGB_NV21)),
    **{f"bayer_{pattern}8": (1, to_rgb) for pattern, to_rgb in _BAYER.items()},
    **{f"bayer_{pattern}16": (2, _upper_byte(to_rgb)) for pattern, to_rgb in _BAYER.items()},
}
_PLANAR = {"nv12", "nv21"}
_EVEN_WIDTH = _PLANAR | {"yuv422", "uyvy", "yuv422_yuy2", "yuyv"}
_BRIDGE_ENCODINGS = {"rgb8", "bgr8", "rgba8", "bgra8", "mono8", "yuv422", "yuv422_yuy2"} | {
    f"bayer_{pattern}8" for pattern in _BAYER
}


def _decode_compressed(message: Any, expected_size: tuple[int, int] | None) -> np.ndarray:
    """JPEG, PNG or TIFF, told by their first bytes. `format` says whether red and blue were swapped
    before compressing, and whether it is a Bayer mosaic.
    """
    try:
        data = np.frombuffer(message.data, np.uint8) if len(message.data) else np.zeros(0, np.uint8)
    except (TypeError, ValueError) as error:
        raise MessageError(
            "compressed image: expected data as a buffer of bytes, got "
            f"{type(message.data).__name__} ({error})"
        ) from error
    kind = str(message.format)
    start = bytes(data[:8])
    if start[:3] == _JPEG:
        whole = _has_end_of_jpeg(data)
    elif start == _PNG:
        whole = bytes(data).rfind(b"IEND") > 0
    elif start[:4] in _TIFF:
        whole = True  # its directory says where the strips lie: OpenCV refuses what is cut off
    else:
        raise MessageError(
            f"compressed image: expected the bytes of a jpeg, png or tiff, got format {kind!r} and "
            f"bytes {start.hex(' ') or 'none'}; it cannot be decoded"
        )
    if not whole:
        raise MessageError(
            f"compressed image ({kind}): expected an end mark after {len(data)} bytes, got none: "
            "cut off; does the transport lose fragments?"
        )
    try:
        if start[:3] == _JPEG:
            size = jpeg_size(data.data)
        else:
            size = png_size(data.data) if start == _PNG else tiff_size(data.data)
    except ValueError as error:
        raise MessageError(f"compressed image ({kind}): {error}; is it damaged?") from error
    _check_size(f"compressed image ({kind})", size, expected_size)
    if start[:3] == _JPEG and (damage := jpeg_damage(data)):
        raise MessageError(f"compressed image ({kind}): {damage}; does the transport lose bytes?")
    try:
        return _read_file(data, kind)
    except cv2.error as error:
        raise MessageError(
            f"compressed image ({kind}): OpenCV cannot decode it: {error}"
        ) from error


def _has_end_of_jpeg(data: np.ndarray) -> bool:
    """Whether the end mark comes after the start of the last scan (a preview has marks of its
    own). What follows it does no harm: zeros of a buffer of fixed size, a vendor's trailer.
    """
    raw = bytes(data)
    return raw.rfind(b"\xff\xd9") > raw.rfind(b"\xff\xda")


def _read_file(data: Any, kind: str) -> np.ndarray:
    mosaic = _MOSAIC.match(kind)
    if mosaic and mosaic[1] in _BAYER:
        samples = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
        if samples is not None and samples.ndim == 2:
            grey = samples if samples.dtype == np.uint8 else (samples >> 8).astype(np.uint8)
            return _BAYER[mosaic[1]](grey[:, :, None], False)
    image = cv2.imdecode(data, _COLOR)
    if image is None:
        raise MessageError(
            f"compressed image ({kind}): OpenCV cannot decode its {len(data)} bytes; is it damaged?"
        )
    return image if "compressed rgb" in kind else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
