"""rosbags as streams of CDR: reads rosbag2 (mcap, sqlite3; zstd) and ROS 1 bags, writes rosbag2
(mcap). Needs `rosbags`, not ROS.

Every message comes out as ROS 2 would have recorded it, so nothing behind this file knows which of
them a bag was.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from rosbags import interfaces as qos
from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.rosbag2 import StoragePlugin, Writer, WriterError
from rosbags.typesys import Stores, TypesysError, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from cmdfusion_ros.data.bags.unpacking import bound_unpacking
from cmdfusion_ros.messages.clouds import read_columns
from cmdfusion_ros.messages.stamps import raw_stamp_ns

bound_unpacking()
_EPOCH_NS = 10**17  # 1973: what is earlier counts from the start of something
_ROS1_NAMES = {"tf/msg/tfMessage": "tf2_msgs/msg/TFMessage"}  # same fields, another name


@cache
def ros2_types() -> Typestore:
    """The message types of ROS 2 as rosbags knows them; their layouts of clouds, images,
    calibrations and transforms are the same since Humble.
    """
    return get_typestore(Stores.ROS2_KILTED)


@dataclass(frozen=True)
class BagMessage:
    """One recorded message.

    Attributes:
        topic: its topic.
        msgtype: its ROS 2 type, "sensor_msgs/msg/PointCloud2".
        time: int, nanoseconds, when it was recorded (its stamp is in the message, see
            `messages.stamps.raw_stamp_ns`).
        data: bytes, CDR with the 4 bytes of encapsulation.
    """

    topic: str
    msgtype: str
    time: int
    data: bytes


@dataclass(frozen=True)
class BagTopic:
    """What a bag says of one topic: type, number of messages, and whether it was published
    reliably and latched (transient local).
    """

    msgtype: str
    count: int
    reliable: bool = True
    latched: bool = False


class Bag:
    """A bag open for reading; use it in a `with`.

    Args:
        path: rosbag2 folder, .mcap or ROS 1 .bag file.
        duration: seconds from its start, by recording time, after which the bag is taken to end; 0
            for all of it. `BagTopic.count` counts all.

    Attributes:
        path: as given.
        kind: "ROS 1" or "rosbag2".
        topics: {topic: BagTopic}.
        start, end: int, nanoseconds, recording times of the first message and just after the last.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        ValueError: it is not a bag, or damaged.
    """

    def __init__(self, path: str | Path, duration: float = 0.0):
        self.path, self._duration = Path(path), duration
        if not self.path.exists():
            raise FileNotFoundError(
                f"bag {self.path}: there is nothing; expected a rosbag2 folder, a .mcap or a ROS "
                "1 .bag file"
            )
        self.kind = "ROS 1" if self.path.suffix == ".bag" else "rosbag2"
        try:
            self._reader = AnyReader([self.path], default_typestore=ros2_types())
        except (AnyReaderError, OSError) as error:
            raise ValueError(
                f"bag {self.path}: not readable: {error}; expected a rosbag2 folder with its "
                "metadata.yaml (`ros2 bag reindex FOLDER` makes it anew, or give the .mcap or .db3 "
                "inside), or a ROS 1 .bag file"
            ) from error

    def __enter__(self) -> "Bag":
        try:
            self._reader.open()
        except Exception as error:  # of a damaged bag its storage raises anything
            raise ValueError(self._damaged(error)) from error
        self.topics = {}
        for connection in self._reader.connections:
            if not all(isinstance(n, str) for n in (connection.topic, connection.msgtype)):
                raise ValueError(self._damaged("a topic without a name or a type"))
            known = self.topics.get(connection.topic)
            count = connection.msgcount + (known.count if known else 0)
            self.topics[connection.topic] = BagTopic(
                _ros2_name(connection.msgtype), count, *_quality(connection.ext)
            )
        self.start, self.end = self._reader.start_time, self._reader.end_time
        if self.start < _EPOCH_NS < self.end:  # recorded before the first /clock: 50 years apart
            self.start = next((t for _, t, _ in self._records((), _EPOCH_NS, None)), self.start)
        if self._duration:
            self.end = min(self.end, self.start + round(self._duration * 1e9))
        self._types = (
            self._reader.typestore
            if self._reader.is2
            else _without_sequence_numbers(self._reader.typestore)
        )
        return self

    def __exit__(self, *exception: object) -> None:
        self._reader.close()

    def messages(
        self, topics: Iterable[str] | None = None, start: int | None = None, stop: int | None = None
    ) -> Iterator[BagMessage]:
        """The messages in order of recording, those of `topics` (None: all) from `start` until
        before `stop` (nanoseconds; None: the ends).
        """
        chosen = [c for c in self._reader.connections if topics is None or c.topic in topics]
        if not chosen:
            return
        convert = None if self._reader.is2 else self._types.ros1_to_cdr
        stop = self.end if stop is None else min(stop, self.end)
        for connection, time, raw in self._records(chosen, start, stop):
            try:
                data = bytes(convert(raw, connection.msgtype)) if convert else bytes(raw)
            except Exception as error:  # SerdeError, and what damaged definitions lead to
                raise ValueError(
                    f"bag {self.path}: {connection.topic} at {time} ns: {error}"
                ) from error
            yield BagMessage(connection.topic, _ros2_name(connection.msgtype), time, data)

    def _records(self, connections, start, stop):
        """(connection, time, bytes) of the reader's messages; ValueError where the bag is damaged
        there.
        """
        try:
            yield from self._reader.messages(connections, start=start, stop=stop)
        except Exception as error:  # of sqlite, zstd, struct, ...; a consumer's never come here
            raise ValueError(self._damaged(error)) from error

    def _damaged(self, error):
        why = str(error) or type(error).__name__
        return f"bag {self.path}: not readable: {why}; is it complete? {_remedy(self.path)}"

    def deserialize(self, message: BagMessage) -> Any:
        """A BagMessage -> an object with the fields of its type. ROS 1 messages get the field
        names of ROS 2 (k, not K).
        """
        # what a bag says of types that we know may name other fields than we read
        known = message.msgtype in ros2_types().fielddefs
        types = ros2_types() if known else self._types
        try:
            return types.deserialize_cdr(message.data, message.msgtype)
        except Exception as error:  # SerdeError, and what damaged definitions lead to
            raise ValueError(
                f"bag {self.path}: {message.topic} at {message.time} ns: not readable as "
                f"{message.msgtype}: {error}"
            ) from error

    def definition(self, topic: str, msgtype: str | None = None) -> tuple[str | None, str | None]:
        """(message definition text, type hash) of a topic as recorded, so that a copy needs no
        knowledge of the type; (None, None) where the bag has none, or ROS 1's of a type that ROS 2
        has too. `msgtype` tells the types of one topic apart.
        """
        connection = self._connection(topic, msgtype)
        name, text, digest = connection.msgtype, connection.msgdef.data, connection.digest
        if not self._reader.is2:
            if _ros2_name(name) in ros2_types().fielddefs:
                return None, None
            text, digest = self._types.generate_msgdef(name, ros_version=2)[0], ""
        if text and not digest and name in self._types.fielddefs:
            digest = self._types.hash_rihs01(name)  # a .mcap alone has no hashes
        return (text, digest) if digest else (None, None)

    def qualities(self, topic: str, msgtype: str) -> list[qos.Qos]:
        """The qualities of service that a topic was offered with, as recorded."""
        ext = self._connection(topic, msgtype).ext
        return (
            [_profile(bool(ext.latching))]
            if hasattr(ext, "latching")
            else (list(ext.offered_qos_profiles))
        )

    def _connection(self, topic, msgtype):
        return next(
            c
            for c in self._reader.connections
            if c.topic == topic and msgtype in (None, _ros2_name(c.msgtype))
        )


def _without_sequence_numbers(types):
    """The types of a ROS 1 bag with the Header of ROS 2, which has no `seq`: what rosbags needs
    to convert them.
    """
    converted = get_typestore(Stores.EMPTY)
    ours = {
        name: ros2_types().fielddefs[name]
        for name in ("std_msgs/msg/Header", "builtin_interfaces/msg/Time")
    }
    converted.register({**types.fielddefs, **ours})
    return converted


def _remedy(path):
    """What mends a damaged bag."""
    if path.suffix == ".bag":
        return "`rosbag reindex FILE` keeps what can be read"
    return "`mcap recover FILE.mcap`, or `ros2 bag reindex FOLDER`, keeps what can be read"


def _ros2_name(msgtype):
    return _ROS1_NAMES.get(msgtype, msgtype)


def _quality(ext):
    """(reliable, latched) of a connection; reliable and not latched where the bag does not say."""
    if hasattr(ext, "latching"):
        return True, bool(ext.latching)
    if not ext.offered_qos_profiles:
        return True, False
    profile = ext.offered_qos_profiles[0]
    return (
        profile.reliability is not qos.QosReliability.BEST_EFFORT,
        profile.durability is qos.QosDurability.TRANSIENT_LOCAL,
    )


class BagWriter:
    """Writes a rosbag2 (mcap); use it in a `with`. Connections are made at the first message of a
    topic.

    Args:
        path: folder to make; FileExistsError where it exists, nothing is overwritten.
        definitions: {"package/msg/Name": text of the .msg file} of the types that are not part of
            ROS.
    """

    def __init__(self, path: str | Path, definitions: Mapping[str, str] | None = None):
        self.path = Path(path)
        if self.path.exists():
            raise FileExistsError(f"bag {self.path}: exists; move it away, or choose another name")
        self._types = ros2_types()
        if definitions:
            self._types = get_typestore(Stores.ROS2_KILTED)  # one of its own, to add to
            for name, text in definitions.items():
                self._types.register(get_types_from_msg(text, name))
        self._writer = Writer(self.path, version=9, storage_plugin=StoragePlugin.MCAP)
        self._connections = {}

    def __enter__(self) -> "BagWriter":
        self._writer.open()
        return self

    def __exit__(self, *exception: object) -> None:
        self._writer.close()

    def write(
        self,
        topic: str,
        msgtype: str,
        time: int,
        data: bytes,
        latched: bool = False,
        definition: tuple[str | None, str | None] = (None, None),
    ) -> None:
        """Append one message: CDR bytes `data` of type `msgtype` recorded at `time` (int, ns).

        `latched` and `definition` (as `Bag.definition` gives it, for types that are neither part of
        ROS nor in `definitions`) matter at the first message of a topic.
        """
        if (topic, msgtype) not in self._connections:
            self._connect(topic, msgtype, definition, [_profile(latched)])
        self._writer.write(self._connections[topic, msgtype], time, data)

    def copy(self, message: BagMessage, source: Bag) -> None:
        """Append a message of another bag as it was recorded there, with the definition of its
        type and the quality of service of its topic.

        Raises:
            ValueError: neither that bag nor ROS defines its type.
        """
        kind = message.topic, message.msgtype
        if kind not in self._connections:
            self._connect(*kind, source.definition(*kind), source.qualities(*kind))
        self._writer.write(self._connections[kind], message.time, message.data)

    def _connect(self, topic, msgtype, definition, qualities):
        text, digest = definition
        try:
            self._connections[topic, msgtype] = self._writer.add_connection(
                topic,
                msgtype,
                typestore=self._types,
                msgdef=text,
                rihs01=digest,
                offered_qos_profiles=qualities,
            )
        except (TypesysError, WriterError) as error:
            raise ValueError(
                f"bag {self.path}: {topic}: the definition of {msgtype} is not known; give it in "
                f"`definitions` ({error})"
            ) from error

    def serialize(self, message: Any, msgtype: str) -> bytes:
        """A message object of rosbags -> CDR bytes."""
        return bytes(self._types.serialize_cdr(message, msgtype))


def _profile(latched):
    never = qos.QosTime(0, 0)
    durability = qos.QosDurability.TRANSIENT_LOCAL if latched else qos.QosDurability.VOLATILE
    return qos.Qos(
        qos.QosHistory.KEEP_LAST,
        1 if latched else 10,
        qos.QosReliability.RELIABLE,
        durability,
        never,
        never,
        qos.QosLiveliness.AUTOMATIC,
        never,
        False,
    )


def read_labelled_clouds(
    path: str | Path, topic: str
) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """The clouds that the node or `cmdfusion label` wrote into a bag.

    Yields:
        (stamp in ns, columns): the header stamp and the columns of the cloud, of which "label"
        holds raw ids of the class map.

    Raises:
        ValueError: the bag has no such topic, or its clouds have no labels.
    """
    with Bag(path) as bag:
        if topic not in bag.topics:
            raise ValueError(
                f"bag {path}: no topic {topic}; it has {', '.join(sorted(bag.topics)) or 'none'}"
            )
        for message in bag.messages([topic]):
            columns = read_columns(bag.deserialize(message))
            if "label" not in columns.dtype.names:
                raise ValueError(
                    f"bag {path}: {topic}: expected a field `label`, got "
                    f"{', '.join(columns.dtype.names)}"
                )
            yield raw_stamp_ns(message.data), columns
