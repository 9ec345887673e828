"""The house rules, checked on the source itself: who imports whom, absolute imports, file length, where torch and ROS may be."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "cmdfusion_ros"
FILES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES = 400
ROS_PACKAGES = {
    "rclpy", "sensor_msgs", "sensor_msgs_py", "message_filters", "cv_bridge", "tf2_ros", "tf2_msgs", "std_msgs", "std_srvs", "geometry_msgs",
    "visualization_msgs", "diagnostic_msgs", "diagnostic_updater", "vision_msgs", "lifecycle_msgs", "builtin_interfaces", "rosgraph_msgs", "rcl_interfaces",
}
CELLAR = {"frame", "class_map", "config", "geometry", "sparse", "temperatures"}
MAY_IMPORT = {  # room -> rooms of ours it may import, besides itself
    "frame": set(),
    "class_map": {"frame"},
    "config": set(),
    "geometry": {"frame"},
    "sparse": set(),
    "temperatures": set(),
    "batch": CELLAR,
    "models": CELLAR | {"batch"},
    "checkpoint": CELLAR | {"batch", "models"},
    "pickled_tensors": set(),
    "official_checkpoint": CELLAR | {"models", "checkpoint", "pickled_tensors"},
    "published_weights": CELLAR | {"models", "checkpoint"},
    "data": CELLAR,
    "inference": CELLAR | {"batch", "models", "checkpoint"},
    "instances": CELLAR,
    "training": CELLAR | {"batch", "models", "checkpoint", "published_weights", "data", "inference"},
    "pictures": CELLAR | {"instances"},
    "ros": CELLAR | {"batch", "models", "checkpoint", "data", "inference", "instances", "pictures"},
    "cli": CELLAR | {"batch", "models", "checkpoint", "data", "inference", "instances", "training", "pictures", "official_checkpoint"},
    "__init__": set(),
    "__main__": {"cli"},
}
NO_TORCH = {"frame", "class_map", "config", "geometry", "temperatures", "data", "instances", "pictures"}


def room_of(path):
    """The room a file belongs to: its folder, or its own name at the top level."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imported_modules(path):
    """Names of the modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, 0) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "", node.level
            if node.module == "cmdfusion_ros":
                yield from ((f"cmdfusion_ros.{alias.name}", 0) for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_keeps_the_house_rules(path):
    room = room_of(path)
    assert room in MAY_IMPORT, f"{path}: room {room!r} is not in the plan of docs/architecture.md"
    assert len(path.read_text().splitlines()) <= MAX_LINES, f"{path} is over {MAX_LINES} lines"
    for module, level in imported_modules(path):
        assert level == 0, f"{path}: relative import of {module!r}"
        top = module.split(".")[0]
        if top == "cmdfusion_ros":
            parts = module.split(".")
            target = parts[1] if len(parts) > 1 else room
            generated = target in {"msg", "srv"}  # message classes that rosidl makes
            assert not generated or room == "ros", f"{path}: imports generated messages"
            assert generated or target == room or target in MAY_IMPORT[room] or target == "__version__", f"{path}: {room} may not import {target}"
        if top in ROS_PACKAGES:
            assert room == "ros", f"{path}: imports {module}; only ros/ knows ROS"
        if top == "torch":
            assert room not in NO_TORCH, f"{path}: torch above the batch"


def test_only_the_node_imports_message_classes():
    message_packages = {name for name in ROS_PACKAGES if name.endswith("_msgs") or name in {"std_srvs", "builtin_interfaces"}}
    for path in FILES:
        names = {module.split(".")[0] for module, _ in imported_modules(path)}
        assert path.name in {"node.py", "interfaces.py"} or not names & message_packages, f"{path}: imports {names & message_packages}"
