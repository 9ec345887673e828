"""The house rules, checked on the source itself: who imports whom, cycles, where torch and ROS are.

The rooms and what each is for are in docs/architecture.md.
"""

import ast
import functools
import re

import pytest
from builders.paths import REPOSITORY

PACKAGE = REPOSITORY / "cmdfusion_ros"
FILES = sorted(PACKAGE.rglob("*.py"))
EVERY_FILE = sorted(
    path
    for folder in ("cmdfusion_ros", "launch", "test", "benchmarks")
    for path in (REPOSITORY / folder).rglob("*")
    if path.suffix in (".py", ".cpp", ".h")
)
MAX_LINES, MAX_COLUMNS = 400, 100
ROS_PACKAGES = {
    "ament_index_python", "builtin_interfaces", "cv_bridge", "diagnostic_msgs",
    "diagnostic_updater", "geometry_msgs", "lifecycle_msgs", "message_filters",
    "rcl_interfaces", "rclpy", "rosgraph_msgs", "sensor_msgs", "sensor_msgs_py", "std_msgs",
    "std_srvs", "tf2_msgs", "tf2_ros", "vision_msgs", "visualization_msgs",
}  # fmt: skip
CELLAR = {"frame", "class_map", "config", "intensity", "geometry", "sparse"}
FIRST = CELLAR | {"batch", "models", "checkpoint"}
SECOND = FIRST | {
    "messages", "data", "inference", "image_teachers", "instances", "pictures",
}  # fmt: skip
MAY_IMPORT = {  # room -> rooms of ours it may import, besides itself
    "frame": set(),
    "class_map": {"frame", "strict_yaml"},
    "strict_yaml": set(),
    "config": {"strict_yaml"},
    "intensity": set(),
    "geometry": {"frame"},
    "sparse": set(),
    "batch": CELLAR,
    "models": CELLAR | {"batch"},
    "checkpoint": CELLAR | {"batch", "models"},
    "instances": CELLAR,
    "pictures": CELLAR | {"instances"},
    "messages": CELLAR | {"pictures", "instances"},
    "data": CELLAR | {"messages"},
    "inference": FIRST,
    "image_teachers": CELLAR,
    "pairing": {"config", "frame"},
    "evaluation": SECOND,
    "training": SECOND | {"evaluation"},
    "labelling": SECOND | {"pairing"},
    "adaptation": SECOND | {"evaluation", "training"},
    "soak": SECOND | {"pairing", "labelling"},
    "ros": SECOND | {"pairing", "labelling"},
    "cli": SECOND | {"pairing", "labelling", "evaluation", "training", "adaptation", "soak"},
    "__init__": set(),
    "__main__": {"cli"},
}
NO_TORCH = {
    "frame", "class_map", "config", "intensity", "geometry", "image_teachers", "messages",
    "data", "instances", "pictures", "pairing",
}  # fmt: skip
EXEMPT_FROM_CV_BRIDGE = {"messages/images.py"}  # tries cv_bridge, where it is, on a message


def room_of(path):
    """The room a file belongs to: its folder, or its own name at the top level."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@functools.cache
def imported_modules(path):
    """(name, level) of the modules that a file imports, anywhere in it."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(alias.name, 0) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.module or "", node.level))
            if node.module and node.module.startswith("cmdfusion_ros"):
                found += [(f"{node.module}.{alias.name}", 0) for alias in node.names]
    return tuple(found)


def module_name(path):
    """`cmdfusion_ros.a.b` of a file of the package; a folder's name for its __init__."""
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_only_from_floors_below(path):
    room = room_of(path)
    assert room in MAY_IMPORT, f"{path}: room {room!r} is not in the plan of docs/architecture.md"
    for module, level in imported_modules(path):
        assert level == 0, f"{path}: relative import of {module!r}"
        top = module.split(".")[0]
        if top == "cmdfusion_ros":
            parts = module.split(".")
            target = parts[1] if len(parts) > 1 else room
            generated = target in {"msg", "srv"}  # message classes that rosidl makes
            assert not generated or room == "ros", f"{path}: imports generated messages"
            allowed = {room, "__version__"} | MAY_IMPORT[room]
            assert generated or target in allowed, f"{path}: {room} may not import {target}"
        if top in ROS_PACKAGES:
            exempt = str(path.relative_to(PACKAGE)) in EXEMPT_FROM_CV_BRIDGE and top == "cv_bridge"
            assert room == "ros" or exempt, f"{path}: imports {module}; only ros/ knows ROS"
        if top == "torch":
            assert room not in NO_TORCH, f"{path}: torch above the batch"


@pytest.mark.parametrize("path", EVERY_FILE, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_a_file_is_short_and_narrow(path):
    lines = path.read_text().splitlines()
    assert len(lines) <= MAX_LINES
    wide = [number for number, line in enumerate(lines, 1) if len(line.encode()) > MAX_COLUMNS]
    assert not wide, f"{path}: lines {wide} are over {MAX_COLUMNS} columns, counted in bytes"


def test_no_files_import_each_other():
    """Imports inside of functions count: a cycle that is only loaded late is still a cycle."""
    names = {module_name(path): path for path in FILES}
    imports = {
        name: {module for module, _ in imported_modules(path) if module in names} - {name}
        for name, path in names.items()
    }
    done: set = set()

    def walk(name, trail):
        if name in trail:
            raise AssertionError(" -> ".join([*trail[trail.index(name) :], name]))
        if name not in done:
            for below in sorted(imports[name]):
                walk(below, [*trail, name])
            done.add(name)

    for name in sorted(imports):
        walk(name, [])


def test_only_the_doors_import_message_classes():
    message_packages = {name for name in ROS_PACKAGES if name.endswith("_msgs")}
    message_packages |= {"std_srvs", "builtin_interfaces"}
    for path in FILES:
        names = {module.split(".")[0] for module, _ in imported_modules(path)}
        stray = names & message_packages
        assert path.name in {"node.py", "interfaces.py"} or not stray, f"{path}: imports {stray}"


@pytest.mark.parametrize(
    "folder", sorted({path.parent for path in FILES}), ids=lambda folder: folder.name
)
def test_a_room_has_a_sign(folder):
    assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text())), folder


def untyped(path):
    """Names of the public functions and dataclass fields of a file that lack a type."""

    def visit(body, owner):
        for node in body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                yield from visit(node.body, node)
            elif isinstance(node, ast.FunctionDef):
                is_public = not node.name.startswith("_") or node.name in ("__init__", "__call__")
                given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                given += [each for each in (node.args.vararg, node.args.kwarg) if each]
                marks = {getattr(each, "id", "") for each in node.decorator_list}
                given = given[1:] if owner and "staticmethod" not in marks else given
                lacks_return = node.returns is None and node.name != "__init__"
                if is_public and (lacks_return or any(each.annotation is None for each in given)):
                    yield node.name

    return list(visit(ast.parse(path.read_text()).body, None))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_everything_public_has_types(path):
    """A dataclass field has one by its syntax; mypy, in `make test`, checks that they are true."""
    assert not untyped(path), f"{path}: without types: {untyped(path)}"


CALLED_BY_OTHERS = {  # public names that our code never calls, and who does
    "extra_repr": "torch, when a network is printed",
    "find_class": "pickle, for every class that a file names",
    "persistent_load": "pickle, for every tensor of a file",
    "segment_all": "people who use the package as a library (docs/library.md)",
    **dict.fromkeys(
        ("on_activate", "on_cleanup", "on_configure", "on_deactivate", "on_shutdown"),
        "rclpy, at the node's transitions",
    ),
}


def names_in(tree):
    """What a piece of Python names: variables, attributes, imports, and strings that are names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.alias):
            yield node.name.split(".")[-1]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value if node.value.isidentifier() else ""


def public_functions(body):
    """The functions and methods of some statements whose names begin without an underscore."""
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from public_functions(node.body)
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node


def test_every_public_function_has_a_caller_that_is_no_test():
    """In the package, a benchmark, a launch file, or an example of the pages that a test runs."""
    scripts = [
        path
        for path in EVERY_FILE
        if path.suffix == ".py" and path.relative_to(REPOSITORY).parts[0] != "test"
    ]
    sources = [path.read_text() for path in [*scripts, *(REPOSITORY / "docs").glob("*.py")]]
    for page in (REPOSITORY / "docs" / "pairing_alone.md", REPOSITORY / "CONTRIBUTING.md"):
        sources += re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    named = {name for source in sources for name in names_in(ast.parse(source))}
    uncalled = {
        node.name: str(path.relative_to(PACKAGE))
        for path in FILES
        for node in public_functions(ast.parse(path.read_text()).body)
        if node.name not in named
    }
    assert set(uncalled) == set(CALLED_BY_OTHERS), uncalled


def test_a_word_names_one_class():
    homes: dict = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                homes.setdefault(node.name, []).append(str(path.relative_to(PACKAGE)))
    assert {name: files for name, files in homes.items() if len(files) > 1} == {}


def test_a_word_names_one_file():
    """Beside cli/, where a verb has the name of what it does, and `settings`, which each room may
    have. `messages` names a codec after its message, so its transforms are ROS's, geometry's are
    matrices.
    """
    allowed = {
        "settings.py": {"pairing", "labelling", "adaptation"},
        "transforms.py": {"geometry", "messages"},
    }
    homes: dict = {}
    for path in FILES:
        if path.name != "__init__.py" and room_of(path) != "cli":
            homes.setdefault(path.name, []).append(str(path.relative_to(PACKAGE).parent))
    twice = {name: set(rooms) for name, rooms in homes.items() if len(rooms) > 1}
    assert twice == allowed
