"""Stamps are read from serialised messages without deserialising them."""

import array
import struct

import pytest

from cmdfusion_ros.messages.stamps import raw_stamp_ns


def test_the_stamp_is_read_from_serialised_bytes_of_either_order():
    assert (
        raw_stamp_ns(b"\0\1\0\0" + struct.pack("<iI", 1557539960, 100260864) + b"rest")
        == 1557539960_100260864
    )
    assert raw_stamp_ns(b"\0\0\0\0" + struct.pack(">iI", 7, 8) + b"rest") == 7_000_000_008
    assert raw_stamp_ns(memoryview(b"\0\7\0\0" + struct.pack("<iI", -1, 999_999_999))) == -1
    assert raw_stamp_ns(array.array("B", b"\0\6\0\0" + struct.pack(">iI", 1, 0))) == 1_000_000_000


@pytest.mark.parametrize(
    "raw", [b"", b"\0\1\0\0\0\0\0\0\0\0\0", b"\0\x09" + bytes(20), b"\1\1" + bytes(20)]
)
def test_bytes_that_hold_no_stamp_are_an_error(raw):
    with pytest.raises(ValueError, match="serialised message: expected"):
        raw_stamp_ns(raw)
