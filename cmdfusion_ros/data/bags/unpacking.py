"""Compressed parts of bags, unpacked within bounds: 33 kB of zstd can hold a gigabyte, and rosbags
unpacks all of it before it looks at the size that the bag says.
"""

import bz2
import importlib.metadata
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import lz4.frame
from rosbags.rosbag1 import reader as ros1
from rosbags.rosbag2 import reader as ros2
from rosbags.rosbag2 import storage_mcap

MOST_BYTES = 1 << 29  # of one chunk or message; recorders fill chunks of some megabytes


def bound_unpacking() -> None:
    """Let rosbags unpack chunks and messages by `unpacked` from now on, in this process.

    Raises:
        ImportError: this version of rosbags unpacks otherwise.
    """
    try:
        zstd: Any = vars(storage_mcap)["zstd"]  # which of two modules it is depends on the Python
        chunks, chunks_of_ros1 = storage_mcap.DECOMPRESSORS, ros1.decompressors
        messages = vars(ros2)
        open_file = messages["zstd"].open
    except (KeyError, AttributeError) as error:
        version = importlib.metadata.version("rosbags")
        raise ImportError(
            f"rosbags {version}: expected 0.11.7 to 0.11.x, whose unpacking can be bounded "
            f"(there is no {error}); pip install 'rosbags>=0.11.7,<0.12'"
        ) from error
    chunks.update(
        zstd=lambda data, size: unpacked(zstd.ZstdDecompressor, data, size),
        lz4=lambda data, size: unpacked(lz4.frame.LZ4FrameDecompressor, data, size),
    )
    chunks_of_ros1.update(
        bz2=lambda data: unpacked(bz2.BZ2Decompressor, data),
        lz4=lambda data: unpacked(lz4.frame.LZ4FrameDecompressor, data),
    )
    bounded = SimpleNamespace(
        open=open_file, decompress=lambda data: unpacked(zstd.ZstdDecompressor, data)
    )
    messages["zstd"] = bounded  # messages that were compressed one by one


def unpacked(decompressor: Callable[[], Any], data: bytes, most: int = MOST_BYTES) -> bytes:
    """The content of one or more compressed frames.

    Args:
        decompressor: makes an object as bz2.BZ2Decompressor is. most: the size it has, where the
            bag says it.

    Raises:
        ValueError: it has more than `most` bytes, may have more than MOST_BYTES, or is cut off.
    """
    if most > MOST_BYTES:
        raise ValueError(f"a chunk of {most} bytes unpacked; expected at most {MOST_BYTES}")
    parts, left, is_whole = [], most + 1, True
    while data and left:
        one = decompressor()
        parts.append(one.decompress(data, max_length=left))
        left -= len(parts[-1])
        data, is_whole = one.unused_data or b"", one.eof
    if not left:
        raise ValueError(f"a chunk unpacks to more than the {most} bytes that were expected")
    if not is_whole:
        raise ValueError("a compressed chunk is cut off")
    return b"".join(parts)
