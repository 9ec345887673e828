"""What the node says of itself: levels, counts that add up, and sentences that help. No ROS."""

import dataclasses
import math

import pytest
from builders.diagnosed import PLACE, World, labelled_cloud

from cmdfusion_ros.labelling.diagnostics.facts import (
    ERROR,
    OK,
    WARN,
    CameraFacts,
)
from cmdfusion_ros.labelling.diagnostics.node_diagnostics import text_of
from cmdfusion_ros.labelling.diagnostics.windows import Window, percentile
from cmdfusion_ros.labelling.model import ModelInfo
from cmdfusion_ros.pairing.paired_cloud import CameraStatus, Mode


def test_the_parts_come_in_a_fixed_order():
    names = ["pipeline", "lidar", "sync", "model", "placement", "camera/front"]
    assert list(World().parts()) == names


def test_received_is_labelled_and_dropped_and_waiting():
    world = World()
    world.clouds(5)
    world.clouds(4, labelled=False)
    world.diagnostics.cloud_unreadable("cut off")
    world.diagnostics.cloud_dropped("paused")
    values = world.parts(dropped={"busy": 1})["pipeline"].values
    assert (values["received"], values["labelled"], values["dropped"], values["waiting"]) == (
        9,
        5,
        3,
        1,
    )
    assert (values["dropped.busy"], values["dropped.malformed"], values["dropped.paused"]) == (
        1,
        1,
        1,
    )


def test_counts_of_a_synchroniser_that_ended_stay():
    world = World()
    world.clouds(3, labelled=False)
    world.diagnostics.add_dropped({"busy": 2, "stopped": 1})
    assert world.parts("inactive")["pipeline"].values["dropped"] == 3


def test_rates_and_times_are_of_the_last_ten_seconds():
    world = World()
    world.clouds(300)
    values = world.parts()["pipeline"].values
    assert (
        values["rate_hz"] == pytest.approx(10.0)
        and values["processing_time_ms_p95"] == 50.0
        and values["mode_last"] == "FUSED"
    )
    assert world.parts()["lidar"].values["jitter_ms"] == pytest.approx(0.0, abs=1e-6)


def test_slow_processing_is_a_warning_and_an_error_after_a_while():
    world = World(
        diagnostics__max_processing_time=0.1, diagnostics__max_processing_time_duration=1.0
    )
    world.clouds(1, processing_ms=150.0)
    assert world.parts()["pipeline"].level == WARN
    world.clouds(15, processing_ms=150.0)
    part = world.parts()["pipeline"]
    assert (
        part.level == ERROR
        and "100 ms" in part.message
        and part.values["is_processing_time_in_expected_range"] is False
    )
    world.clouds(1, processing_ms=50.0)
    assert world.parts()["pipeline"].level == OK


def test_clouds_without_any_output_are_an_error_unless_nobody_listens():
    world = World()
    world.diagnostics.activated()
    world.clouds(30, labelled=False)
    assert (
        world.parts()["pipeline"].level == ERROR
        and "nothing was labelled for 3.0 s" in world.parts()["pipeline"].message
    )
    assert (
        world.parts(wanted=False)["pipeline"].level == OK
        and "nobody subscribes" in world.parts(wanted=False)["pipeline"].message
    )


@pytest.mark.parametrize("idle", [{"wanted": False}, {"state": "paused"}])
def test_nothing_is_missing_at_the_moment_somebody_wants_labels_again(idle):
    world = World()
    world.clouds(5)
    for _ in range(600):
        world.clouds(1, labelled=False)
        world.diagnostics.cloud_dropped("no_subscriber")
        assert world.parts(**idle)["pipeline"].level == OK
    assert world.parts()["pipeline"].level == OK
    for _ in range(25):
        world.clouds(1, labelled=False)
        part = world.parts()["pipeline"]
    assert part.level == ERROR and "nothing was labelled for 2.5 s" in part.message


def test_after_a_silence_of_the_lidar_the_network_has_time_to_answer():
    world = World()
    world.clouds(5)
    for _ in range(100):
        world.now += 0.1
        world.parts()
    world.clouds(2, labelled=False)
    assert world.parts()["pipeline"].level == OK


def test_a_slow_cloud_is_forgotten_while_nobody_wants_labels():
    world = World(diagnostics__max_processing_time=0.1)
    world.clouds(1, processing_ms=120.0)
    assert world.parts()["pipeline"].level == WARN
    for _ in range(30):
        world.clouds(1, labelled=False)
        part = world.parts(wanted=False)["pipeline"]
    assert (
        part.level == OK
        and part.values["consecutive_delay_s"] == 0.0
        and part.values["is_processing_time_in_expected_range"]
    )
    # a subscriber: that cloud says nothing about the next
    assert world.parts()["pipeline"].level == OK


def test_a_failed_picture_is_a_warning_while_it_is_recent():
    world = World()
    world.clouds(1)
    world.diagnostics.view_failed("no transform to base_lnk")
    part = world.parts()["pipeline"]
    assert (
        part.level == WARN
        and "no transform to base_lnk" in part.message
        and part.values["labelled"] == 1
    )
    world.clouds(110)
    assert world.parts()["pipeline"].level == OK


def test_three_failures_in_a_row_are_an_error_and_one_success_ends_it():
    world = World()
    world.diagnostics.model = ModelInfo(
        "street.safetensors", "ab", "cpu", "torch", "looked at", 5, 1.0
    )
    for _ in range(3):
        world.clouds(1, labelled=False)
        world.diagnostics.cloud_failed("model_error", "out of memory")
    parts = world.parts()
    assert (
        parts["pipeline"].level == ERROR
        and "out of memory" in parts["pipeline"].message
        and parts["model"].level == ERROR
    )
    world.clouds(1)
    assert world.parts()["pipeline"].level == OK and world.parts()["model"].level == OK


def test_a_network_that_keeps_failing_with_images_is_an_error_of_the_model_alone():
    world = World()
    world.diagnostics.model = ModelInfo(
        "street.safetensors", "ab", "cpu", "torch", "looked at", 5, 1.0
    )
    for _ in range(3):
        world.now += 0.1
        world.diagnostics.cloud_arrived(world.now_ros())
        world.diagnostics.cloud_labelled(
            labelled_cloud(Mode.LIDAR_ONLY, CameraStatus.NO_IMAGE, retried="failed with images"),
            50.0,
            80.0,
        )
    parts = world.parts()
    assert (
        parts["model"].level == ERROR
        and parts["model"].values["retries"] == 3
        and parts["pipeline"].level == OK
    )
    world.clouds(1)
    assert world.parts()["model"].level == OK


def test_no_cloud_is_a_warning_before_the_first_and_an_error_after():
    world = World()
    waiting = world.parts()["lidar"]
    assert waiting.level == WARN and "0 publishers; is the name right?" in waiting.message
    assert "1 publishers" in world.parts(publishers={"points": (1, "")})["lidar"].message
    world.clouds(3)
    assert world.parts()["lidar"].level == OK
    world.now += 2.5
    assert (
        world.parts()["lidar"].level == ERROR
        and "no cloud for 2.5 s" in world.parts()["lidar"].message
    )


def test_the_hint_of_a_silent_topic_is_shown_until_something_comes():
    world = World()
    hints = {"points": "nobody publishes /points", "front/image_raw": "it is compressed"}
    parts = world.parts(hints=hints)
    assert "nobody publishes /points" in parts["lidar"].message
    assert parts["camera/front"].message == "it is compressed"
    world.clouds(1)
    world.diagnostics.image_arrived("front")
    parts = world.parts(hints=hints)
    assert parts["lidar"].message == "receiving" and "it is" not in parts["camera/front"].message


def test_a_missing_transform_or_calibration_is_told_with_what_the_graph_knows():
    world = World()
    world.now += 6
    apart = CameraFacts(True, "no transform names front_optical", "front_optical", None, 0.0, 0)
    shown = world.parts(place=apart, transforms="/tf_static: relay offers less")["camera/front"]
    assert shown.level == ERROR and shown.message.endswith(
        "front_optical; /tf_static: relay offers less"
    )
    blind = CameraFacts(False, "no CameraInfo on front/camera_info yet", "", None, 0.0, 0)
    hints = {"front/camera_info": "published as CameraInfo: /info"}
    shown = world.parts(place=blind, hints=hints, transforms="/tf: not this")["camera/front"]
    assert shown.level == ERROR and shown.message.endswith("yet; published as CameraInfo: /info")


def test_a_listener_that_hears_nothing_is_a_warning():
    world = World()
    world.clouds(3)
    said = world.parts(listeners="/labels: rviz asks for more than we offer")["pipeline"]
    assert said.level == WARN and "rviz asks for more" in said.message


def test_a_gap_in_the_stamps_is_counted():
    world = World()
    world.clouds(6)
    world.now += 0.1  # one cloud lost
    world.clouds(3)
    assert world.parts()["lidar"].values["gaps"] == 1


def test_incompatible_quality_of_service_is_an_error_with_its_remedy():
    parts = World().parts(
        publishers={
            "points": (1, "driver offers less than we ask for"),
            "front/camera_info": (1, "it is volatile"),
        }
    )
    assert parts["lidar"].level == ERROR and "driver offers less" in parts["lidar"].message
    assert (
        parts["camera/front"].level == ERROR and "it is volatile" in parts["camera/front"].message
    )


@pytest.mark.parametrize(("level", "expected"), [("ok", OK), ("warn", WARN), ("error", ERROR)])
def test_a_lost_camera_has_the_level_that_the_user_chose(level, expected):
    world = World(diagnostics__camera_loss_level=level)
    assert world.parts()["camera/front"].level == expected  # never seen


def test_a_camera_that_stays_without_transform_is_an_error_after_five_seconds():
    world = World()
    world.diagnostics.activated()
    missing = CameraFacts(
        True, "no transform joins lidar and front_optical", "front_optical", (64, 48), math.nan, 0
    )
    assert world.parts(place=missing)["camera/front"].level == WARN
    world.now += 6
    part = world.parts(place=missing)["camera/front"]
    assert part.level == ERROR and part.message == "no transform joins lidar and front_optical"


def test_images_of_the_wrong_size_are_an_error():
    world = World()
    world.clouds(
        1,
        status=CameraStatus.NO_CALIBRATION,
        reason="calibrated for (64, 48), its images are (128, 96)",
    )
    assert (
        world.parts()["camera/front"].level == ERROR
        and "(128, 96)" in world.parts()["camera/front"].message
    )


def test_a_camera_calibrated_since_the_last_cloud_is_no_error():
    world = World()
    # had no image: CameraInfo came only after it
    world.clouds(1, status=CameraStatus.NO_CALIBRATION)
    part = world.parts(wanted=False)["camera/front"]
    assert part.level == WARN and part.message == "no image yet"


def test_a_camera_is_compensated_again_when_its_last_failure_is_ten_seconds_past():
    world = World(sync__fixed_frame="odom")
    place = dataclasses.replace(PLACE, uncompensated=1)
    assert world.parts()["camera/front"].values["ego_compensated"] is True
    assert world.parts(place=place)["camera/front"].values["ego_compensated"] is False
    world.now += 11
    values = world.parts(place=place)["camera/front"].values
    assert values["ego_compensated"] is True and values["uncompensated"] == 1
    assert (
        world.parts(place=dataclasses.replace(PLACE, uncompensated=2))["camera/front"].values[
            "ego_compensated"
        ]
        is False
    )


def test_fifty_clouds_without_a_visible_point_cast_doubt_on_the_frame():
    world = World()
    world.clouds(49, status=CameraStatus.NO_POINTS)
    assert "optical frame" not in world.parts()["camera/front"].message
    world.clouds(1, status=CameraStatus.NO_POINTS)
    part = world.parts()["camera/front"]
    assert part.level == WARN and "'front_optical' really the optical frame" in part.message
    world.clouds(1)
    assert "optical frame" not in world.parts()["camera/front"].message


def test_decode_errors_are_counted():
    world = World()
    world.clouds(2, status=CameraStatus.DECODE_ERROR, reason="cut off")
    world.diagnostics.image_unreadable("front", "no header")
    assert world.parts()["camera/front"].values["decode_errors"] == 3


def test_a_fake_network_says_so():
    world = World()
    assert world.parts()["model"].message == "not loaded"
    world.diagnostics.model = ModelInfo("fake", "", "cpu", "fake", "not looked at", 0, 0.0)
    assert world.parts()["model"].level == WARN and world.parts()["model"].message.startswith(
        "FAKE"
    )


def test_a_node_that_is_not_active_has_nothing_to_complain_of():
    parts = World().parts("inactive")
    assert {part.level for part in parts.values()} == {OK} and parts["lidar"].message == "inactive"


def test_values_are_text_that_a_person_reads():
    assert [text_of(value) for value in (1.23456, 7, True, "x", math.nan)] == [
        "1.235",
        "7",
        "True",
        "x",
        "nan",
    ]


def test_a_window_forgets_and_a_silent_stream_loses_its_rate():
    window = Window()
    for index in range(200):
        window.add(index / 10, index)
    assert (
        len(window) == 101 and window.last.value == 199 and window.rate(19.9) == pytest.approx(10.0)
    )
    assert window.rate(24.9) == pytest.approx(1 / 5.0) and window.rate(40.0) == 0.0
    assert window.age(20.9) == pytest.approx(1.0)
    assert math.isnan(Window().age(1.0)) and math.isnan(percentile([], 50)) and not Window()


def test_a_camera_that_does_not_sit_as_it_says_is_a_warning_until_it_does():
    world = World()
    world.pairing.set_camera_ready("front", calibrated=True, has_transform=True)
    for _ in range(5):
        world.clouds(1)
        world.pairing.on_image("front", world.now_ros(), None)
        world.pairing.on_cloud(world.now_ros(), None)
    part = world.parts()["camera/front"]
    assert (part.level, part.message) == (OK, "in use")
    assert part.values["alignment"].startswith("not judged")
    world.diagnostics.camera_judged("front", "wrong: by about 2 degrees", True)
    part = world.parts()["camera/front"]
    assert (part.level, part.message) == (WARN, "wrong: by about 2 degrees")
    world.diagnostics.camera_judged("front", "right", False)
    part = world.parts()["camera/front"]
    assert (part.level, part.values["alignment"]) == (OK, "right")
