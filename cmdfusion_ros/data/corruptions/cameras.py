"""Corruptions of a frame's views: cameras that fail, lag, or are not where they are thought.

Pure functions (Frame, rng, ...) -> Frame; the cloud stays. A dead camera gives a black picture, as
in the published suites: its driver runs, so the network is not told. `live_cameras` leaves
cameras out instead, which is what a node does with a camera that sends nothing.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from cmdfusion_ros.data.augment.camera_views import misplace
from cmdfusion_ros.frame import CameraView, Frame

Picture = Callable[..., np.ndarray]


def every_picture(
    frame: Frame, rng: np.random.Generator, change: Picture, *numbers: float
) -> Frame:
    """`frame` with `change(image, rng, *numbers)` in place of each picture."""
    views = (replace(each, image=change(each.image, rng, *numbers)) for each in frame.views)
    return replace(frame, views=tuple(views))


def _black(view: CameraView) -> CameraView:
    return replace(view, image=np.zeros_like(view.image))


def missing_cameras(frame: Frame, rng: np.random.Generator, chance: float) -> Frame:
    """MultiCorrupt's missing camera, RoboBEV's frame lost: each picture is black by `chance`."""
    dead = rng.random(len(frame.views)) < chance
    pairs = zip(frame.views, dead, strict=True)
    return replace(frame, views=tuple(_black(view) if gone else view for view, gone in pairs))


def camera_crash(frame: Frame, rng: np.random.Generator, number: int) -> Frame:
    """RoboBEV's camera crash: `number` cameras are drawn, with replacement, and are black. Give
    the same rng state for every frame: these cameras are dead for good."""
    if not frame.views:
        return frame
    dead = rng.choice(len(frame.views), number)
    views = (_black(view) if row in dead else view for row, view in enumerate(frame.views))
    return replace(frame, views=tuple(views))


def late_pictures(
    frame: Frame, rng: np.random.Generator, chance: float, before: Frame | None
) -> Frame:
    """MultiCorrupt's temporal misalignment of cameras: each picture is by `chance` that of the
    same camera beside the scan `before`; where there is none all stay."""
    old = {view.name: view for view in before.views} if before is not None else {}
    late = rng.random(len(frame.views)) < chance
    views = (
        replace(view, image=old[view.name].image) if lags and view.name in old else view
        for view, lags in zip(frame.views, late, strict=True)
    )
    return replace(frame, views=tuple(views))


def late_cloud(
    frame: Frame, rng: np.random.Generator, chance: float, before: Frame | None
) -> Frame:
    """MultiCorrupt's temporal misalignment of the LiDAR: by `chance` the cloud, with its labels,
    is that of the scan `before`, beside the pictures and calibration of now."""
    if rng.random() >= chance or before is None:
        return frame
    return replace(before, views=frame.views, stamp=frame.stamp, name=frame.name)


def misplaced_cameras(
    frame: Frame, rng: np.random.Generator, degrees: float, centimetres: float
) -> Frame:
    """Every camera is turned by `degrees` about an axis, and moved by `centimetres` along one, of
    its own, drawn on the sphere; the calibration does not say so."""

    def moved(view: CameraView) -> CameraView:
        axes = rng.standard_normal((2, 3))
        turn, shift = axes / np.linalg.norm(axes, axis=1, keepdims=True)
        return misplace(view, np.radians(degrees) * turn, 0.01 * centimetres * shift)

    return replace(frame, views=tuple(moved(view) for view in frame.views))


def live_cameras(frame: Frame, rows: tuple[int, ...]) -> Frame:
    """`frame` with only the views at `rows`; the others send nothing."""
    return replace(frame, views=tuple(frame.views[row] for row in rows))
