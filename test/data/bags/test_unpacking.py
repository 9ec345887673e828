"""Compressed chunks cost what the bag says they hold, and never more than a bound."""

import bz2
import struct
import tracemalloc

import lz4.frame
import pytest
from rosbags.rosbag1 import reader as ros1
from rosbags.rosbag2 import reader as ros2
from rosbags.rosbag2 import storage_mcap

from cmdfusion_ros.data.bags import unpacking
from cmdfusion_ros.data.bags.bag import Bag
from cmdfusion_ros.data.bags.unpacking import unpacked

ZSTD = vars(storage_mcap)["zstd"]
KINDS = {
    "zstd": (ZSTD.compress, ZSTD.ZstdDecompressor),
    "lz4": (lz4.frame.compress, lz4.frame.LZ4FrameDecompressor),
    "bz2": (bz2.compress, bz2.BZ2Decompressor),
}


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


def test_frames_one_after_another_come_out_whole(kind):
    compress, decompressor = kind
    packed = compress(b"lidar" * 1000) + compress(b"camera")
    assert unpacked(decompressor, packed) == b"lidar" * 1000 + b"camera"
    assert unpacked(decompressor, packed, 5006) == b"lidar" * 1000 + b"camera"
    assert unpacked(decompressor, b"", 0) == b""


def test_what_holds_more_than_it_says_is_refused_before_it_is_unpacked(kind):
    compress, decompressor = kind
    bomb = compress(bytes(64 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="more than the 1000 bytes"):
            unpacked(decompressor, bomb, 1000)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_what_is_cut_off_or_over_the_bound_is_refused(kind):
    compress, decompressor = kind
    with pytest.raises(ValueError, match="cut off"):
        unpacked(decompressor, compress(bytes(range(256)) * 100)[:-6])
    with pytest.raises(ValueError, match="expected at most"):
        unpacked(decompressor, compress(b"x"), unpacking.MOST_BYTES + 1)


def test_a_rosbags_that_unpacks_otherwise_is_named_with_what_to_install(monkeypatch):
    monkeypatch.delattr(storage_mcap, "zstd")
    with pytest.raises(ImportError, match="expected 0.11.7 .*pip install 'rosbags>=0.11.7,<0.12'"):
        unpacking.bound_unpacking()


def record(code, body):
    return bytes([code]) + struct.pack("<Q", len(body)) + body


def text(words):
    return struct.pack("<I", len(words)) + words.encode()


def mcap_of_one_chunk(path, how, packed, said):
    """An mcap without an index whose chunk is said to have `said` bytes unpacked."""
    chunk = struct.pack("<QQQI", 5, 5, said, 0) + text(how) + struct.pack("<Q", len(packed))
    magic = b"\x89MCAP0\r\n"
    head, end = record(1, text("ros2") + text("")), record(15, bytes(4)) + record(2, bytes(20))
    path.write_bytes(magic + head + record(6, chunk + packed) + end + magic)
    return path


@pytest.mark.parametrize("how", ["zstd", "lz4"])
@pytest.mark.parametrize("said", [1000, 64 << 20, 1 << 40])
def test_a_bag_of_a_chunk_that_is_a_bomb_is_refused_by_name(tmp_path, monkeypatch, how, said):
    monkeypatch.setattr(unpacking, "MOST_BYTES", 32 << 20)
    bomb = mcap_of_one_chunk(tmp_path / "bomb.mcap", how, KINDS[how][0](bytes(64 << 20)), said)
    with pytest.raises(ValueError, match="bomb.mcap: not readable: a chunk .*expected"):
        with Bag(bomb) as bag:
            list(bag.messages())


def test_chunks_of_ros_1_and_single_messages_are_bounded_too(monkeypatch):
    monkeypatch.setattr(unpacking.unpacked, "__defaults__", (1000,))
    for packed, reader in (
        (bz2.compress(bytes(2000)), ros1.decompressors["bz2"]),
        (lz4.frame.compress(bytes(2000)), ros1.decompressors["lz4"]),
        (ZSTD.compress(bytes(2000)), vars(ros2)["zstd"].decompress),
    ):
        with pytest.raises(ValueError, match="more than the 1000 bytes"):
            reader(packed)
