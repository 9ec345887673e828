"""Images that are not what they seem: sizes are read before anything is unpacked, and a file that a
decoder could show only by guessing is an error.
"""

import os
import struct
import tempfile
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
from builders.messages import make_jpeg

from cmdfusion_ros.messages import jpeg_check
from cmdfusion_ros.messages.clouds import MessageError
from cmdfusion_ros.messages.image_headers import jpeg_size, png_size, tiff_size
from cmdfusion_ros.messages.images import ENCODINGS, ImageSizeError, decode_image
from cmdfusion_ros.messages.jpeg_check import jpeg_damage

needs_check = pytest.mark.skipif(
    jpeg_check._check() is None, reason="the compiled check of JPEG files is not built"
)
NOISE = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)


def file_of(image=NOISE, ending=".jpg", *options):
    return cv2.imencode(ending, image, list(options))[1].tobytes()


def compressed(data):
    message = make_jpeg()
    message.data = bytes(data)
    return message


def png_of(width, height):
    """A true PNG of one bit a pixel, all black: 8 million times smaller than it unpacks."""

    def chunk(kind, body):
        check = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + check

    packer = zlib.compressobj(9)
    row = b"\0" * (1 + width // 8)
    body = b"".join(packer.compress(row * 1024) for _ in range(height // 1024)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("expected", [(80, 60), None])
def test_a_png_bomb_is_refused_before_it_is_unpacked(expected):
    bomb = png_of(16_384, 16_384)
    tracemalloc.start()
    with pytest.raises(ImageSizeError, match="calibrated for|at most"):
        decode_image(compressed(bomb), expected)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(bomb) < 100_000 and peak < 10_000_000


def test_a_jpeg_whose_header_says_more_is_refused_before_it_is_unpacked():
    data = bytearray(file_of())
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 4] = struct.pack(">HH", 65_000, 65_000)
    for expected in ((80, 60), None):
        with pytest.raises(ImageSizeError):
            decode_image(compressed(data), expected)


@pytest.mark.parametrize("encoding", sorted(ENCODINGS))
def test_every_raw_encoding_is_held_against_the_calibration_first(encoding):
    from types import SimpleNamespace

    huge = SimpleNamespace(
        height=2**32 - 2,
        width=2**32 - 2,
        step=2**32 - 1,
        encoding=encoding,
        is_bigendian=1,
        data=b"",
    )
    with pytest.raises(ImageSizeError, match="calibrated for"):
        decode_image(huge, (64, 48))
    with pytest.raises(MessageError):  # its bytes are not there
        decode_image(huge)


def test_sizes_are_those_that_opencv_finds():
    for height, width in ((1, 1), (7, 300), (480, 640)):
        image = np.zeros((height, width, 3), np.uint8)
        assert jpeg_size(memoryview(file_of(image))) == (width, height)
        assert png_size(memoryview(file_of(image, ".png"))) == (width, height)
        assert tiff_size(memoryview(file_of(image, ".tiff"))) == (width, height)
        progressive = file_of(image, ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
        assert jpeg_size(memoryview(progressive)) == (width, height)


def test_a_jpeg_of_thousands_of_passes_is_refused():
    data = file_of(NOISE, ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    scan = data[data.index(b"\xff\xda") : -2]
    with pytest.raises(MessageError, match="scans, expected at most"):
        decode_image(compressed(data[:-2] + scan * 100 + b"\xff\xd9"), (80, 60))


def test_every_damaged_png_is_an_error():
    data, random = file_of(NOISE, ".png"), np.random.default_rng(1)
    for _ in range(200):
        place, bit = int(random.integers(8, len(data))), 1 << int(random.integers(8))
        damaged = bytearray(data)
        damaged[place] ^= bit
        with pytest.raises(MessageError):
            decode_image(compressed(damaged), (80, 60))


def warns(data):
    """Whether OpenCV's libjpeg complains on stderr, or gives no image."""
    with tempfile.TemporaryFile() as said:
        before = os.dup(2)
        os.dup2(said.fileno(), 2)
        try:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        finally:
            os.dup2(before, 2)
            os.close(before)
        return image is None or said.seek(0, os.SEEK_END) > 0


@needs_check
def test_what_opencv_only_warns_of_is_an_error_and_whole_files_are_none():
    """Surplus data at the very end is an error too, though OpenCV has its image by then."""
    data, random = file_of(), np.random.default_rng(2)
    start = data.index(b"\xff\xda") + 14
    seen = [0, 0]
    for number in range(300):
        damaged = bytearray(data)
        for place in random.integers(start, len(data) - 2, number % 4):
            damaged[place] = random.integers(256)
        found = bool(jpeg_damage(np.frombuffer(damaged, np.uint8)))
        assert found or not warns(bytes(damaged))
        assert not found or damaged != data
        seen[found] += 1
    assert min(seen) > 50  # both happened


@needs_check
@pytest.mark.parametrize("quality", [1, 50, 100])
@pytest.mark.parametrize(
    "options",
    [
        (),
        (cv2.IMWRITE_JPEG_RST_INTERVAL, 3),
        (cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        (cv2.IMWRITE_JPEG_OPTIMIZE, 1),
        (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x411111),
        (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111),
    ],
)
@pytest.mark.parametrize("size", [(60, 80), (33, 77)])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_whole_jpeg_passes(quality, options, size, channels):
    image = cv2.resize(NOISE, size[::-1])[:, :, :channels]
    data = file_of(image, ".jpg", cv2.IMWRITE_JPEG_QUALITY, quality, *options)
    assert jpeg_damage(np.frombuffer(data, np.uint8)) == ""
    assert decode_image(compressed(data), size[::-1]).shape == (*size, 3)


@pytest.mark.parametrize("ending", [".jpg", ".png", ".tiff"])
def test_any_damage_gives_an_image_or_a_declared_error(ending):
    data, random = file_of(NOISE, ending), np.random.default_rng(3)
    for number in range(300):
        damaged = bytearray(data[: len(data) - (number % 3) * int(random.integers(len(data)))])
        for place in random.integers(0, max(1, len(damaged)), 4):
            damaged[place : place + 1] = bytes([random.integers(256)])
        try:
            assert decode_image(compressed(damaged), (80, 60)).shape == (60, 80, 3)
        except MessageError:
            pass
