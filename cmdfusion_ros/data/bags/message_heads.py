"""The first bytes of a bag's messages, in which their stamps are. Where a bag is mcap without
compression, its index says where they lie, and nothing else is read.
"""

import os
import struct
from collections.abc import Iterator, Mapping, Set
from pathlib import Path

from cmdfusion_ros.data.bags.bag import Bag, BagMessage

_HEAD = 16  # bytes of a message: the CDR header and a stamp
_MAGIC, _ZSTD = b"\x89MCAP0\r\n", b"\x28\xb5\x2f\xfd"
_CHANNEL, _MESSAGE, _MESSAGE_INDEX, _CHUNK_INDEX = 0x04, 0x05, 0x07, 0x08  # kinds of records
# what a place, a size or a name that somebody made up leads to
_ASTRAY = (OSError, struct.error, ValueError, LookupError, OverflowError, MemoryError)
_RECORD, _OF_MESSAGE = 9, 22  # bytes: kind and length of a record; channel, number, two times


def message_heads(
    bag: Bag, topics: Set[str], start: int | None = None, stop: int | None = None
) -> Iterator[tuple[str, int, bytes]]:
    """(topic, recording time in ns, first bytes) of the messages of `topics` in order of recording,
    from `start` until before `stop` (None: the ends).

    Raises:
        ValueError: the bag is damaged.
    """
    found = indexed_heads(bag, topics, start, stop)
    if found is not None:
        yield from found
        return
    for message in bag.messages(topics, start, stop):
        yield message.topic, message.time, message.data[:_HEAD]


def message_of(bag: Bag, topic: str, time: int, head: bytes) -> BagMessage:
    """The message that `message_heads` gave the head of.

    Raises:
        ValueError: there is none: the index says another time than the message.
    """
    for message in bag.messages([topic], time, time + 1):
        if message.data.startswith(head):
            return message
    raise ValueError(
        f"bag {bag.path}: {topic}: its index has a message at {time} ns and the file has none; "
        "`mcap recover FILE.mcap` keeps what can be read"
    )


def indexed_heads(
    bag: Bag, topics: Set[str], start: int | None = None, stop: int | None = None
) -> list[tuple[str, int, bytes]] | None:
    """What `message_heads` gives, by the indexes of the files alone; None where these do not tell:
    another format, compression, an index that does not account for every message.
    """
    begin, end = start if start is not None else -1, bag.end if stop is None else min(stop, bag.end)
    files = sorted(bag.path.glob("*.mcap")) if bag.path.is_dir() else [bag.path]
    if any(file.suffix != ".mcap" for file in files):
        return None
    counts, heads = dict.fromkeys(topics, 0), []
    most = {topic: bag.topics[topic].count for topic in topics}
    try:
        for file in files:
            heads += _heads_of(file, counts, most, begin, end)
    except _ASTRAY:
        return None  # the reader will say what is wrong, or read it
    if counts != most:
        return None
    return sorted(heads, key=lambda head: head[1])


def _heads_of(
    path: Path, counts: dict[str, int], most: Mapping[str, int], begin: int, end: int
) -> list[tuple[str, int, bytes]]:
    """The heads of one file; its messages are added to `counts`, whatever their times, and are no
    more than `most`.
    """
    heads = []
    with open(path, "rb") as file:
        number, size = file.fileno(), os.path.getsize(path)
        footer = os.pread(number, 37, size - 37)
        summary = struct.unpack_from("<Q", footer, _RECORD)[0]
        if not footer.endswith(_MAGIC) or not summary:
            raise ValueError("no index")
        channels: dict[int, str] = {}
        for kind, body in _records(os.pread(number, size - summary, summary)):
            if kind == _CHANNEL:
                (channel,), (length,) = struct.unpack_from("<H", body), _u32(body, 4)
                channels[channel] = body[8 : 8 + length].decode()
            elif kind == _CHUNK_INDEX:
                place, indexes = _chunk(body)
                for channel, index in indexes.items():
                    topic = channels[channel]
                    if topic not in counts:
                        continue
                    if place is None:
                        raise ValueError("compressed")
                    for time, offset in _index(number, index, channel):
                        counts[topic] += 1
                        if counts[topic] > most[topic]:
                            raise ValueError("an index that is named again and again")
                        if begin <= time < end:
                            heads.append((topic, time, _head(number, place + offset, channel)))
    return heads


def _records(data):
    """(kind, body) of the records in some bytes, until the footer."""
    at = 0
    while at + _RECORD <= len(data) and data[at] != 0x02:
        kind, length = struct.unpack_from("<BQ", data, at)
        yield kind, data[at + _RECORD : at + _RECORD + length]
        at += _RECORD + length


def _u32(data, at):
    return struct.unpack_from("<I", data, at)


def _chunk(body):
    """(where the messages of a chunk begin in the file; None where they are compressed, {channel:
    where its index lies}).
    """
    start = struct.unpack_from("<Q", body, 16)[0]
    (length,) = _u32(body, 32)
    indexes = dict(struct.iter_unpack("<HQ", body[36 : 36 + length]))
    (named,) = _u32(body, 36 + length + 8)
    # the record, three times and sizes, a checksum, the name of the compression, a size
    return (None if named else start + _RECORD + 28 + 4 + 8), indexes


def _index(number, at, channel):
    """(recording time, offset in the chunk) of the messages of a channel."""
    kind, _, found, length = struct.unpack("<BQHI", os.pread(number, 15, at))
    if (kind, found) != (_MESSAGE_INDEX, channel):
        raise ValueError("no index of messages")
    return struct.iter_unpack("<QQ", os.pread(number, length, at + 15))


def _head(number, at, channel):
    data = os.pread(number, _RECORD + _OF_MESSAGE + _HEAD, at)
    kind, length, found = struct.unpack_from("<BQH", data)
    if (kind, found) != (_MESSAGE, channel):
        raise ValueError("no message")
    head = data[_RECORD + _OF_MESSAGE : _RECORD + min(length, _OF_MESSAGE + _HEAD)]
    if head.startswith(_ZSTD):
        raise ValueError("compressed")
    return head
