"""What a JPEG, PNG or TIFF file says of itself, read before anything is decoded: 130 kB can unpack
to gigabytes.
"""

import struct
import zlib

MOST_PIXELS = 64_000_000  # of an image whose calibration is not known: an 8k camera has 33 million
# passes over a progressive JPEG; encoders write about 10, a bomb thousands
_MOST_SCANS = 64
_SIZE_MARKERS = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOFn
_ALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a length: TEM, RSTn, SOI
_SCAN, _END = 0xDA, 0xD9
_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_SHORT = 256, 257, 3


def jpeg_size(data: memoryview) -> tuple[int, int]:
    """(width, height) in pixels from a JPEG file's frame header.

    Raises:
        ValueError: there is none, it is damaged, or the file asks for too many passes.
    """
    place, size = 2, None
    while place + 4 <= len(data):
        if data[place] != 0xFF:
            raise ValueError(f"no marker at byte {place}")
        marker = data[place + 1]
        if marker == 0xFF or marker in _ALONE:  # 0xFF: padding before a marker
            place += 1 if marker == 0xFF else 2
            continue
        if marker in (_SCAN, _END):
            break
        (length,) = struct.unpack_from(">H", data, place + 2)
        if length < 2 or place + 2 + length > len(data):
            raise ValueError(f"a segment at byte {place} is cut off")
        if marker in _SIZE_MARKERS:
            if size is not None or length < 8:
                raise ValueError("two frame headers, or a short one")
            height, width = struct.unpack_from(">HH", data, place + 5)
            size = (width, height)
        place += 2 + length
    if size is None or not all(size):
        raise ValueError("no frame header with a size")
    scans = bytes(data).count(b"\xff\xda")
    if scans > _MOST_SCANS:
        raise ValueError(f"{scans} scans, expected at most {_MOST_SCANS}")
    return size


def png_size(data: memoryview) -> tuple[int, int]:
    """(width, height) in pixels from a PNG file's header. Every chunk is held against its
    checksum: OpenCV shows what is left of a damaged file.

    Raises:
        ValueError: it is cut off or damaged.
    """
    place, size = 8, None
    while place + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        end = place + 12 + length
        if end > len(data):
            raise ValueError(f"the chunk at byte {place} is cut off")
        if zlib.crc32(data[place + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise ValueError(f"the chunk at byte {place} does not have its checksum")
        if size is None:
            if kind != b"IHDR" or length != 13:
                raise ValueError("the first chunk is no header")
            size = struct.unpack_from(">II", data, place + 8)
        if kind == b"IEND":
            break
        place = end
    else:
        raise ValueError("it has no end")
    if not all(size):
        raise ValueError(f"a size of {size}")
    return size


def tiff_size(data: memoryview) -> tuple[int, int]:
    """(width, height) in pixels from the first directory of a TIFF file.

    Raises:
        ValueError: it has none, or the directory is cut off.
    """
    order = "<" if bytes(data[:2]) == b"II" else ">"
    try:
        (place,) = struct.unpack_from(f"{order}I", data, 4)
        (number,) = struct.unpack_from(f"{order}H", data, place)
        found = {}
        for entry in range(number):
            at = place + 2 + 12 * entry
            tag, kind = struct.unpack_from(f"{order}HH", data, at)
            if tag in (_TIFF_WIDTH, _TIFF_HEIGHT):
                form = f"{order}H" if kind == _TIFF_SHORT else f"{order}I"
                found[tag] = struct.unpack_from(form, data, at + 8)[0]
    except struct.error as error:
        raise ValueError("its directory is cut off") from error
    size = (found.get(_TIFF_WIDTH, 0), found.get(_TIFF_HEIGHT, 0))
    if not all(size):
        raise ValueError("no size in its directory")
    return size
