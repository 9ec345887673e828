"""Without ROS the node's own synchroniser and pipeline label a bag: every cloud, with the right
cameras.
"""

import numpy as np
import pytest
from builders.bag_messages import rewrite

from cmdfusion_ros.config import SettingsError
from cmdfusion_ros.data.bags.bag import Bag, BagWriter, read_labelled_clouds
from cmdfusion_ros.data.bags.bag_layout import inspect_bag
from cmdfusion_ros.labelling import offline
from cmdfusion_ros.labelling.model import open_segmenter
from cmdfusion_ros.labelling.offline import (
    LABELLED_TOPIC,
    label_bag,
    offline_settings,
    seconds_of_a_cloud,
)


def run(bag, out, silence=(), points=None, **model):
    """The events of labelling a bag, with the stand-in for a network unless told otherwise."""
    events = []
    layout = inspect_bag(bag, points)
    settings = offline_settings(layout, **{"backend": "fake", **model})
    label_bag(layout, settings, out, layout.silences(silence), events.append)
    return events


def modes_of(events):
    return [event["mode"] for event in events if event["event"] == "message"]


def counts_of(events):
    return [event["counts"] for event in events if event["event"] == "counts"][-1]


def test_every_cloud_is_labelled_in_order_with_both_cameras(small_bag, tmp_path):
    events = run(small_bag, tmp_path / "out")
    assert modes_of(events) == ["FUSED"] * 8
    counts = counts_of(events)
    assert counts["received"] == counts["labelled"] == 8 and not any(
        value for key, value in counts.items() if key.startswith("dropped")
    )
    stamps = [stamp for stamp, _ in read_labelled_clouds(tmp_path / "out", LABELLED_TOPIC)]
    assert stamps == [1_700_000_000_000_000_000 + index * 100_000_000 for index in range(8)]


def test_what_became_of_each_camera_is_told_with_the_reason(small_bag, tmp_path):
    events = run(small_bag, tmp_path / "one", ["front@0.35"])
    told = [event["cameras"] for event in events if event["event"] == "cameras"]
    assert [found["left"] for found in told] == [("FUSED", "")] * 8
    assert [found["front"][0] for found in told] == ["FUSED"] * 4 + ["NO_IMAGE"] * 4


def test_the_labelled_bag_holds_the_points_as_they_came_and_the_transforms(small_bag, tmp_path):
    run(small_bag, tmp_path / "out")
    _, columns = next(read_labelled_clouds(tmp_path / "out", LABELLED_TOPIC))
    assert (
        columns.dtype.names
        == ("x", "y", "z", "intensity", "rgb", "label", "confidence", "camera_mask")
        and len(columns) == 2000
    )
    assert set(columns["label"]) <= {0, 1}  # the stand-in says road of every point it saw
    with Bag(tmp_path / "out") as bag:
        assert bag.topics["/tf_static"].latched and bag.topics[LABELLED_TOPIC].count == 8


def test_a_silent_camera_costs_no_cloud_only_its_own_share(small_bag, tmp_path):
    events = run(small_bag, tmp_path / "one", ["front@0.35"])
    assert counts_of(events)["labelled"] == 8
    modes = modes_of(events)
    assert modes == ["FUSED"] * modes.index("PARTIAL") + ["PARTIAL"] * (
        8 - modes.index("PARTIAL")
    ) and modes.index("PARTIAL") in (3, 4)
    events = run(small_bag, tmp_path / "all", ["all@0.35"])
    assert counts_of(events)["labelled"] == 8 and modes_of(events)[-4:] == ["LIDAR_ONLY"] * 4


def test_a_cloud_that_cannot_be_read_is_counted_and_the_others_are_labelled(small_bag, tmp_path):
    def damaged(number, message):
        late_cloud = message.topic == "/lidar/points" and number > 15
        # a cloud without x
        return message.data.replace(b"x\x00", b"q\x00", 1) if late_cloud else message.data

    rewrite(small_bag, tmp_path / "damaged", damaged)
    events = run(tmp_path / "damaged", tmp_path / "out")
    counts = counts_of(events)
    assert (
        counts["received"] == 8 == counts["labelled"] + counts["dropped.malformed"]
        and counts["dropped.malformed"] > 0
    )
    assert any(event["event"] == "unlabelled" and "'x'" in event["why"] for event in events)


def test_measuring_labels_a_few_clouds_and_writes_nothing(small_bag):
    layout = inspect_bag(small_bag)
    before = sorted(small_bag.parent.iterdir())
    assert 0 < seconds_of_a_cloud(layout, offline_settings(layout, backend="fake"), 3) < 10
    assert sorted(small_bag.parent.iterdir()) == before


@pytest.mark.parametrize(
    "out, options, error, why",
    [
        ("out", {"points": "/nope"}, ValueError, "no PointCloud2 on /nope"),
        (".", {}, FileExistsError, "exists; move it away"),
        ("out", {"silence": ["rear@1"]}, ValueError, "expected CAMERA@SECONDS"),
        ("out", {"checkpoint": "no.safetensors", "backend": "cpu"}, SettingsError, "model.check"),
    ],
)
def test_what_cannot_be_done_is_said(small_bag, tmp_path, out, options, error, why):
    with pytest.raises(error, match=why):
        run(small_bag, tmp_path / out, **options)


def test_the_published_confidence_is_the_calibrated_one(small_bag, tmp_path):
    from cmdfusion_ros.checkpoint.file import replace_card, save_checkpoint
    from cmdfusion_ros.checkpoint.temperatures import Temperatures
    from cmdfusion_ros.class_map import load_class_map
    from cmdfusion_ros.config import ModelConfig
    from cmdfusion_ros.models import build_network

    street, config = (
        load_class_map("street"),
        ModelConfig(channels=4, voxel_size=1.0, strides=(1, 2)),
    )
    plain, calibrated = tmp_path / "plain.safetensors", tmp_path / "calibrated.safetensors"
    save_checkpoint(plain, build_network(config, street.num_classes).eval(), config, street, {})
    replace_card(plain, {}, Temperatures((10.0, 20.0), (4.0, 0.5)), out=calibrated)
    published = []
    for path in (plain, calibrated):
        model = {"checkpoint": str(path), "device": "cpu", "backend": "auto"}
        run(small_bag, tmp_path / path.stem, **model)
        published.append(next(read_labelled_clouds(tmp_path / path.stem, LABELLED_TOPIC))[1])
    before, after = published
    distance = np.hypot(before["x"], before["y"])
    np.testing.assert_array_equal(before["label"], after["label"])
    seen = before["confidence"] > 0  # points nearer than the vehicle reaches are not labelled
    assert (after["confidence"] < before["confidence"])[seen & (distance < 10)].all()
    assert (after["confidence"] > before["confidence"])[seen & (distance > 20)].all()


def rewritten(bag, path, change):
    """Write the messages of `bag` at `path` in order of recording, after `change`, which takes
    and gives [[topic, msgtype, time, data], ...].
    """
    with Bag(bag) as source, BagWriter(path) as writer:
        messages = [
            [message.topic, message.msgtype, message.time, message.data]
            for message in source.messages()
        ]
        for topic, msgtype, time, data in sorted(change(messages), key=lambda message: message[2]):
            writer.write(topic, msgtype, time, data, latched=topic == "/tf_static")
    return path


def test_static_transforms_hold_for_the_whole_bag_wherever_they_were_recorded(small_bag, tmp_path):
    def late(messages):
        static = next(message for message in messages if message[0] == "/tf_static")
        moving = ["/tf", static[1], static[2] + 1_100_000_000, other_transform(static[3])]
        static[2] += 1_200_000_000
        return [*messages, moving]

    events = run(
        rewritten(small_bag, tmp_path / "late", late),
        tmp_path / "out",
    )
    assert modes_of(events) == ["FUSED"] * 8


def other_transform(data):
    """A TFMessage between frames that nothing else names, made of one with the link base_link ->
    lidar.
    """
    return (
        data.replace(b"base_link", b"elsewhere")
        .replace(b"lidar\0", b"radar\0")
        .replace(b"optical", b"mirrors")
    )


def test_cameras_join_when_the_transforms_come_that_tf_repeats(small_bag, tmp_path):
    def moving(messages):
        static = next(message for message in messages if message[0] == "/tf_static")
        start = static[2]
        others = [
            [topic, kind, time + 1_500_000_000, data]
            for topic, kind, time, data in messages
            if topic != "/tf_static"
        ]
        first = ["/tf", static[1], start, other_transform(static[3])]
        return [
            first,
            *others,
            *(
                ["/tf", static[1], start + time, static[3]]
                for time in (1_850_000_000, 1_900_000_000)
            ),
        ]

    events = run(
        rewritten(small_bag, tmp_path / "moving", moving),
        tmp_path / "out",
    )
    modes = modes_of(events)
    assert (
        len(modes) == 8
        and modes[0] == "LIDAR_ONLY"
        and modes[-1] == "FUSED"
        and modes == sorted(modes, reverse=True)
    )


@pytest.mark.parametrize("num_bytes", [3, 400], ids=["too short for a stamp", "half of it"])
def test_messages_that_are_cut_off_cost_themselves_only(small_bag, tmp_path, num_bytes):
    def cut(messages):
        for topic in {topic for topic, *_ in messages} - {"/tf_static"}:
            fourth = [message for message in messages if message[0] == topic][3]
            fourth[3] = fourth[3][:num_bytes]
        return [*messages, ["/tf", "tf2_msgs/msg/TFMessage", messages[0][2], b"\0\1\0"]]

    events = run(
        rewritten(small_bag, tmp_path / "cut", cut),
        tmp_path / "out",
    )
    counts = counts_of(events)
    assert counts["received"] == 8 and counts["labelled"] == 7 and counts["dropped.malformed"] == 1
    assert any(event["event"] == "unreadable" and event["topic"] == "/tf" for event in events)


def test_a_network_that_fails_on_one_cloud_costs_that_cloud_only(small_bag, tmp_path, monkeypatch):
    def failing(settings):
        segmenter, info = open_segmenter(settings)
        calls, works = [], segmenter.segment

        def segment(frame):
            calls.append(frame)
            if len(calls) in (3, 4):  # with images, and again without
                raise RuntimeError("out of memory")
            return works(frame)

        segmenter.segment = segment
        return segmenter, info

    monkeypatch.setattr(offline, "open_segmenter", failing)
    events = run(small_bag, tmp_path / "out")
    counts = counts_of(events)
    assert counts["labelled"] == 7 and counts["dropped.model_error"] == 1
    assert any(
        event["event"] == "unlabelled" and "out of memory" in event["why"] for event in events
    )


def test_labelled_clouds_are_recorded_beside_the_transforms_whatever_clock_the_lidar_has(
    small_bag, tmp_path
):
    def later(messages):
        return [[topic, kind, time + 10**15, data] for topic, kind, time, data in messages]

    run(
        rewritten(small_bag, tmp_path / "later", later),
        tmp_path / "out",
    )
    with Bag(tmp_path / "later") as bag, Bag(tmp_path / "out") as labelled:
        recorded = [message.time for message in labelled.messages([LABELLED_TOPIC])]
        assert recorded == [message.time for message in bag.messages(["/lidar/points"])]
        assert labelled.end - labelled.start < 10**9
