"""`cmdfusion label --with-original`: the labels in one bag with all that was recorded."""

import numpy as np
import pytest
from builders.commands import cmdfusion
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from cmdfusion_ros.data.bags.bag import Bag, read_labelled_clouds
from cmdfusion_ros.labelling.offline import LABELLED_TOPIC

STRING, WHEEL = "std_msgs/msg/String", "robot_msgs/msg/Wheel"
OTHER_NODE = "/rear/points_labeled"  # of a node of another name: not ours to leave out
NEVER = QosTime(0, 0)
UNRELIABLE = Qos(
    QosHistory.KEEP_LAST, 5, QosReliability.BEST_EFFORT, QosDurability.VOLATILE,
    NEVER, NEVER, QosLiveliness.AUTOMATIC, NEVER, False,
)  # fmt: skip


@pytest.fixture(scope="module")
def labelled_before(small_bag, tmp_path_factory):
    out = tmp_path_factory.mktemp("before") / "labelled"
    assert cmdfusion("label", small_bag, "--out", out, "--backend", "fake") == 0
    return out


@pytest.fixture(scope="module")
def robot_bag(small_bag, labelled_before, tmp_path_factory):
    """What `ros2 bag record -a` leaves on a robot: sensors, words, a type of its own, and labels of
    the node that ran, under its name and another.
    """
    path = tmp_path_factory.mktemp("robot") / "drive"
    types = get_typestore(Stores.ROS2_KILTED)
    types.register(get_types_from_msg("float64 speed\nint32[3] ticks\n", WHEEL))
    with Bag(small_bag) as bag:
        messages = [(m.topic, m.msgtype, m.time, m.data) for m in bag.messages()]
    with Bag(labelled_before) as bag:
        old = list(bag.messages([LABELLED_TOPIC]))
    for topic in (LABELLED_TOPIC, OTHER_NODE):
        messages += [(topic, m.msgtype, m.time + 70_000_000, m.data) for m in old]
    start, end = messages[0][2], max(time for _, _, time, _ in messages)
    for place, time in enumerate(range(start - 50_000_000, end + 300_000_000, 30_000_000)):
        wheel = types.types[WHEEL](speed=place / 7, ticks=np.array([place, 1, 2], np.int32))
        words = types.types[STRING](data=f"word {place}")
        messages.append(("/wheel", WHEEL, time, types.serialize_cdr(wheel, WHEEL)))
        messages.append(("/words", STRING, time, types.serialize_cdr(words, STRING)))
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connections = {}
        for topic, msgtype, time, data in sorted(messages, key=lambda message: message[2]):
            if topic not in connections:
                qualities = [UNRELIABLE] if topic == "/lidar/points" else []
                connections[topic] = writer.add_connection(
                    topic, msgtype, typestore=types, offered_qos_profiles=qualities
                )
            writer.write(connections[topic], time, data)
    return path


def label(bag, out, *more):
    return cmdfusion("label", bag, "--out", out, "--backend", "fake", *more)


def messages_of(path, topics=None):
    with Bag(path) as bag:
        return [
            (message.topic, message.msgtype, message.time, bytes(message.data))
            for message in bag.messages(topics)
        ]


@pytest.fixture(scope="module")
def both(robot_bag, tmp_path_factory):
    out = tmp_path_factory.mktemp("both") / "both"
    assert label(robot_bag, out, "--with-original") == 0
    return out


def test_every_message_is_there_byte_for_byte_and_our_labels_beside(robot_bag, both, tmp_path):
    originals = [m for m in messages_of(robot_bag) if m[0] != LABELLED_TOPIC]
    copied = [m for m in messages_of(both) if m[0] != LABELLED_TOPIC]
    assert len(originals) > 100 and sorted(copied) == sorted(originals)
    assert {m[0] for m in copied} >= {"/wheel", "/words", "/lidar/points", OTHER_NODE}
    assert label(robot_bag, tmp_path / "alone") == 0
    ours = messages_of(tmp_path / "alone", [LABELLED_TOPIC])
    assert len(ours) == 8 and messages_of(both, [LABELLED_TOPIC]) == ours
    times = {message[2] for message in messages_of(robot_bag, ["/lidar/points"])}
    assert {message[2] for message in ours} == times


def test_the_file_itself_is_in_order_of_recording(both):
    """Not only what a reader that sorts gives: the chunks, as they lie in the file."""
    with Bag(both) as bag:
        chunks = bag._reader.readers[0].storage.storages[0].chunks
        ends = [(chunk.message_start_time, chunk.message_end_time) for chunk in chunks]
        times = [message.time for message in bag.messages()]
    assert times == sorted(times) and ends == sorted(ends)
    assert all(before[1] <= after[0] for before, after in zip(ends, ends[1:], strict=False))


def test_types_and_qualities_of_service_are_those_that_were_recorded(robot_bag, both):
    with Bag(robot_bag) as source, Bag(both) as copy:
        for topic, info in source.topics.items():
            if topic != LABELLED_TOPIC:
                assert copy.topics[topic] == info
                assert copy.definition(topic) == source.definition(topic)
        assert not copy.topics["/lidar/points"].reliable and copy.topics["/words"].reliable
        wheel = copy.deserialize(list(copy.messages(["/wheel"]))[3])
        assert wheel.speed == 3 / 7 and wheel.ticks.tolist() == [3, 1, 2]


def test_labels_of_an_earlier_run_are_left_out_by_name(robot_bag, tmp_path, capsys):
    assert label(robot_bag, tmp_path / "out", "--with-original") == 0
    assert f"not copied, an earlier run's: {LABELLED_TOPIC}" in capsys.readouterr().out
    with Bag(tmp_path / "out") as bag:
        assert bag.topics[LABELLED_TOPIC].count == 8 and bag.topics[OTHER_NODE].count == 8


def test_inspect_the_demo_and_label_itself_open_it(both, tmp_path, capsys):
    assert cmdfusion("inspect", both, "--out", tmp_path / "inspected") == 0
    said = capsys.readouterr().out
    assert "/lidar/points: 8 at 10.0 Hz" in said and f"{LABELLED_TOPIC} was labelled before" in said
    words = ("--out", tmp_path / "demo", "--backend", "fake", "--offline")
    assert cmdfusion("demo", both, *words) == 0
    assert "8 clouds received, 8 labelled" in capsys.readouterr().out
    assert label(both, tmp_path / "again", "--with-original") == 0
    assert sorted(messages_of(tmp_path / "again")) == sorted(messages_of(both))


def test_a_bag_with_originals_is_never_replaced(robot_bag, both, capsys):
    before = messages_of(both)
    assert label(robot_bag, both, "--with-original") == 2
    assert "exists, and is no bag of labels; move it away" in capsys.readouterr().err
    assert messages_of(both) == before


def test_a_single_mcap_without_hashes_is_copied_with_its_own_types(robot_bag, both, tmp_path):
    (file,) = robot_bag.glob("*.mcap")
    assert label(file, tmp_path / "out", "--with-original") == 0
    assert sorted(messages_of(tmp_path / "out")) == sorted(messages_of(both))
    with Bag(tmp_path / "out") as bag:
        assert bag.deserialize(list(bag.messages(["/wheel"]))[3]).speed == 3 / 7


def test_a_ros1_bag_becomes_what_ros2_would_have_recorded(small_bag, tmp_path):
    types = get_typestore(Stores.ROS1_NOETIC)
    types.register(get_types_from_msg("Header header\nfloat64 speed\n", WHEEL))
    with Bag(small_bag) as bag, Writer1(tmp_path / "robot.bag") as writer:
        kind = "sensor_msgs/msg/PointCloud2"
        clouds = writer.add_connection("/lidar/points", kind, typestore=types)
        wheels = writer.add_connection("/wheel", WHEEL, typestore=types)
        for place, message in enumerate(bag.messages(["/lidar/points"])):
            read = bag.deserialize(message)
            stamp = types.types["builtin_interfaces/msg/Time"](
                read.header.stamp.sec, read.header.stamp.nanosec
            )
            header = types.types["std_msgs/msg/Header"](place, stamp, "lidar")
            values = {**vars(read), "header": header}
            values.pop("__msgtype__", None)
            cloud = types.types[kind](**values)
            writer.write(clouds, message.time, types.serialize_ros1(cloud, kind))
            wheel = types.types[WHEEL](header, place / 2)
            writer.write(wheels, message.time, types.serialize_ros1(wheel, WHEEL))
    assert label(tmp_path / "robot.bag", tmp_path / "out", "--with-original") == 0
    copied = [m for m in messages_of(tmp_path / "out") if m[0] != LABELLED_TOPIC]
    assert sorted(copied) == sorted(messages_of(tmp_path / "robot.bag")) and len(copied) == 16
    with Bag(tmp_path / "out") as bag:
        assert bag.deserialize(list(bag.messages(["/wheel"]))[3]).speed == 1.5
    assert len(list(read_labelled_clouds(tmp_path / "out", LABELLED_TOPIC))) == 8


def test_a_type_that_nothing_defines_is_named_and_costs_its_topic_alone(
    robot_bag, tmp_path, monkeypatch, capsys
):
    known = Bag.definition
    monkeypatch.setattr(  # as of a .db3 of Humble, which has no definitions
        Bag, "definition", lambda bag, topic, kind=None: (None, None) if topic == "/wheel"
        else known(bag, topic, kind),
    )  # fmt: skip
    assert label(robot_bag, tmp_path / "out", "--with-original") == 1
    said = capsys.readouterr().out
    assert "messages of /wheel not copied" in said and f"the definition of {WHEEL}" in said
    originals = messages_of(robot_bag)
    copied = messages_of(tmp_path / "out")
    for topic in ("/words", "/lidar/points"):
        assert [m for m in copied if m[0] == topic] == [m for m in originals if m[0] == topic]


def test_a_folder_for_a_labelling_tool_has_no_originals(robot_bag, tmp_path, capsys):
    words = ("--with-original", "--format", "semantickitti")
    assert label(robot_bag, tmp_path / "out", *words) == 2
    assert "--with-original goes with --format bag" in capsys.readouterr().err
