"""The stamps of pictures without the pictures: by the index of an mcap, else by reading them."""

import struct

import pytest
from builders.bag_messages import START, camera, clouds, place, write
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from cmdfusion_ros.data.bags.bag import Bag, ros2_types
from cmdfusion_ros.data.bags.message_heads import indexed_heads, message_heads, message_of

TOPICS = {"/front/image_raw", "/lidar/points"}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Chunks of a megabyte, of which there are several: clouds have 20,000 points."""
    messages = [*place("front"), *clouds(12, points=20_000), *camera("front", 0, 12)]
    return write(tmp_path_factory.mktemp("bag") / "plain", messages)


def again(source, path, plugin, mode=CompressionMode.NONE):
    """The same messages as another storage keeps them."""
    with Bag(source) as bag, Writer(path, version=9, storage_plugin=plugin) as writer:
        connections = {}
        for message in bag.messages():
            if message.topic not in connections:
                connections[message.topic] = writer.add_connection(
                    message.topic, message.msgtype, typestore=ros2_types()
                )
            writer.write(connections[message.topic], message.time, message.data)
    return path


def compressed(source, path, mode):
    with Bag(source) as bag:
        messages = list(bag.messages())
    writer = Writer(path, version=9, storage_plugin=StoragePlugin.MCAP)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        connections = {
            message.topic: writer.add_connection(
                message.topic, message.msgtype, typestore=ros2_types()
            )
            for message in {message.topic: message for message in messages}.values()
        }
        for message in messages:
            writer.write(connections[message.topic], message.time, message.data)
    return path


def read(path, topics=TOPICS, start=None, stop=None):
    with Bag(path) as bag:
        return list(message_heads(bag, topics, start, stop))


def expected(path, start=None, stop=None):
    with Bag(path) as bag:
        return [(m.topic, m.time, m.data[:16]) for m in bag.messages(TOPICS, start, stop)]


@pytest.mark.parametrize("window", [(None, None), (START + 300_000_000, START + 640_000_000)])
def test_they_are_those_of_the_messages_and_no_message_is_read(plain, monkeypatch, window):
    whole = expected(plain, *window)
    assert len(whole) == (24 if window[0] is None else 7)
    monkeypatch.setattr(Bag, "messages", None)
    assert sorted(read(plain, TOPICS, *window)) == sorted(whole)
    times = [time for _, time, _ in read(plain, TOPICS, *window)]
    assert times == sorted(times)
    with Bag(plain) as bag:
        assert len(bag._reader.readers[0].storage.storages[0].chunks) > 2
    (file,) = plain.glob("*.mcap")
    assert read(file, TOPICS, *window) == read(plain, TOPICS, *window)


@pytest.mark.parametrize("mode", ["STORAGE", "MESSAGE", "FILE"])
def test_of_a_compressed_bag_they_are_read_with_the_messages(plain, tmp_path, mode):
    path = compressed(plain, tmp_path / "bag", CompressionMode[mode])
    assert sorted(read(path)) == sorted(expected(plain))


def test_so_are_those_of_sqlite_and_of_a_file_that_lacks_an_index(plain, tmp_path):
    path = again(plain, tmp_path / "sqlite", StoragePlugin.SQLITE3)
    assert sorted(read(path)) == sorted(expected(plain))
    (file,) = plain.glob("*.mcap")
    data = bytearray(file.read_bytes())
    data[-28:-12] = bytes(16)  # of the footer: where the summary lies
    (tmp_path / "bare.mcap").write_bytes(data)
    assert sorted(read(tmp_path / "bare.mcap")) == sorted(expected(plain))


def test_an_index_that_leads_astray_is_not_followed(plain, tmp_path):
    (file,) = plain.glob("*.mcap")
    data = file.read_bytes()
    spots = [at for at in range(len(data) - 200_000, len(data)) if data[at] == 7]
    for at in spots[:: max(len(spots) // 40, 1)]:
        damaged = bytearray(data)
        damaged[at + 12 : at + 20] = b"\xff" * 8
        (tmp_path / "bad.mcap").write_bytes(damaged)
        try:
            whole = expected(tmp_path / "bad.mcap")
        except ValueError:
            with pytest.raises(ValueError):
                read(tmp_path / "bad.mcap")
        else:
            assert sorted(read(tmp_path / "bad.mcap")) == sorted(whole)


def test_places_beyond_every_file_are_no_crash(plain, tmp_path):
    (file,) = plain.glob("*.mcap")
    data = bytearray(file.read_bytes())
    (summary,) = struct.unpack_from("<Q", data, len(data) - 28)
    at = summary
    while data[at] != 0x08:  # to the first chunk index
        at += 9 + struct.unpack_from("<Q", data, at + 1)[0]
    body = at + 9
    (named,) = struct.unpack_from("<I", data, body + 32)
    indexes = [body + 36 + 2 + entry for entry in range(0, named, 10)]
    for spots in ([body + 16], indexes):  # where the chunk lies; where its indexes lie
        bad = bytearray(data)
        for spot in spots:
            bad[spot : spot + 8] = b"\xff" * 8
        (tmp_path / "bad.mcap").write_bytes(bad)
        with Bag(plain) as bag:  # an OverflowError: no file has such a place
            bag.path = tmp_path / "bad.mcap"
            assert indexed_heads(bag, set(TOPICS)) is None


def test_a_message_that_is_not_where_the_index_says_is_an_error_that_names_it(plain):
    with Bag(plain) as bag:
        topic, when, head = next(iter(message_heads(bag, set(TOPICS))))
        assert message_of(bag, topic, when, head).time == when
        with pytest.raises(ValueError, match="its index has a message at 1 ns and the file has"):
            message_of(bag, topic, 1, head)
