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
