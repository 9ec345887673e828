"""What can be read of a serialised message (CDR) without deserialising it."""

import struct


def raw_stamp_ns(serialised: bytes | memoryview) -> int:
    """The header stamp of a serialised message whose first field is a std_msgs/Header (Image,
    CompressedImage, PointCloud2, ...), in ns.

    Reads 12 bytes and copies nothing, so that an image nobody chooses is never deserialised. Takes
    both byte orders of plain CDR and CDR 2.

    Raises:
        ValueError: too short, or not CDR.
    """
    if len(serialised) < 12:
        raise ValueError(
            "serialised message: expected at least 12 bytes (CDR header and stamp), got "
            f"{len(serialised)}; was it cut off?"
        )
    kind = serialised[1]
    if serialised[0] != 0 or kind not in (0, 1, 6, 7):
        raise ValueError(
            "serialised message: expected a plain CDR header (00 00, 00 01, 00 06 or 00 07), got "
            f"{bytes(serialised[:2]).hex(' ')}"
        )
    seconds, nanoseconds = struct.unpack_from("<iI" if kind & 1 else ">iI", serialised, 4)
    return seconds * 1_000_000_000 + nanoseconds


LONGEST_FRAME_ID = 1024  # bytes


def raw_frame_id(serialised: bytes | memoryview) -> str:
    """The header frame_id of a serialised message whose first field is a std_msgs/Header, so that
    it is known before the message is deserialised.

    Raises:
        ValueError: the string does not fit into the message, or is no name.
    """
    return _raw_frame_id(serialised)[0]


def raw_num_fields(serialised: bytes | memoryview) -> int:
    """How many fields a serialised PointCloud2 announces: deserialising 200,000 of them takes
    seconds in which nothing else runs.

    Raises:
        ValueError: the message ends before, or has fewer bytes than so many fields need.
    """
    _, end, order = _raw_frame_id(serialised)
    place = 4 + (end - 4 + 3) // 4 * 4 + 8  # after height and width; aligned from the body's start
    if len(serialised) < place + 4:
        raise ValueError(
            f"serialised cloud: expected at least {place + 4} bytes, got {len(serialised)}; was it "
            "cut off?"
        )
    (number,) = struct.unpack_from(f"{order}I", serialised, place)
    if number * 12 > len(serialised):
        raise ValueError(
            f"serialised cloud: {number} fields announced in {len(serialised)} bytes; was it "
            "damaged on the way?"
        )
    return number


def _raw_frame_id(serialised: bytes | memoryview) -> tuple[str, int, str]:
    """(frame_id, where it ends, byte order)."""
    raw_stamp_ns(serialised)  # raises where it is too short, or not CDR
    order = "<" if serialised[1] & 1 else ">"
    length = struct.unpack_from(f"{order}I", serialised, 12)[0] if len(serialised) >= 16 else 0
    if length > len(serialised) - 16:
        raise ValueError(
            f"serialised message: expected a frame_id of at most {len(serialised) - 16} bytes, "
            f"got {length}; was it cut off?"
        )
    if length > LONGEST_FRAME_ID:
        raise ValueError(
            f"serialised message: expected a frame_id of at most {LONGEST_FRAME_ID} bytes, got "
            f"{length}"
        )
    name = bytes(serialised[16 : 16 + max(length - 1, 0)]).decode("utf-8", "replace")
    return name, 16 + length, order
