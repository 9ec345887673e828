"""`cmdfusion inspect`: what it says of bags whose truth is known."""

import dataclasses
import json
import shlex

import numpy as np
import pytest
import yaml
from builders import troubles, walled_drive
from builders.bag_messages import (
    MS,
    START,
    camera,
    cloud,
    clouds,
    place,
    rewrite,
    static,
    transform,
    write,
)
from builders.commands import cmdfusion
from builders.paths import DATA

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.data.bags.bag import Bag, ros2_types
from cmdfusion_ros.data.bags.frame_bag import write_frame_bag
from cmdfusion_ros.data.synthetic.sequence import SequenceSettings, open_sequence

BAG = DATA / "bags" / "pandaset_002"
TURNED = np.array([1, -1, -1], np.float32)


@pytest.fixture(scope="module")
def scan():
    """A made-up scan of 32 beams with one camera."""
    settings = SequenceSettings(rig="nuscenes", weather="day", start_ns=START)
    return open_sequence(1, "00", 1, settings).frame(0, load_class_map("street"), ("front",))


def test_clouds_without_stamps_are_not_said_to_come_twice(tmp_path, capsys):
    unstamped = [(topic, kind, time, cloud(0)) for topic, kind, time, _ in clouds()]
    inspected(write(tmp_path / "bag", unstamped), tmp_path)
    assert "the times of recording are taken" in (said := capsys.readouterr().out)
    assert "come twice: such clouds" not in said


@pytest.mark.parametrize(
    ("late", "words"),
    [
        (200, "waits at most 180 ms for images"),  # 170 ms after the cloud, and a margin
        (560, "leaves out front mostly: its images come 530 ms after their clouds"),
        (1400, "leaves out front: its images come 1.4 s after their clouds; no cloud waits"),
    ],
)
def test_images_that_come_too_late_are_not_said_to_be_fused(tmp_path, late, words):
    pictures = walled_drive.camera(late=late * MS)
    said = troubles.inspected(tmp_path, walled_drive.clouds() + place("front") + pictures)
    assert words in said and ("fuses front" in said) == (late == 200)


def bag_of(folder, scan, points=None, views=None, times=range(6)):
    """A bag with this scan, or other points and views of it, at each of the `times` x 0.1 s."""
    frames = []
    for number in times:
        shift = number * 100_000_000
        frames.append(
            dataclasses.replace(
                scan,
                points=scan.points if points is None else points,
                stamp=scan.stamp + shift,
                world_from_lidar=None,
                views=tuple(
                    dataclasses.replace(view, stamp=view.stamp + shift)
                    for view in (scan.views if views is None else views)
                ),
            )
        )
    write_frame_bag(folder / "bag", frames, load_class_map("street"))
    return folder / "bag"


def inspected(bag, folder):
    """(exit code, figures)."""
    code = cmdfusion("inspect", bag, "--out", folder / "out")
    return code, json.loads((folder / "out" / "summary.json").read_text())


def test_beams_height_view_rate_and_cameras_are_told(scan, tmp_path, capsys):
    code, found = inspected(bag_of(tmp_path, scan), tmp_path)
    said = capsys.readouterr().out
    assert code == 0 and found["beams"] == 32 and "32 beams" in said
    # the rig has its LiDAR 1.84 m up; a street leans and rises
    assert found["placement"]["height_m"] == pytest.approx(1.84, abs=0.1)
    assert found["placement"]["sure"] and found["placement"]["unit"] == "metres"
    low, high = found["vertical_deg"]
    # the lowest beam's points are moved by up to a metre where the scan is made whole
    assert low == pytest.approx(-30.7, abs=3.0) and high == pytest.approx(10.7, abs=1.0)
    assert found["cloud_hz"] == 10.0 and found["clouds_in_bag"] == 6 and found["gaps"] == []
    assert found["intensity"]["field"] == "intensity" and found["problems"] == []
    assert found["intensity"]["mean"] == pytest.approx(scan.intensity.mean(), abs=0.002)
    assert found["intensity"]["deviation"] == pytest.approx(scan.intensity.std(), abs=0.002)
    reach = np.quantile(np.linalg.norm(scan.points, axis=1), (0.5, 0.99))
    assert found["reach_m_50_99"] == pytest.approx(reach.tolist(), abs=0.01)
    assert found["rows"] == [len(scan.points)] * 2
    (one,) = found["cameras"]
    assert one["images"] == 6 and one["problems"] == [] and "fuses" in said
    parameters = yaml.safe_load((tmp_path / "out" / "node.yaml").read_text())
    assert parameters["/**"]["ros__parameters"]["cameras"] == [one["name"]]
    page = (tmp_path / "out" / "page.html").read_text()
    assert page.count("data:image/jpeg") == 2 and "http" not in page


@pytest.mark.parametrize(
    ("change", "unit", "tilt"),
    [
        (lambda points: points * TURNED, "metres", 180.0),
        (lambda points: points * np.float32(1000), "millimetres", 0.0),
        (lambda points: points + np.float32([0, 0, 1.84]), "metres", 0.0),
    ],
    ids=["upside down", "in millimetres", "raised to the ground"],
)
def test_how_a_cloud_lies_is_told_whatever_it_is(scan, tmp_path, change, unit, tilt):
    code, found = inspected(bag_of(tmp_path, scan, change(scan.points), ()), tmp_path)
    place = found["placement"]
    assert code == 0 and place["unit"] == unit
    assert place["tilt_deg"] == pytest.approx(tilt, abs=3.0)
    assert place["height_m"] == pytest.approx(1.84, abs=0.25)
    assert found["beams"] == 32 and found["cameras"] == [] and found["usable"] > 0.99


def test_gaps_and_the_causes_of_lost_points_are_counted(scan, tmp_path):
    def spoilt(_, message):
        if message.topic != "/lidar/points":
            return message.data
        types = ros2_types()
        cloud = types.deserialize_cdr(message.data, message.msgtype)
        rows = cloud.data.view(np.float32).reshape(-1, 4).copy()
        tenth = len(rows) // 10
        rows[:tenth, :3] = np.nan
        rows[tenth : 2 * tenth, :3] = 0
        rows[2 * tenth : 3 * tenth, :3] = (500_000, 4_649_776, 30)  # UTM
        cloud.data = rows.view(np.uint8).reshape(-1)
        return types.serialize_cdr(cloud, message.msgtype)

    whole = bag_of(tmp_path, scan, None, (), (0, 1, 2, 6, 7, 7))
    rewrite(whole, tmp_path / "spoilt", spoilt)
    code, found = inspected(tmp_path / "spoilt", tmp_path)
    assert code == 0 and found["gaps"] == [[0.2, 0.4]]
    assert found["stamps_doubled"] == 1
    shares = {cause.split()[0]: share for cause, share in found["lost"].items()}
    assert all(shares[cause] == pytest.approx(0.1, abs=0.01) for cause in ("not", "no", "beyond"))
    assert found["usable"] == pytest.approx(1 - sum(shares.values()), abs=0.001)
    assert any("come twice" in problem for problem in found["problems"])


def test_a_bag_of_which_nothing_would_be_labelled_says_why_and_exits_with_1(scan, tmp_path, capsys):
    utm = scan.points + np.float32([500_000, 4_649_776, 0])
    code, found = inspected(bag_of(tmp_path, scan, utm, ()), tmp_path)
    said = capsys.readouterr().out
    assert code == 1 and found["usable"] == 0.0
    assert "UTM" in said and "would label nothing" in said


def test_cameras_that_would_not_be_used_are_named_with_the_reason(tmp_path, capsys):
    messages = [*clouds(), *place("front"), *camera("front", 0), *camera("left", 0)]
    code, found = inspected(write(tmp_path / "bag", messages), tmp_path)
    assert code == 1  # its clouds hold zeros only
    reasons = {one["name"]: one["problems"] for one in found["cameras"]}
    assert reasons["front"] == [] and "no static transform" in reasons["left"][0]
    said = capsys.readouterr().out
    assert "left_optical  <- images of left: in no transform" in said


def test_what_a_camera_sends_and_is_calibrated_for_is_told(tmp_path, capsys):
    messages = [*clouds(), *place("front"), *camera("front", 20 * MS)]
    bare = [one for one in messages if one[0] != "/front/camera_info"]
    late = [one for index, one in enumerate(bare) if one[0] != "/front/image_raw" or index % 5]
    _, found = inspected(write(tmp_path / "bag", messages), tmp_path)
    (front,) = found["cameras"]
    assert front["size"] == front["calibrated_for"] == [2, 2] and front["fused"]
    assert (front["hz"], front["offset_ms"], front["gaps"]) == (10.0, 20.0, 0)
    assert "Image rgb8, 2 x 2, 0 gaps; calibrated for 2 x 2" in capsys.readouterr().out
    _, found = inspected(write(tmp_path / "bare", late), tmp_path)
    (front,) = found["cameras"]
    assert front["calibrated_for"] is None and not front["fused"] and front["gaps"] > 0
    assert front["longest_gap_s"] == pytest.approx(0.2)


def test_frames_say_what_moves_and_which_link_is_missing(tmp_path):
    here = np.eye(4)
    links = static(transform("base_link", "lidar", here), transform("rig", "front_optical", here))
    _, found = inspected(
        write(tmp_path / "bag", [*clouds(), *camera("front", 0), *links]), tmp_path
    )
    assert found["frames"] == [
        "base_link",
        "  lidar  (fixed)  <- clouds of /lidar/points",
        "rig",
        "  front_optical  (fixed)  <- images of front",
    ]
    (missing,) = [words for words in found["problems"] if "transform" in words]
    assert "'lidar' hangs under 'base_link' and 'front_optical' hangs under 'rig'" in missing


def test_without_tf_every_frame_is_said_to_be_in_no_transform(tmp_path):
    _, found = inspected(write(tmp_path / "bag", [*clouds(), *camera("front", 0)]), tmp_path)
    assert found["frames"] == [
        "front_optical  <- images of front: in no transform",
        "lidar  <- clouds of /lidar/points: in no transform",
    ]
    (missing,) = [words for words in found["problems"] if "no fixed transform" in words]
    assert "/tf_static must join these" in missing


def test_clouds_that_were_not_taken_are_told_too(tmp_path, capsys):
    with_other = clouds(count=6, topic="/other", points=0)
    _, found = inspected(write(tmp_path / "two", [*clouds(points=9), *with_other]), tmp_path)
    assert found["cloud_topic"] == "/lidar/points" and list(found["other_clouds"]) == ["/other"]
    assert found["other_clouds"]["/other"]["width"] == 0
    assert "not taken /other: points: 1 x 0 rows a cloud (0 to 0)" in capsys.readouterr().out


def test_of_many_topics_of_clouds_few_are_looked_at_and_all_are_named(tmp_path, capsys):
    many = sum((clouds(count=1, topic=f"/few_{number}", points=0) for number in range(11)), [])
    _, found = inspected(write(tmp_path / "many", [*clouds(points=9), *many]), tmp_path)
    assert len(found["other_clouds"]) == 8
    said = capsys.readouterr().out
    assert "not taken 3 more: not looked at, --points TOPIC does: /few_7, /few_8, /few_9" in said


@pytest.mark.parametrize("points", [0, 9], ids=["without a point", "of zeros"])
def test_clouds_that_give_nothing_exit_with_1_and_leave_no_parameters(tmp_path, capsys, points):
    bag = write(tmp_path / "bag", clouds(points=points))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "node.yaml").write_text("of another bag")
    code, found = inspected(bag, tmp_path)
    assert code == 1 and found["usable"] == 0.0
    assert "nothing will be labelled" in capsys.readouterr().out
    assert not (tmp_path / "out" / "node.yaml").exists()
    assert "<pre class=bad>" in (tmp_path / "out" / "page.html").read_text()


def test_a_bag_without_clouds_exits_with_1_and_lists_what_it_has(tmp_path, capsys):
    code, found = inspected(write(tmp_path / "bag", camera("front", 0)), tmp_path)
    assert code == 1 and "/front/image_raw" in found["problems"][0]
    assert "no PointCloud2" in capsys.readouterr().out
    assert "no PointCloud2" in (tmp_path / "out" / "page.html").read_text()


def cut_off(topic, numbers):
    """For `rewrite`: the messages of a topic with these numbers end after their first 10 bytes."""

    def data_of(number, message):
        seen[message.topic] = seen.get(message.topic, -1) + 1
        cut = message.topic == topic and seen[topic] in numbers
        return message.data[:10] if cut else message.data

    seen: dict = {}
    return data_of


def test_a_cloud_that_is_cut_off_is_counted_and_the_others_are_looked_at(scan, tmp_path):
    whole = bag_of(tmp_path, scan, None, ())
    rewrite(whole, tmp_path / "cut", cut_off("/lidar/points", (0, 3)))
    code, found = inspected(tmp_path / "cut", tmp_path)
    assert code == 0 and sum(found["unreadable"].values()) == 2 and found["beams"] == 32
    assert any("clouds cannot be read" in problem for problem in found["problems"])


def test_a_topic_of_clouds_that_cannot_be_read_costs_only_itself(tmp_path):
    both = write(tmp_path / "two", [*clouds(), *clouds(count=3, topic="/other")])
    rewrite(both, tmp_path / "cut", cut_off("/other", range(3)))
    code, found = inspected(tmp_path / "cut", tmp_path)
    assert found["cloud_topic"] == "/lidar/points" and code == 1  # zeros alone
    assert "/other: none of its 3 clouds can be read" in found["problems"]
    assert any("3 left out" in note and "was it cut off?" in note for note in found["notes"])


def test_where_no_cloud_can_be_read_the_reason_is_kept(tmp_path, capsys):
    whole = write(tmp_path / "whole", clouds(count=4))
    rewrite(whole, tmp_path / "cut", cut_off("/lidar/points", range(4)))
    code, found = inspected(tmp_path / "cut", tmp_path)
    assert code == 1 and "/lidar/points" in found["problems"][0]
    assert "4 left out" in found["problems"][1] and "was it cut off?" in found["problems"][1]
    assert "nothing would be labelled" in capsys.readouterr().out


def test_a_file_of_points_is_looked_at_as_one_scan(scan, tmp_path, capsys):
    rows = np.column_stack([scan.points, scan.intensity]).astype("<f4")
    (tmp_path / "scan.bin").write_bytes(rows.tobytes())
    code, found = inspected(tmp_path / "scan.bin", tmp_path)
    assert found["bag"] == str(tmp_path / "scan.bin") and found["kind"] == "points"
    assert capsys.readouterr().out.startswith("files    scan.bin (points, 0.0 s)")
    assert "<h1>scan.bin</h1>" in (tmp_path / "out" / "page.html").read_text()
    assert code == 0 and found["clouds_in_bag"] == 1 and found["beams"] == 32


def test_a_topic_that_the_bag_has_not_is_wrong_input(scan, tmp_path, capsys):
    bag = bag_of(tmp_path, scan, None, ())
    assert cmdfusion("inspect", bag, "--out", tmp_path / "out", "--points", "/no") == 2
    assert "no PointCloud2 on /no" in capsys.readouterr().err


def test_what_is_no_bag_is_wrong_input(tmp_path, capsys):
    assert cmdfusion("inspect", tmp_path / "none", "--out", tmp_path / "out") == 2
    assert "none" in capsys.readouterr().err


@pytest.mark.skipif(not BAG.exists(), reason=f"{BAG} is not there; set CMDFUSION_DATA")
def test_the_real_bag(tmp_path):
    code, found = inspected(BAG, tmp_path)
    assert code == 0 and found["beams"] == 64 and found["problems"] == []
    assert found["placement"]["height_m"] == pytest.approx(2.16, abs=0.15)
    assert len(found["cameras"]) == 6 and not any(one["problems"] for one in found["cameras"])
    assert len(found["alignment"]) == 6
    assert {each["verdict"] for each in found["alignment"].values()} <= {"fits", "cannot tell"}


def test_what_a_bag_calls_its_frames_is_not_obeyed(tmp_path, capsys):
    evil = "\x1b[31m<script>alert(1)</script>\n"
    links = (transform(evil, "a", np.eye(4)), transform("a", "b", np.eye(4)))
    bag = write(tmp_path / "bag", [*clouds(frame_id=evil), *static(*links)])
    cmdfusion("inspect", bag, "--out", tmp_path / "out")
    assert "\x1b" not in capsys.readouterr().out
    assert "<script>" not in (tmp_path / "out" / "page.html").read_text()


def test_a_chain_of_thousands_of_frames_is_a_tree_too(tmp_path, capsys):
    names = ["lidar", *(f"f{number}" for number in range(3000))]
    links = [transform(*pair, np.eye(4)) for pair in zip(names, names[1:], strict=False)]
    bag = write(tmp_path / "bag", [*clouds(), *static(*links)])
    code, figures = inspected(bag, tmp_path)
    assert code == 1 and len(figures["frames"]) == 3001  # the clouds hold zeros only
    assert figures["frames"][-1].strip().startswith("f2999")


def test_frames_in_a_circle_are_told_and_cost_no_cloud(scan, tmp_path):
    bag = bag_of(tmp_path / "bag", scan)
    ring = static(*(transform(*pair, np.eye(4)) for pair in (("lidar", "a"), ("a", "lidar"))))
    with Bag(bag) as opened:
        messages = [(m.topic, m.msgtype, m.time, opened.deserialize(m)) for m in opened.messages()]
    bag = write(tmp_path / "ring", [*messages, *ring])
    code, figures = inspected(bag, tmp_path)
    assert code == 0
    assert any("go round in a circle" in line for line in figures["frames"])


def test_the_command_to_paste_is_quoted(scan, tmp_path, capsys):
    out = tmp_path / "my scans; rm -rf"
    assert cmdfusion("inspect", bag_of(tmp_path, scan), "--out", out) == 0
    command = capsys.readouterr().out.splitlines()[-1]
    assert shlex.split(command)[:4] == [
        *("cmdfusion_node", "--ros-args", "--params-file", str(out / "node.yaml"))
    ]


def test_clouds_that_change_their_fields_half_way_are_told(scan, tmp_path):
    """The first ones lack intensity; the figures are of those that have it."""

    def changed(number, message):
        if message.topic != "/lidar/points" or number > 4:
            return message.data
        types = ros2_types()
        cloud = types.deserialize_cdr(message.data, message.msgtype)
        cloud.fields = [each for each in cloud.fields if each.name != "intensity"]
        return types.serialize_cdr(cloud, message.msgtype)

    whole = bag_of(tmp_path, scan, None, ())
    rewrite(whole, tmp_path / "changed", changed)
    code, figures = inspected(tmp_path / "changed", tmp_path)
    assert code == 0 and figures["intensity"]["field"] == "intensity"
    assert any("2 sets of fields" in problem for problem in figures["problems"])


def test_a_cloud_with_few_usable_points_is_labelled_all_the_same(scan, tmp_path):
    def emptied(_, message):
        if message.topic != "/lidar/points":
            return message.data
        types = ros2_types()
        cloud = types.deserialize_cdr(message.data, message.msgtype)
        rows = cloud.data.view(np.float32).reshape(-1, 4).copy()
        rows[100:, :3] = 0
        cloud.data = rows.view(np.uint8).reshape(-1)
        return types.serialize_cdr(cloud, message.msgtype)

    rewrite(bag_of(tmp_path, scan, None, ()), tmp_path / "emptied", emptied)
    code, figures = inspected(tmp_path / "emptied", tmp_path)
    assert code == 0 and 0 < figures["usable"] < 0.01
    assert (tmp_path / "out" / "node.yaml").exists()
