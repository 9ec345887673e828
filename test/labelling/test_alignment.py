"""Extrinsics and stamps of made-up streets, right and wrong by known amounts."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from builders.aligned_drive import aligned_drive

from cmdfusion_ros.geometry.transforms import invert, rigid
from cmdfusion_ros.labelling.alignment.check import check_alignment
from cmdfusion_ros.labelling.alignment.score import Look, speeds

BODY_FROM_OPTICAL = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
LATE = 0.1


@pytest.fixture(scope="module")
def drive():
    """Six scans with the image of a camera that looks to the left, taken at the scans' stamps while
    the robot drives at 8 m/s, and its intrinsic.
    """
    made = aligned_drive()
    looks = []
    for number, frame in enumerate(made.frames[:6], 1):
        (view,) = frame.views
        step = invert(made.poses[number]) @ made.poses[number + 1]
        velocity, turning = speeds(step, made.period)
        late = (view.stamp - frame.stamp) / 1e9
        driven = rigid(cv2.Rodrigues(-late * turning)[0], -late * velocity)
        looks.append(
            Look(
                frame.points,
                frame.intensity,
                view.image,
                view.camera_from_lidar @ driven,
                velocity,
                turning,
            )
        )
    return looks, view.intrinsic


def wrong(drive, transform):
    looks, intrinsic = drive
    changed = [replace(x, camera_from_lidar=transform @ x.camera_from_lidar) for x in looks]
    return check_alignment(changed, intrinsic)


def test_a_right_camera_is_not_called_wrong(drive):
    found = check_alignment(*drive)
    assert found.verdict == "fits" and not found.is_wrong
    assert found.correction.turn == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("degrees", [2.0, 5.0])
def test_a_turned_camera_is_noticed_with_the_turn_that_mends_it(drive, degrees):
    turn = cv2.Rodrigues(np.radians((0.0, degrees, 0.0)))[0]
    found = wrong(drive, rigid(turn, (0, 0, 0)))
    assert found.verdict == "turn"
    assert found.correction.turn[1] == pytest.approx(-degrees, abs=0.7)
    assert "looks wrong by about" in found.words


def test_a_body_s_frame_taken_for_an_optical_one_is_named(drive):
    found = wrong(drive, rigid(BODY_FROM_OPTICAL, (0, 0, 0)))
    assert found.verdict == "axes" and "x ahead and z up" in found.words


def test_stamps_that_are_wrong_are_noticed_where_the_robot_drives(drive):
    looks, intrinsic = drive
    changed = [
        replace(
            look,
            camera_from_lidar=look.camera_from_lidar
            @ rigid(cv2.Rodrigues(LATE * look.turning)[0], LATE * look.velocity),
        )
        for look in looks
    ]
    found = check_alignment(changed, intrinsic)
    kinds = {found.verdict: found.correction, **dict(found.also)}
    assert found.is_wrong and kinds["late"].late == pytest.approx(LATE, abs=0.03)


def test_too_few_scans_and_empty_images_are_no_ground_for_a_verdict(drive):
    looks, intrinsic = drive
    few = check_alignment(looks[:2], intrinsic)
    assert few.verdict == "cannot tell" and "2 of its images" in few.words
    again = check_alignment([looks[0]] * 6, intrinsic)
    assert again.verdict == "cannot tell" and "1 of its images" in again.words
    blank = [replace(look, image=np.zeros_like(look.image)) for look in looks]
    assert check_alignment(blank, intrinsic).verdict == "cannot tell"
