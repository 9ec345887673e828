"""Where the LiDAR was between, before and after the poses that are known."""

import numpy as np
import pytest

from cmdfusion_ros.geometry.trajectory import TimeOutsideError, Trajectory
from cmdfusion_ros.geometry.transforms import rigid, yaw_rotation

SECOND = 1_000_000_000


def driving(num=3, step_m=2.0, step_ns=SECOND // 10) -> Trajectory:
    stamps = SECOND + step_ns * np.arange(num)
    poses = np.array([rigid(np.eye(3), (step_m * place, 0, 0)) for place in range(num)])
    return Trajectory(stamps, poses)


def test_between_two_poses_the_way_is_straight_and_the_turn_is_even():
    turned = rigid(yaw_rotation(0.4), (2.0, 4.0, 0.0))
    trajectory = Trajectory(np.array([0, 100]), np.array([np.eye(4), turned]))
    middle = trajectory.at(50)
    np.testing.assert_allclose(middle[:3, 3], [1, 2, 0])
    np.testing.assert_allclose(middle[:3, :3], yaw_rotation(0.2), atol=1e-9)
    np.testing.assert_array_equal(trajectory.at(100), turned)


def test_motion_goes_on_for_a_moment_outside_the_poses_that_are_known():
    trajectory = driving()
    assert trajectory.at(SECOND - 50_000_000)[0, 3] == pytest.approx(-1.0)
    assert trajectory.at(SECOND + 300_000_000)[0, 3] == pytest.approx(6.0)
    curve = Trajectory(
        np.array([0, 100]), np.array([np.eye(4), rigid(yaw_rotation(0.2), (0, 0, 0))])
    )
    np.testing.assert_allclose(curve.at(150)[:3, :3], yaw_rotation(0.3), atol=1e-9)
    np.testing.assert_allclose(curve.at(-50)[:3, :3], yaw_rotation(-0.1), atol=1e-9)
    with pytest.raises(TimeOutsideError, match="at 5.000 s: the drive's poses are from 1.000 to"):
        trajectory.at(5 * SECOND)


def test_a_gap_is_not_filled_and_one_pose_says_nothing_of_other_times():
    stamps = np.array([SECOND, 5 * SECOND])
    gap = Trajectory(stamps, np.array([np.eye(4), np.eye(4)]))
    with pytest.raises(TimeOutsideError, match="gaps of up to 1 s"):
        gap.at(3 * SECOND)
    single = Trajectory(stamps[:1], np.eye(4)[None])
    np.testing.assert_array_equal(single.at(SECOND), np.eye(4))
    with pytest.raises(TimeOutsideError):
        single.at(SECOND + 1)


def test_motion_takes_what_stands_still_from_one_time_to_the_other():
    """A post 10 m ahead; 0.1 s later, 2 m on, it is 8 m ahead."""
    motion = driving().motion(SECOND, SECOND + 100_000_000)
    np.testing.assert_allclose(motion @ [10, 0, 0, 1], [8, 0, 0, 1])


def test_what_is_no_trajectory_is_refused():
    with pytest.raises(ValueError, match="stamps must grow"):
        Trajectory(np.array([2, 1]), np.array([np.eye(4)] * 2))
    with pytest.raises(ValueError, match=r"one \(4, 4\) pose for each"):
        Trajectory(np.array([1, 2]), np.eye(4)[None])
    with pytest.raises(ValueError, match="pose 0"):
        Trajectory(np.array([1]), 2 * np.eye(4)[None])
