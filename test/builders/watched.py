"""The node's look at where its cameras sit, with a clock of its own."""

import threading
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np

from cmdfusion_ros.config import LiveSettings
from cmdfusion_ros.geometry.transforms import rigid
from cmdfusion_ros.labelling.alignment.watch import THREAD, AlignmentWatch
from cmdfusion_ros.labelling.settings import node_settings


class Stage:
    """A watch, its clock, and what it told."""

    def __init__(self, transforms, cameras=("left",), **values):
        self.now, self.told, self.places = 100.0, [], {}
        self.settings = LiveSettings(node_settings({"cameras": list(cameras), **values}))
        extrinsics = SimpleNamespace(
            transforms=transforms, last_place=lambda name, frame_id: self.places.get(name)
        )
        self.watch = AlignmentWatch(extrinsics, self.settings, lambda: self.now)
        self.watch.tell = lambda *told: self.told.append(told)

    def feed(self, *frames, seconds=0.5):
        for frame in frames:
            self.now += seconds
            self.watch.take(frame)
            for thread in threading.enumerate():
                if thread.name == THREAD:
                    thread.join()

    def held(self):
        """{camera: bytes of its looks}."""
        return {
            name: sum(look.image.nbytes + look.points.nbytes for look in camera.looks)
            for name, camera in self.watch._cameras.items()
            if camera.looks
        }

    @property
    def last(self):
        return {camera: (words, is_wrong) for camera, words, is_wrong in self.told}


def turned(frame, degrees, axis=1):
    """The frame with cameras that say to sit so much otherwise about an optical axis."""
    turn = np.zeros(3)
    turn[axis] = np.radians(degrees)
    wrong = rigid(cv2.Rodrigues(turn)[0], (0, 0, 0))
    views = tuple(replace(v, camera_from_lidar=wrong @ v.camera_from_lidar) for v in frame.views)
    return replace(frame, views=views)
