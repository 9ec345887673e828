"""Stand-ins for the classes of `launch` and `launch_ros` that our launch files use: neither is on a
package index, so continuous integration cannot have them.

They take the keywords that our files use and raise TypeError on any other, as the real ones do, and
give the command lines that the real `ros2 launch` (launch 3.7, launch_ros 0.28) was seen to run for
the same arguments.
"""

import dataclasses
import runpy
import sys
import types
from pathlib import Path

import pytest
import yaml
from builders.paths import REPOSITORY


@dataclasses.dataclass
class LaunchDescription:
    entities: list


@dataclasses.dataclass
class DeclareLaunchArgument:
    name: str
    _: dataclasses.KW_ONLY
    default_value: object
    description: str
    choices: list | None = None


@dataclasses.dataclass
class LaunchConfiguration:
    name: str

    def perform(self, context):
        return context[self.name]


@dataclasses.dataclass
class FindPackageShare:
    package: str

    def perform(self, context):
        assert self.package == "cmdfusion_ros", (
            f"{self.package} is not a dependency of package.xml with files of its own"
        )
        return str(REPOSITORY)  # launch/ and config/ lie in share/cmdfusion_ros as they lie here


@dataclasses.dataclass
class PathJoinSubstitution:
    parts: list

    def perform(self, context):
        return str(Path(*(text_of(part, context) for part in self.parts)))


@dataclasses.dataclass
class OpaqueFunction:
    _: dataclasses.KW_ONLY
    function: object


@dataclasses.dataclass
class SetEnvironmentVariable:
    name: str
    value: object


@dataclasses.dataclass
class ExecuteProcess:
    _: dataclasses.KW_ONLY
    cmd: list
    output: str = "log"


@dataclasses.dataclass
class Node:
    _: dataclasses.KW_ONLY
    package: str
    executable: str
    name: str | None = None
    namespace: str | None = None
    parameters: list = ()
    arguments: list = ()
    ros_arguments: list = ()
    remappings: list = ()
    output: str = "log"
    emulate_tty: bool = False


@dataclasses.dataclass
class ParameterFile:
    param_file: object
    _: dataclasses.KW_ONLY
    allow_substs: bool = False


@dataclasses.dataclass
class ParameterValue:
    value: object
    _: dataclasses.KW_ONLY
    value_type: type


MODULES = {
    "launch": [LaunchDescription],
    "launch.actions": [
        DeclareLaunchArgument,
        ExecuteProcess,
        OpaqueFunction,
        SetEnvironmentVariable,
    ],
    "launch.substitutions": [LaunchConfiguration, PathJoinSubstitution],
    "launch_ros": [],
    "launch_ros.actions": [Node],
    "launch_ros.parameter_descriptions": [ParameterFile, ParameterValue],
    "launch_ros.substitutions": [FindPackageShare],
}


def text_of(value, context):
    return value if isinstance(value, str) else value.perform(context)


@dataclasses.dataclass
class Launched:
    """What a launch file does.

    Attributes:
        arguments: {name: DeclareLaunchArgument}.
        commands: {executable: command line}, as text.
        parameters: {executable: [path of a parameter file, or dict of values]}, the strongest last.
        environment: {name: value} that is set for the processes.
    """

    arguments: dict
    commands: dict
    parameters: dict
    environment: dict


@pytest.fixture
def run_launch_file(monkeypatch, tmp_path):
    """`run_launch_file(file, **arguments) -> Launched`."""
    for name, classes in MODULES.items():
        module = types.ModuleType(name)
        vars(module).update({item.__name__: item for item in classes})
        monkeypatch.setitem(sys.modules, name, module)
    for variable in (
        "FASTDDS_DEFAULT_PROFILES_FILE",
        "FASTRTPS_DEFAULT_PROFILES_FILE",
        "ROS_DISTRO",
    ):
        monkeypatch.delenv(variable, raising=False)

    def run(file, /, **given):
        description = runpy.run_path(str(REPOSITORY / "launch" / file))[
            "generate_launch_description"
        ]()
        launched = Launched({}, {}, {}, {})
        context = {}
        entities = list(description.entities)
        while entities:
            entity = entities.pop(0)
            if isinstance(entity, OpaqueFunction):
                entities[:0] = entity.function(context)
            else:
                _visit(entity, given, context, launched, tmp_path)
        assert not set(given) - set(launched.arguments), (
            f"not declared: {set(given) - set(launched.arguments)}"
        )
        return launched

    return run


def _visit(entity, given, context, launched, folder):
    if isinstance(entity, DeclareLaunchArgument):
        launched.arguments[entity.name] = entity
        value = given.get(entity.name, text_of(entity.default_value, context))
        if entity.choices and value not in entity.choices:
            raise ValueError(f"{entity.name}: {value!r} is not one of {entity.choices}")
        context[entity.name] = value
    elif isinstance(entity, SetEnvironmentVariable):
        launched.environment[entity.name] = text_of(entity.value, context)
    elif isinstance(entity, ExecuteProcess):
        launched.commands[" ".join(entity.cmd[:3])] = " ".join(
            text_of(part, context) for part in entity.cmd
        )
    elif isinstance(entity, Node):
        key = entity.executable if entity.executable not in launched.commands else entity.name
        launched.parameters[key] = [_parameters(item, context) for item in entity.parameters]
        files = [
            item if isinstance(item, str) else _written(item, folder)
            for item in launched.parameters[key]
        ]
        launched.commands[key] = _command(entity, files, context)
    else:
        raise TypeError(f"unknown entity {entity!r}")


def _parameters(item, context):
    if isinstance(item, ParameterFile):
        return text_of(item.param_file, context)
    values = {}
    for name, value in item.items():
        if isinstance(value, (str, list)):
            raise TypeError(
                f"{name}: launch_ros reads text as YAML ({value!r}); wrap it in ParameterValue"
            )
        values[name] = value.value if isinstance(value, ParameterValue) else value
    return values


def _written(values, folder):
    path = folder / f"launch_params_{len(list(folder.iterdir()))}"
    path.write_text(yaml.safe_dump({"/**": {"ros__parameters": values}}))
    return str(path)


def _command(node, files, context):
    """The command line as launch_ros 0.28 composes it."""
    parts = [node.executable, *(text_of(part, context) for part in node.arguments)]
    if node.ros_arguments:
        parts += ["--ros-args", *node.ros_arguments]
    parts += ["--ros-args"]
    if node.name is not None:
        parts += ["-r", f"__node:={node.name}"]
    if node.namespace is not None:
        parts += ["-r", "__ns:=/" + node.namespace.strip("/")]
    for path in files:
        parts += ["--params-file", path]
    for source, target in node.remappings:
        parts += ["-r", f"{source}:={target}"]
    return " ".join(parts)
