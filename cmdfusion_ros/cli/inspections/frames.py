"""The coordinate frames of a bag as a tree, and the links that are missing in it."""

from cmdfusion_ros.data.bags.bag_layout import BagLayout
from cmdfusion_ros.messages.transforms import TransformBuffer, TransformError

_DEEPEST = 40  # steps that a line is set in


def frame_tree(transforms: TransformBuffer, layout: BagLayout) -> list[str]:
    """The coordinate frames as an indented tree, and those that hang in the air."""
    links = transforms.links()
    below: dict[str, list[str]] = {}
    for child, (parent, _) in links.items():
        below.setdefault(parent, []).append(child)
    marks = {camera.frame_id: f"  <- images of {camera.name}" for camera in layout.cameras}
    marks[layout.cloud_frame] = f"  <- clouds of {layout.cloud_topic}"

    lines, hanging = [], set(links)
    todo = [(root, 0) for root in sorted(set(below) - set(links), reverse=True)]
    while todo:  # a chain may be thousands of frames long
        frame, depth = todo.pop()
        how = ("  (fixed)" if links[frame][1] else "  (moving)") if frame in links else ""
        lines.append(f"{'  ' * min(depth, _DEEPEST)}{frame}{how}{marks.get(frame, '')}")
        hanging.discard(frame)
        todo += [(child, depth + 1) for child in sorted(below.get(frame, []), reverse=True)]
    if hanging:  # from no root: in a circle, or under one
        try:
            transforms.ancestors(min(hanging))
        except TransformError as error:
            lines.append(str(error))
    known = transforms.frames()
    lines += [f"{frame}{mark}: in no transform" for frame, mark in marks.items()
              if frame not in known]  # fmt: skip
    return lines or ["no transforms"]


def missing_links(transforms: TransformBuffer, layout: BagLayout) -> list[str]:
    """One sentence for each camera that no fixed transforms join with the cloud."""
    found = []
    for camera in layout.cameras:
        if camera.camera_from_lidar is not None:
            continue
        try:
            transforms.lookup(camera.frame_id, layout.cloud_frame)
            why = "only moving ones join the two, and a camera must sit still to the LiDAR"
        except TransformError:
            ends = [_place(transforms, name) for name in (layout.cloud_frame, camera.frame_id)]
            why = f"{' and '.join(ends)}; /tf_static must join these"
        found.append(
            f"no fixed transform from {layout.cloud_frame!r} to {camera.frame_id!r} of "
            f"{camera.name}: {why}"
        )
    return found


def _place(transforms: TransformBuffer, frame_id: str) -> str:
    """Under which root a frame hangs, in words."""
    if frame_id not in transforms.frames():
        return f"{frame_id!r} is in no transform"
    try:
        root = transforms.ancestors(frame_id)[-1]
    except TransformError as error:
        return str(error)
    return f"{frame_id!r} hangs under {root!r}" if root != frame_id else f"{frame_id!r} is a root"
