"""Bags of every kind come out as the same CDR, and what is written is read back."""

import numpy as np
import pytest
from rosbags import interfaces
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from cmdfusion_ros.data.bags.bag import (
    Bag,
    BagWriter,
    read_labelled_clouds,
    ros2_types,
)
from cmdfusion_ros.messages.clouds import read_columns
from cmdfusion_ros.messages.stamps import raw_stamp_ns

STRING, CLOUD, INFO = (
    "std_msgs/msg/String",
    "sensor_msgs/msg/PointCloud2",
    "sensor_msgs/msg/CameraInfo",
)
STAMP = 1_700_000_001_500_000_000


def header(types, frame_id="lidar", stamp=STAMP, **more):
    time = types.types["builtin_interfaces/msg/Time"](*divmod(stamp, 10**9))
    return types.types["std_msgs/msg/Header"](stamp=time, frame_id=frame_id, **more)


def cloud(types, columns, point_step=None, height=1, row_step=None, big_endian=False, **more):
    """A PointCloud2 with a float32 or uint32 column for each (name, values)."""
    order = ">" if big_endian else "<"
    names = list(columns)
    width = len(columns[names[0]]) // height
    point_step = point_step or 4 * len(names)
    row_step = row_step or point_step * width
    data = np.zeros((height, row_step), np.uint8)
    for index, name in enumerate(names):
        for row in range(height):
            values = columns[name][row * width : (row + 1) * width]
            values = values.astype(order + values.dtype.str[1:])
            for point in range(width):
                start = point * point_step + 4 * index
                data[row, start : start + 4] = np.frombuffer(
                    values[point : point + 1].tobytes(), np.uint8
                )
    kinds = {np.dtype("f4"): 7, np.dtype("u4"): 6}
    field = types.types["sensor_msgs/msg/PointField"]
    fields = [
        field(name=name, offset=4 * index, datatype=kinds[columns[name].dtype], count=1)
        for index, name in enumerate(names)
    ]
    return types.types[CLOUD](
        header=header(types, **more),
        height=height,
        width=width,
        fields=fields,
        is_bigendian=big_endian,
        point_step=point_step,
        row_step=row_step,
        data=data.reshape(-1),
        is_dense=True,
    )


@pytest.mark.parametrize(
    "kind", ["mcap", "mcap zstd", "sqlite3", "sqlite3 file zstd", "sqlite3 message zstd"]
)
def test_every_rosbag2_storage_gives_the_same_bytes(tmp_path, kind):
    types = ros2_types()
    writer = Writer(
        tmp_path / "bag",
        version=9,
        storage_plugin=StoragePlugin.MCAP if "mcap" in kind else StoragePlugin.SQLITE3,
    )
    mode = {
        "mcap zstd": CompressionMode.STORAGE,
        "sqlite3 file zstd": CompressionMode.FILE,
        "sqlite3 message zstd": CompressionMode.MESSAGE,
    }.get(kind)
    if mode:
        writer.set_compression(mode, CompressionFormat.ZSTD)
    texts = [f"text {index} " * 20 for index in range(5)]
    with writer:
        connection = writer.add_connection("/words", STRING, typestore=types)
        for index, text in enumerate(texts):
            writer.write(
                connection,
                10**9 + index,
                types.serialize_cdr(types.types[STRING](data=text), STRING),
            )
    with Bag(tmp_path / "bag") as bag:
        assert (
            bag.kind == "rosbag2"
            and bag.topics["/words"].msgtype == STRING
            and bag.topics["/words"].count == 5
        )
        messages = list(bag.messages())
        assert [message.time for message in messages] == [10**9 + index for index in range(5)]
        assert [bag.deserialize(message).data for message in messages] == texts
        assert [
            message.time for message in bag.messages(["/words"], start=10**9 + 1, stop=10**9 + 3)
        ] == [10**9 + 1, 10**9 + 2]
        assert list(bag.messages(["/nothing"])) == []


def test_a_ros1_bag_comes_out_as_ros2_messages(tmp_path):
    types = get_typestore(Stores.ROS1_NOETIC)
    info = types.types[INFO](
        header=header(types, "front_optical", seq=7),
        height=2,
        width=3,
        distortion_model="plumb_bob",
        D=np.arange(5.0),
        K=np.arange(1.0, 10.0),
        R=np.eye(3).reshape(-1),
        P=np.arange(12.0),
        binning_x=0,
        binning_y=0,
        roi=types.types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False),
    )
    points = cloud(types, {"x": np.arange(3, dtype=np.float32)}, seq=3)
    with Writer1(tmp_path / "robot.bag") as writer:
        for topic, msgtype, message, latching in (
            ("/info", INFO, info, None),
            ("/cloud", CLOUD, points, 1),
        ):
            connection = writer.add_connection(topic, msgtype, typestore=types, latching=latching)
            writer.write(connection, STAMP, types.serialize_ros1(message, msgtype))
    with Bag(tmp_path / "robot.bag") as bag:
        assert bag.kind == "ROS 1"
        assert bag.topics["/cloud"].latched and not bag.topics["/info"].latched
        by_topic = {message.topic: message for message in bag.messages()}
        read = bag.deserialize(by_topic["/info"])
        assert (
            read.k.tolist() == list(range(1, 10))
            and read.d.tolist() == [0, 1, 2, 3, 4]
            and read.header.frame_id == "front_optical"
        )
        assert (
            raw_stamp_ns(by_topic["/cloud"].data) == raw_stamp_ns(by_topic["/info"].data) == STAMP
        )
        assert read_columns(bag.deserialize(by_topic["/cloud"]))["x"].tolist() == [0, 1, 2]
        # what a ROS 2 publisher would send
        assert ros2_types().deserialize_cdr(by_topic["/info"].data, INFO).width == 3


def test_ros1_transforms_of_the_old_package_get_the_new_name(tmp_path):
    types = get_typestore(Stores.ROS1_NOETIC)
    types.register({"tf/msg/tfMessage": ros2_types().fielddefs["tf2_msgs/msg/TFMessage"]})
    with Writer1(tmp_path / "robot.bag") as writer:
        connection = writer.add_connection("/tf", "tf/msg/tfMessage", typestore=types)
        writer.write(
            connection,
            1,
            types.serialize_ros1(
                types.types["tf/msg/tfMessage"](transforms=[]), "tf/msg/tfMessage"
            ),
        )
    with Bag(tmp_path / "robot.bag") as bag:
        message = next(bag.messages())
        assert bag.topics["/tf"].msgtype == message.msgtype == "tf2_msgs/msg/TFMessage"
        assert bag.deserialize(message).transforms == []


def test_a_written_bag_is_read_back_with_its_qualities_and_own_types(tmp_path):
    with BagWriter(
        tmp_path / "bag", {"robot_msgs/msg/Mood": "uint8 GOOD=1\nuint8 mood\n"}
    ) as writer:
        writer.write(
            "/words",
            STRING,
            5,
            writer.serialize(ros2_types().types[STRING](data="hello"), STRING),
            latched=True,
        )
        writer.write("/mood", "robot_msgs/msg/Mood", 6, b"\x00\x01\x00\x00\x01")
    with Bag(tmp_path / "bag") as bag:
        assert (
            bag.topics["/words"].latched
            and not bag.topics["/mood"].latched
            and bag.topics["/mood"].reliable
        )
        words, mood = bag.messages()
        assert bag.deserialize(words).data == "hello" and bag.deserialize(mood).mood == 1


def test_a_type_that_nobody_defined_is_refused_by_name(tmp_path):
    with (
        BagWriter(tmp_path / "bag") as writer,
        pytest.raises(ValueError, match="the definition of robot_msgs/msg/Mood is not known"),
    ):
        writer.write("/mood", "robot_msgs/msg/Mood", 6, b"\x00\x01\x00\x00\x01")


def test_best_effort_is_remembered(tmp_path):
    never = interfaces.QosTime(0, 0)
    qos = interfaces.Qos(
        interfaces.QosHistory.KEEP_LAST,
        5,
        interfaces.QosReliability.BEST_EFFORT,
        interfaces.QosDurability.VOLATILE,
        never,
        never,
        interfaces.QosLiveliness.AUTOMATIC,
        never,
        False,
    )
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection(
            "/words", STRING, typestore=ros2_types(), offered_qos_profiles=[qos]
        )
        writer.write(
            connection, 1, ros2_types().serialize_cdr(ros2_types().types[STRING](data=""), STRING)
        )
    with Bag(tmp_path / "bag") as bag:
        assert not bag.topics["/words"].reliable


def test_nothing_and_no_bag_and_an_existing_bag_are_said_plainly(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is nothing; expected a rosbag2 folder"):
        Bag(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="not readable: .*metadata"):
        Bag(tmp_path / "empty").__enter__()
    (tmp_path / "broken.bag").write_bytes(b"no bag at all")
    with pytest.raises(ValueError, match="broken.bag: not readable"):
        Bag(tmp_path / "broken.bag").__enter__()
    with pytest.raises(FileExistsError, match="exists; move it away"):
        BagWriter(tmp_path / "empty")


@pytest.mark.parametrize("big_endian", [False, True])
def test_cloud_columns_honour_padding_organisation_and_byte_order(big_endian):
    columns = {"x": np.arange(6, dtype=np.float32), "label": np.arange(10, 16, dtype=np.uint32)}
    message = cloud(
        ros2_types(), columns, point_step=12, height=2, row_step=40, big_endian=big_endian
    )
    read = read_columns(message)
    assert (
        read["x"].tolist() == columns["x"].tolist()
        and read["label"].tolist() == columns["label"].tolist()
    )


def test_labelled_clouds_are_read_by_stamp_and_unlabelled_ones_refused(tmp_path):
    types = ros2_types()
    labelled = cloud(types, {"x": np.zeros(2, np.float32), "label": np.array([4, 9], np.uint32)})
    with BagWriter(tmp_path / "bag") as writer:
        writer.write("/labelled", CLOUD, STAMP, writer.serialize(labelled, CLOUD))
        writer.write(
            "/plain",
            CLOUD,
            STAMP,
            writer.serialize(cloud(types, {"x": np.zeros(2, np.float32)}), CLOUD),
        )
    ((stamp, columns),) = read_labelled_clouds(tmp_path / "bag", "/labelled")
    assert stamp == STAMP and columns["label"].tolist() == [4, 9]
    with pytest.raises(ValueError, match="expected a field `label`, got x"):
        list(read_labelled_clouds(tmp_path / "bag", "/plain"))
    with pytest.raises(ValueError, match="no topic /other; it has /labelled, /plain"):
        list(read_labelled_clouds(tmp_path / "bag", "/other"))
