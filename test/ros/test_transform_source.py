"""Which source of transforms is taken, with stand-ins for tf2_ros and rclpy."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from builders.bag_messages import TRANSFORMS, make, transform

from cmdfusion_ros.data.bags.bag import ros2_types
from cmdfusion_ros.geometry.transforms import rigid
from cmdfusion_ros.messages.transforms import TransformError
from cmdfusion_ros.ros.interfaces import Interfaces
from cmdfusion_ros.ros.transform_source import NoSource, OwnSource, Tf2Source, open_transform_source


class TransformException(Exception):
    """As tf2_ros names the base of its errors."""


class Buffer:
    """As much of tf2_ros.Buffer as is used: one transform, of 1 m along x until it is set."""

    def __init__(self):
        self.shift = 1.0

    def set_transform_static(self, transform, authority):
        assert transform.child_frame_id == "lidar" and authority
        self.shift = transform.transform.translation.x

    def lookup_transform(self, target, source, time):
        if source != "lidar":
            raise TransformException(f"{source} does not exist")
        assert time == ("time", 0)
        transform = SimpleNamespace(
            translation=SimpleNamespace(x=self.shift, y=0.0, z=0.0),
            rotation=SimpleNamespace(x=0.0, y=0.0, z=0.0, w=1.0),
        )
        return SimpleNamespace(transform=transform)


class TransformListener:
    """Remembers what it was given."""

    def __init__(self, buffer, node, *, spin_thread):
        self.given = (buffer, node, spin_thread)
        self.unregistered = False

    def unregister(self):
        self.unregistered = True


@pytest.fixture
def tf2_ros(monkeypatch):
    module = SimpleNamespace(
        Buffer=Buffer, TransformListener=TransformListener, TransformException=TransformException
    )
    monkeypatch.setitem(sys.modules, "tf2_ros", module)


@pytest.fixture
def no_tf2_ros(monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2_ros", None)


@pytest.fixture
def callbacks(monkeypatch):
    """{topic: callback} of what is subscribed to."""
    found = {}

    def subscribe(node, kind, topic, callback, quality, raw=False):
        assert kind == "kind" and quality == topic
        found[topic] = callback
        return topic

    monkeypatch.setattr("cmdfusion_ros.ros.transform_source.subscribe", subscribe)
    return found


GUARD = SimpleNamespace(callback=lambda name, function: function)  # guards nothing


def test_tf2_ros_is_taken_where_it_is_installed(tf2_ros, callbacks):
    destroyed = []
    node = SimpleNamespace(destroy_subscription=destroyed.append)
    source = open_transform_source(
        node,
        Interfaces({"TFMessage": "kind"}, {}),
        lambda stamp: ("time", stamp),
        None,
        None,
        GUARD,
    )
    assert isinstance(source, Tf2Source) and source._listener.given[1:] == (node, False)
    assert source.buffer.lookup("front", "lidar")[0, 3] == 1.0
    with pytest.raises(TransformError, match="radar does not exist"):
        source.buffer.lookup("front", "radar")
    source.close()
    assert source._listener.unregistered and destroyed == ["/tf_static"]


def test_where_tf2_ros_listens_it_is_heard_too_that_tf_static_spoke(tf2_ros, callbacks):
    """With tf.refresh_period 0 nothing else has the corrected place looked up, and it must be
    there by then.
    """
    heard = []
    source = open_transform_source(
        "node",
        Interfaces({"TFMessage": "kind"}, {}),
        lambda stamp: ("time", stamp),
        lambda: heard.append(source.buffer.lookup("base", "lidar")[0, 3]),
        None,
        GUARD,
    )
    callbacks["/tf_static"](message("base", "lidar", w=1.0, x=2.0))
    assert heard == [2.0]


def test_our_own_listener_is_taken_where_only_the_messages_are(no_tf2_ros, callbacks):
    heard, complaints = [], []
    source = open_transform_source(
        "node",
        Interfaces({"TFMessage": "kind"}, {}),
        None,
        lambda: heard.append("static"),
        complaints.append,
        GUARD,
    )
    assert isinstance(source, OwnSource) and sorted(callbacks) == ["/tf", "/tf_static"]
    upright = rigid(np.eye(3), (0.0, 0.0, 0.0))
    callbacks["/tf_static"](serialised(transform("base", "lidar", upright)))
    assert heard == ["static"] and complaints == []
    np.testing.assert_array_equal(source.buffer.lookup("base", "lidar"), np.eye(4))
    collapsed = transform("odom", "base", upright)
    collapsed.transform.rotation.w = 0.0
    callbacks["/tf"](serialised(collapsed))
    assert heard == ["static"] and "quaternion" in complaints[0]
    callbacks["/tf_static"](b"\x00\x01\x00\x00\xff")
    assert heard == ["static"] and complaints[1].startswith("/tf_static: transforms: ")


def test_without_either_there_are_no_transforms_and_it_is_said(no_tf2_ros):
    source = open_transform_source("node", Interfaces({}, {}), None, None, None, GUARD)
    assert isinstance(source, NoSource) and "calibration files only" in source.name
    with pytest.raises(TransformError):
        source.buffer.lookup("base", "lidar")
    source.close()


def serialised(*links):
    return bytes(ros2_types().serialize_cdr(make(TRANSFORMS, list(links)), TRANSFORMS))


def message(parent, child, w, x=0.0):
    transform = SimpleNamespace(
        translation=SimpleNamespace(x=x, y=0.0, z=0.0),
        rotation=SimpleNamespace(x=0.0, y=0.0, z=0.0, w=w),
    )
    header = SimpleNamespace(frame_id=parent, stamp=SimpleNamespace(sec=1, nanosec=0))
    return SimpleNamespace(
        transforms=[SimpleNamespace(header=header, child_frame_id=child, transform=transform)]
    )
