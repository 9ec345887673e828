"""The package as pip, colcon and rosdep see it: one version, every dependency named, every file
installed, every message field explained.
"""

import ast
import importlib
import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from builders.paths import REPOSITORY
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

import cmdfusion_ros
from cmdfusion_ros.frame import MAX_CAMERAS
from cmdfusion_ros.pairing.paired_cloud import CameraStatus, Mode

PACKAGE = REPOSITORY / "cmdfusion_ros"
MANIFEST = ElementTree.parse(REPOSITORY / "package.xml").getroot()
INTERFACES = sorted([*(REPOSITORY / "msg").glob("*.msg"), *(REPOSITORY / "srv").glob("*.srv")])
PIP_NAMES = {
    "yaml": "PyYAML",
    "cv2": "opencv-python-headless",
    "rerun": "rerun-sdk",
    "kiss_icp": "kiss-icp",
    "ai_edge_litert": "ai-edge-litert",
}
# asked for by name where a verb needs them
USERS_EXTRAS = (
    "pandaset", "onnx", "tflite", "odometry", "waymo", "completion", "ray", "rerun",
)  # fmt: skip
# faster backends and those we are measured against; left out where absent
OPTIONAL = {"triton", "torchsparse", "spconv", "MinkowskiEngine"}


def named_in_manifest(*tags):
    return {item.text for tag in tags for item in MANIFEST.iter(tag)}


def imported_packages():
    """{top-level package that our code imports: a file that does}, without the standard library
    and ourselves.
    """
    found = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            found.update({name.split(".")[0]: path for name in names})
    return {
        name: path
        for name, path in found.items()
        if name not in sys.stdlib_module_names and name != "cmdfusion_ros"
    }


@pytest.fixture(scope="module")
def setup_arguments():
    """What setup.py hands to setuptools.setup."""
    setuptools = pytest.importorskip("setuptools", reason="setuptools is not installed")
    given = {}
    original, setuptools.setup = setuptools.setup, lambda **arguments: given.update(arguments)
    try:
        exec(
            compile((REPOSITORY / "setup.py").read_text(), "setup.py", "exec"),
            {"__file__": str(REPOSITORY / "setup.py"), "__name__": "__main__"},
        )
    finally:
        setuptools.setup = original
    return given


def test_pip_colcon_and_python_agree_on_name_and_version(setup_arguments):
    assert setup_arguments["version"] == MANIFEST.findtext("version") == cmdfusion_ros.__version__
    assert setup_arguments["name"] == MANIFEST.findtext("name") == "cmdfusion_ros"
    assert f"project({MANIFEST.findtext('name')} " in (REPOSITORY / "CMakeLists.txt").read_text()
    assert f"version: {cmdfusion_ros.__version__}" in (REPOSITORY / "CITATION.cff").read_text()
    assert f"## {cmdfusion_ros.__version__}" in (REPOSITORY / "CHANGELOG.md").read_text()


def test_every_description_of_the_package_says_how_many_cameras_there_may_be(setup_arguments):
    told = f"up to {MAX_CAMERAS} cameras, none included"
    assert told in MANIFEST.findtext("description") and told in setup_arguments["description"]
    for page in ("CITATION.cff", "README.md"):
        assert told in (REPOSITORY / page).read_text(), page


def test_every_package_that_the_code_imports_is_a_dependency(setup_arguments):
    extras = [
        requirement
        for name in USERS_EXTRAS
        for requirement in setup_arguments["extras_require"][name]
    ]
    pip = {
        re.split(r"[<>=]", requirement)[0]
        for requirement in [*setup_arguments["install_requires"], *extras]
    }
    ros = named_in_manifest("depend", "exec_depend")
    for name, path in imported_packages().items():
        assert PIP_NAMES.get(name, name) in pip | ros | OPTIONAL, (
            f"{path} imports {name}: name it in setup.py or package.xml"
        )


def test_the_manifest_names_the_generators_and_the_group_that_rosidl_asks_for():
    assert "rosidl_default_generators" in named_in_manifest("buildtool_depend")
    assert "rosidl_interface_packages" in named_in_manifest("member_of_group")


def test_colcon_generates_every_interface():
    listed = re.findall(r'"((?:msg|srv)/[^"]+)"', (REPOSITORY / "CMakeLists.txt").read_text())
    assert sorted(listed) == [str(path.relative_to(REPOSITORY)) for path in INTERFACES]


def test_pip_installs_every_package_and_every_data_file(setup_arguments):
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert {str(folder.relative_to(REPOSITORY)).replace("/", ".") for folder in folders} == set(
        setup_arguments["packages"]
    )
    installed = {
        path
        for pattern in setup_arguments["package_data"]["cmdfusion_ros"]
        for path in PACKAGE.glob(pattern)
    }
    data = {
        path
        for path in PACKAGE.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc", ".so", ".cpp", ".h")
    }
    assert data == installed


def test_pip_and_colcon_compile_every_source(setup_arguments):
    sources = {str(path.relative_to(REPOSITORY)) for path in PACKAGE.rglob("*.cpp")}
    assert sources == {
        source for extension in setup_arguments["ext_modules"] for source in extension.sources
    }
    assert all(extension.optional for extension in setup_arguments["ext_modules"]), (
        "without a compiler the package must install all the same"
    )
    assert all(
        source.replace("cmdfusion_ros/", "${PROJECT_NAME}/")
        in (REPOSITORY / "CMakeLists.txt").read_text()
        for source in sources
    )


def test_the_commands_that_pip_installs_exist(setup_arguments):
    for entry in setup_arguments["entry_points"]["console_scripts"]:
        name, target = entry.split(" = ")
        module, function = target.split(":")
        path = REPOSITORY / (module.replace(".", "/") + ".py")
        assert f"def {function}(" in path.read_text()
        # the same command, as colcon installs it
        assert f"from {module} import {function}" in (REPOSITORY / "cmake" / name).read_text()


@pytest.mark.parametrize("path", INTERFACES, ids=lambda path: path.name)
def test_every_field_of_an_interface_is_explained(path):
    # comment that stands over the field; one comment may cover a group without a blank line
    above = ""
    for line in path.read_text().splitlines():
        if line.startswith("#"):
            above = line
        elif not line.strip() or line == "---":
            above = ""
        else:
            assert above or "#" in line, f"{path.name}: {line!r} is not explained"


def test_the_constants_of_the_messages_are_those_of_the_code():
    for path, prefix, enum in (
        ("CameraState.msg", "STATUS_", CameraStatus),
        ("SegmentationStatus.msg", "MODE_", Mode),
    ):
        text = (REPOSITORY / "msg" / path).read_text()
        constants = {
            name: int(value)
            for name, value in re.findall(rf"^uint8 {prefix}(\w+)=(\d+)", text, re.MULTILINE)
        }
        assert constants == {item.name: item.value for item in enum}


def test_a_status_message_survives_serialisation():
    store = get_typestore(Stores.ROS2_HUMBLE)
    for path in INTERFACES:
        if path.suffix == ".msg":
            store.register(get_types_from_msg(path.read_text(), f"cmdfusion_ros/msg/{path.stem}"))
    types = store.types
    stamp = types["builtin_interfaces/msg/Time"](sec=3, nanosec=4)
    camera = types["cmdfusion_ros/msg/CameraState"](
        name="front", status=4, stamp=stamp, offset=-0.25, points=7
    )
    import numpy as np

    status = types["cmdfusion_ros/msg/SegmentationStatus"](
        header=types["std_msgs/msg/Header"](stamp=stamp, frame_id="lidar"),
        sequence=9,
        mode=2,
        num_points=100,
        num_labeled=90,
        cameras=[camera],
        wait_ms=1.0,
        decode_ms=2.0,
        preprocess_ms=3.0,
        inference_ms=4.0,
        postprocess_ms=5.0,
        total_ms=6.0,
        latency_ms=7.0,
        class_counts=np.array([40, 50], np.uint32),
    )
    name = "cmdfusion_ros/msg/SegmentationStatus"
    back = store.deserialize_cdr(store.serialize_cdr(status, name), name)
    assert (back.sequence, back.mode, back.num_labeled, back.latency_ms) == (9, 2, 90, 7.0)
    assert (back.cameras[0].name, back.cameras[0].status, back.cameras[0].offset) == (
        "front",
        4,
        -0.25,
    )
    assert back.class_counts.tolist() == [40, 50]


def test_source_tree_and_generated_messages_are_one_package(tmp_path, monkeypatch):
    """In development the generated messages lie in a colcon workspace, in a package of the same
    name.
    """
    generated = tmp_path / "cmdfusion_ros"
    (generated / "made_by_rosidl").mkdir(parents=True)
    # CMakeLists.txt installs it over the generated one
    (generated / "__init__.py").write_text((PACKAGE / "__init__.py").read_text())
    (generated / "made_by_rosidl" / "__init__.py").write_text("HERE = True\n")
    for order in ([str(tmp_path), str(REPOSITORY)], [str(REPOSITORY), str(tmp_path)]):
        for name in [name for name in sys.modules if name.split(".")[0] == "cmdfusion_ros"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setattr(sys, "path", [*order, *sys.path])
        assert importlib.import_module("cmdfusion_ros.made_by_rosidl").HERE
        assert Path(importlib.import_module("cmdfusion_ros.frame").__file__).is_relative_to(
            REPOSITORY
        )
        for name in [name for name in sys.modules if name.split(".")[0] == "cmdfusion_ros"]:
            del sys.modules[name]
        monkeypatch.undo()


def test_the_generated_messages_are_found_where_they_are_built():
    pytest.importorskip("rclpy", reason="ROS 2 is not installed")
    messages = pytest.importorskip(
        "cmdfusion_ros.msg", reason="the interfaces are not built (make test builds them)"
    )
    services = importlib.import_module("cmdfusion_ros.srv")
    assert (
        messages.SegmentationStatus(cameras=[messages.CameraState(name="front")]).cameras[0].name
        == "front"
    )
    assert services.SetCamera.Request(name="", enable=True).enable


def test_continuous_integration_runs_the_command_that_make_help_names():
    run = (REPOSITORY / ".ci" / "run").read_text().splitlines()
    assert "set -euo pipefail" in run and run[-1] == "make test"
    assert "# make test" in (REPOSITORY / "Makefile").read_text()
