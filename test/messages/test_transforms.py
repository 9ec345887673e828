"""The transform buffer: values by hand, both directions, interpolation, and what it says when it
does not know.
"""

import math
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from cmdfusion_ros.geometry.transforms import invert, rigid, yaw_rotation
from cmdfusion_ros.messages.transforms import (
    ExtrapolationError,
    Tf2Buffer,
    TransformBuffer,
    TransformError,
)

SECOND = 1_000_000_000


def transform(translation=(0.0, 0.0, 0.0), yaw=0.0):
    shift = SimpleNamespace(x=translation[0], y=translation[1], z=translation[2])
    turn = SimpleNamespace(x=0.0, y=0.0, z=math.sin(yaw / 2), w=math.cos(yaw / 2))
    return SimpleNamespace(translation=shift, rotation=turn)


def message(parent, child, translation=(0.0, 0.0, 0.0), yaw=0.0, stamp=0):
    header = SimpleNamespace(
        stamp=SimpleNamespace(sec=stamp // SECOND, nanosec=stamp % SECOND), frame_id=parent
    )
    return SimpleNamespace(
        transforms=[
            SimpleNamespace(
                header=header, child_frame_id=child, transform=transform(translation, yaw)
            )
        ]
    )


@pytest.fixture
def car():
    """odom -> base_link moves 1 m/s in x from 100 s to 102 s and turns 0.5 rad/s; base_link ->
    lidar -> camera are fixed.
    """
    buffer = TransformBuffer()
    buffer.add(message("base_link", "lidar", (0.0, 0.0, 2.0)), static=True)
    buffer.add(message("lidar", "camera", (1.0, 0.0, 0.0), yaw=math.pi / 2), static=True)
    for step in range(3):
        buffer.add(
            message(
                "odom",
                "base_link",
                (float(step), 0.0, 0.0),
                yaw=0.5 * step,
                stamp=(100 + step) * SECOND,
            ),
            static=False,
        )
    return buffer


def test_a_fixed_transform_takes_a_point_of_the_child_to_the_parent(car):
    lidar_from_camera = car.lookup("lidar", "camera")
    # one metre ahead of a camera that looks left
    np.testing.assert_allclose(lidar_from_camera @ (1, 0, 0, 1), (1, 1, 0, 1), atol=1e-12)


def test_a_lookup_the_other_way_is_the_inverse(car):
    np.testing.assert_allclose(
        car.lookup("camera", "lidar") @ car.lookup("lidar", "camera"), np.eye(4), atol=1e-12
    )


def test_a_frame_seen_from_itself_is_the_identity(car):
    np.testing.assert_array_equal(car.lookup("lidar", "lidar"), np.eye(4))
    np.testing.assert_array_equal(car.lookup("nobody_knows_me", "nobody_knows_me"), np.eye(4))


def test_siblings_are_joined_through_their_parent():
    buffer = TransformBuffer()
    buffer.add(message("base", "left", (0.0, 1.0, 0.0)), static=True)
    buffer.add(message("base", "right", (0.0, -1.0, 0.0)), static=True)
    np.testing.assert_allclose(buffer.lookup("left", "right")[:3, 3], (0, -2, 0))


def test_between_two_stamps_a_moving_transform_is_interpolated(car):
    odom_from_base = car.lookup("odom", "base_link", 100 * SECOND + SECOND // 2)
    np.testing.assert_allclose(
        odom_from_base, rigid(yaw_rotation(0.25), (0.5, 0.0, 0.0)), atol=1e-9
    )


def test_at_a_stamp_it_is_what_was_said_exactly(car):
    np.testing.assert_allclose(
        car.lookup("odom", "base_link", 101 * SECOND),
        rigid(yaw_rotation(0.5), (1.0, 0.0, 0.0)),
        atol=1e-12,
    )


def test_time_zero_is_the_newest_time_all_moving_links_share(car):
    car.add(message("map", "odom", (10.0, 0.0, 0.0), stamp=100 * SECOND), static=False)
    car.add(message("map", "odom", (11.0, 0.0, 0.0), stamp=101 * SECOND), static=False)
    # at 101 s, though odom -> base_link knows 102 s
    np.testing.assert_allclose(car.lookup("map", "base_link")[:3, 3], (12, 0, 0), atol=1e-12)


def test_order_of_arrival_does_not_matter():
    stamps = [3, 1, 2, 0]
    buffer = TransformBuffer()
    for stamp in stamps:
        buffer.add(
            message("odom", "base", (float(stamp), 0.0, 0.0), stamp=stamp * SECOND), static=False
        )
    for stamp in (0.5, 1.5, 2.25):
        np.testing.assert_allclose(
            buffer.lookup("odom", "base", int(stamp * SECOND))[0, 3], stamp, atol=1e-12
        )


def test_a_second_word_on_the_same_stamp_replaces_the_first():
    buffer = TransformBuffer()
    for x in (1.0, 2.0):
        buffer.add(message("odom", "base", (x, 0.0, 0.0), stamp=SECOND), static=False)
    assert buffer.lookup("odom", "base")[0, 3] == 2.0


def test_before_and_after_what_is_known_the_times_are_named(car):
    with pytest.raises(
        ExtrapolationError,
        match=(
            r"odom <- base_link at 102\.500000000 s: known from 100\.000000000 s to "
            r"102\.000000000 s"
        ),
    ):
        car.lookup("odom", "lidar", 102 * SECOND + SECOND // 2)
    with pytest.raises(ExtrapolationError, match="at 99"):
        car.lookup("lidar", "odom", 99 * SECOND)


def test_a_fixed_chain_is_known_at_every_time(car):
    np.testing.assert_array_equal(car.lookup("lidar", "camera", 5), car.lookup("lidar", "camera"))


def test_an_unknown_frame_is_named_with_the_known_ones(car):
    with pytest.raises(
        TransformError, match="no transform names camera_2; known: base_link, camera, lidar, odom"
    ):
        car.lookup("camera_2", "lidar")


def test_two_trees_are_said_to_be_apart_and_where(car):
    car.add(message("rig", "spare", (0.0, 0.0, 0.0)), static=True)
    with pytest.raises(TransformError, match="spare hangs under rig, lidar under odom"):
        car.lookup("spare", "lidar")


def test_frames_that_go_round_in_a_circle_are_an_error_not_a_hang():
    buffer = TransformBuffer()
    buffer.add(message("a", "b"), static=True)
    buffer.add(message("b", "a"), static=True)
    with pytest.raises(TransformError, match="circle"):
        buffer.lookup("a", "c")


def test_two_times_are_joined_in_the_fixed_frame(car):
    """The car drives 1 m between the two stamps: what is 5 m ahead at the first is 4 m ahead at
    the second, if it did not turn.
    """
    straight = TransformBuffer()
    for step in range(3):
        straight.add(
            message("odom", "base", (float(step), 0.0, 0.0), stamp=step * SECOND + SECOND),
            static=False,
        )
    later_from_earlier = straight.lookup_full("base", 2 * SECOND, "base", SECOND, "odom")
    np.testing.assert_allclose(later_from_earlier @ (5, 0, 0, 1), (4, 0, 0, 1), atol=1e-12)


def test_two_equal_times_are_a_plain_lookup(car):
    stamp = 101 * SECOND + 250_000_000
    np.testing.assert_allclose(
        car.lookup_full("camera", stamp, "lidar", stamp, "odom"),
        car.lookup("camera", "lidar"),
        atol=1e-9,
    )


def test_the_turn_between_two_times_is_seen_by_the_camera(car):
    expected = invert(car.lookup("odom", "camera", 102 * SECOND)) @ car.lookup(
        "odom", "lidar", 101 * SECOND
    )
    np.testing.assert_allclose(
        car.lookup_full("camera", 102 * SECOND, "lidar", 101 * SECOND, "odom"), expected, atol=1e-12
    )


def test_a_jump_in_time_forgets_what_moves_and_keeps_what_is_fixed(car):
    car.clear()
    car.lookup("camera", "base_link")
    with pytest.raises(TransformError, match="odom"):
        car.lookup("odom", "lidar")


def test_history_is_ten_seconds():
    buffer = TransformBuffer()
    for stamp in range(30):
        buffer.add(
            message("odom", "base", (float(stamp), 0.0, 0.0), stamp=stamp * SECOND), static=False
        )
    assert buffer.lookup("odom", "base", 19 * SECOND)[0, 3] == 19.0
    with pytest.raises(ExtrapolationError):
        buffer.lookup("odom", "base", 18 * SECOND)


def test_one_transform_left_over_from_before_a_jump_in_time_does_not_shut_out_the_new_ones():
    buffer = TransformBuffer()
    buffer.add(message("odom", "base", (60.0, 0.0, 0.0), stamp=60 * SECOND), static=False)
    buffer.clear()
    # was still on its way
    buffer.add(message("odom", "base", (61.0, 0.0, 0.0), stamp=61 * SECOND), static=False)
    for stamp in (1, 2):
        buffer.add(
            message("odom", "base", (float(stamp), 0.0, 0.0), stamp=stamp * SECOND), static=False
        )
    assert (
        buffer.lookup("odom", "base", SECOND * 3 // 2)[0, 3] == 1.5
        and buffer.lookup("odom", "base")[0, 3] == 2.0
    )


def test_a_new_parent_and_a_changed_kind_replace_the_old():
    buffer = TransformBuffer()
    buffer.add(message("old", "lidar", (1.0, 0.0, 0.0)), static=True)
    buffer.add(message("new", "lidar", (2.0, 0.0, 0.0)), static=True)
    assert buffer.lookup("new", "lidar")[0, 3] == 2.0
    with pytest.raises(TransformError):
        buffer.lookup("old", "lidar")
    buffer.add(message("new", "lidar", (3.0, 0.0, 0.0), stamp=SECOND), static=False)
    assert buffer.lookup("new", "lidar")[0, 3] == 3.0


def test_names_of_ros_1_lose_their_slash(car):
    np.testing.assert_array_equal(car.lookup("/lidar", "/camera"), car.lookup("lidar", "camera"))


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (lambda m: setattr(m.transforms[0].transform.rotation, "w", 0.0), "quaternion"),
        (lambda m: setattr(m.transforms[0].transform.rotation, "x", math.nan), "quaternion"),
        (lambda m: setattr(m.transforms[0].transform.translation, "y", math.inf), "translation"),
        (lambda m: setattr(m.transforms[0], "child_frame_id", ""), "two different frame names"),
        (lambda m: setattr(m.transforms[0], "child_frame_id", "base"), "two different frame names"),
    ],
)
def test_what_is_no_transform_is_left_out_with_a_reason(broken, reason):
    buffer = TransformBuffer()
    good, bad = message("base", "lidar"), message("base", "camera")
    broken(bad)
    bad.transforms += good.transforms
    (problem,) = buffer.add(bad, static=True)
    assert reason in problem
    buffer.lookup("base", "lidar")  # its neighbour in the same message is kept


def test_lookups_and_news_may_come_from_different_threads():
    buffer = TransformBuffer()
    buffer.add(message("odom", "base", stamp=0), static=False)
    failures = []

    def look():
        try:
            for _ in range(300):
                matrix = buffer.lookup("odom", "base")
                assert np.isfinite(matrix).all()
        except Exception as error:  # (handed to the main thread)
            failures.append(error)

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for stamp in range(300):
        buffer.add(
            message("odom", "base", (1.0, 0.0, 0.0), stamp=stamp * SECOND // 10), static=False
        )
    for thread in threads:
        thread.join()
    assert not failures


class Tf2StandIn:
    """A tf2_ros.Buffer to its caller: the same method names, arguments and exceptions."""

    class TransformException(Exception):
        pass

    class ExtrapolationException(TransformException):
        pass

    def __init__(self):
        self.calls = []

    def lookup_transform(self, target_frame, source_frame, time):
        self.calls.append((target_frame, source_frame, time))
        if time == ("time", 7):
            raise self.ExtrapolationException("Lookup would require extrapolation into the future")
        if target_frame == "nowhere":
            raise self.TransformException('"nowhere" does not exist')
        return SimpleNamespace(transform=transform((1.0, 2.0, 3.0)))

    def lookup_transform_full(
        self, target_frame, target_time, source_frame, source_time, fixed_frame
    ):
        self.calls.append((target_frame, target_time, source_frame, source_time, fixed_frame))
        return SimpleNamespace(transform=transform((4.0, 5.0, 6.0)))

    def clear(self):
        self.calls.append("clear")


def test_a_tf2_buffer_is_asked_in_its_own_order_and_its_errors_become_ours():
    stand_in = Tf2StandIn()
    buffer = Tf2Buffer(
        stand_in, make_time=lambda ns: ("time", ns), error=Tf2StandIn.TransformException
    )
    np.testing.assert_allclose(buffer.lookup("camera", "lidar")[:3, 3], (1, 2, 3))
    np.testing.assert_allclose(
        buffer.lookup_full("camera", 5, "lidar", 6, "odom")[:3, 3], (4, 5, 6)
    )
    buffer.clear()
    assert stand_in.calls == [
        ("camera", "lidar", ("time", 0)),
        ("camera", ("time", 5), "lidar", ("time", 6), "odom"),
        "clear",
    ]
    with pytest.raises(ExtrapolationError, match="into the future"):
        buffer.lookup("camera", "lidar", 7)
    with pytest.raises(TransformError, match="nowhere") as caught:
        buffer.lookup("nowhere", "lidar")
    assert not isinstance(caught.value, ExtrapolationError)


def test_junk_frames_are_bounded_and_push_out_nothing_that_still_speaks():
    from cmdfusion_ros.messages.transforms import MOST_FRAMES

    buffer = TransformBuffer()
    buffer.add(message("base", "lidar"), static=True)
    for number in range(3 * MOST_FRAMES):
        buffer.add(message("base", f"junk_{number}", stamp=number), static=False)
        if number % 1000 == 0:
            buffer.add(message("odom", "base", stamp=number * 10**6), static=False)
    assert len(buffer._links) == MOST_FRAMES
    buffer.lookup("odom", "lidar")  # raises where either was pushed out


def test_when_fixed_frames_fill_the_buffer_the_next_is_refused_by_name():
    from cmdfusion_ros.messages.transforms import MOST_FRAMES

    buffer = TransformBuffer()
    for number in range(MOST_FRAMES):
        assert not buffer.add(message("base", f"fixed_{number}"), static=True)
    (problem,) = buffer.add(message("base", "one_more"), static=True)
    assert "one_more" in problem and "who publishes so many" in problem
    assert not buffer.add(message("other", "fixed_3"), static=True)  # a known one may change


def test_a_name_as_long_as_a_book_is_no_frame():
    (problem,) = TransformBuffer().add(message("base", "x" * 100_000), static=False)
    assert "at most 256 letters" in problem and len(problem) < 1000


def test_stamps_that_hardly_move_do_not_fill_the_memory():
    buffer = TransformBuffer()
    for number in range(25_000):  # 25 microseconds of them: none is ever too old
        buffer.add(message("odom", "base", stamp=SECOND + number), static=False)
    buffer.lookup("odom", "base", SECOND + 5_000)
    with pytest.raises(ExtrapolationError):  # 20,000 are kept
        buffer.lookup("odom", "base", SECOND + 4_999)


def test_a_tower_of_frames_is_refused_before_it_costs_the_time_of_clouds():
    buffer = TransformBuffer()
    for number in range(1000):
        buffer.add(message(f"f{number}", f"f{number + 1}"), static=True)
    buffer.lookup("f0", "f256")
    with pytest.raises(TransformError, match="more than 256 frames are above it") as caught:
        buffer.lookup("f0", "f257")
    assert len(str(caught.value)) < 500


def test_a_large_circle_of_frames_is_told_in_a_line():
    buffer = TransformBuffer()
    for number in range(200):
        buffer.add(message(f"f{number}", f"f{(number + 1) % 200}"), static=True)
    with pytest.raises(TransformError, match=r"f7 <- f6 .* <- f7 go round in a circle") as caught:
        buffer.lookup("f7", "elsewhere")
    assert len(str(caught.value)) < 500
