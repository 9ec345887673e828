"""ROS parameters made from the fields of `settings.py`: declared, described, checked, and applied
while the node runs.

Works from Humble (no post-set callback) to Kilted.
"""

import typing
from collections.abc import Callable, Sequence
from typing import Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node

from cmdfusion_ros.config import LiveSettings, SettingsError
from cmdfusion_ros.labelling.settings import (
    FOREIGN,
    NodeSettings,
    Parameter,
    camera_parameters,
    nearest_parameter,
    node_parameters,
    node_settings,
)
from cmdfusion_ros.ros.guard import Guard

_HUGE = 1e9  # a ROS range needs two ends; this one means "open"


class NodeParameters:
    """The parameters of a node as one checked, frozen `NodeSettings`.

    Attributes:
        settings: LiveSettings of NodeSettings, which a parameter that changes replaces.
        warnings: lines about overrides that no parameter is declared for.
    """

    def __init__(
        self,
        node: Node,
        check: Callable[[NodeSettings], None],
        guard: Guard,
    ) -> None:
        """Declare every parameter on `node` with the overrides it was started with.

        Args:
            node: an rclpy Node.
            check: called with NodeSettings that a change would give; it may refuse them with a
                SettingsError.
            guard: Guard.

        Raises:
            SettingsError: an override of a wrong type or out of bounds, before anything else
                happens.
        """
        self._node = node
        self._refuse = check
        self._names: list[str] = []
        for parameter in node_parameters():
            self._declare(parameter)
        cameras = [name for name in node.get_parameter("cameras").value if name]
        # checks the names before they become parameter names
        for camera in node_settings({"cameras": cameras}).cameras:
            for parameter in camera_parameters(camera):
                self._declare(parameter)
        self.settings = LiveSettings(
            node_settings({name: node.get_parameter(name).value for name in self._names})
        )
        self.warnings = self._unknown_overrides(cameras)
        # rclpy asks the newest first: nobody may act on a change that will be refused
        node.add_on_set_parameters_callback(
            guard.callback(
                "parameters",
                self._check,
                lambda: SetParametersResult(successful=False, reason="failed; see the log"),
            )
        )
        if hasattr(node, "add_post_set_parameters_callback"):
            node.add_post_set_parameters_callback(guard.callback("parameters", self._apply))

    def _declare(self, parameter: Parameter) -> None:
        try:
            self._node.declare_parameter(
                parameter.name, ros_default(parameter), descriptor(parameter)
            )
        # rclpy raises a class of its own for each of type, range and name; all mean: the user
        # gave a wrong value.
        except Exception as error:
            raise SettingsError(f"{parameter.name}: {error}") from error
        self._names.append(parameter.name)

    def _unknown_overrides(self, cameras: Sequence[str]) -> list[str]:
        # rclpy has no public way to ask for them
        given = getattr(self._node, "_parameter_overrides", {})
        lines = []
        for name in sorted(given):
            if name not in self._names and name.split(".")[0] not in FOREIGN:
                near = nearest_parameter(name, cameras)
                lines.append(
                    f"parameter {name!r} is not one of this node and has no effect"
                    + (f"; did you mean {near!r}?" if near else "")
                )
        return lines

    def _check(self, changes: Sequence[Any]) -> SetParametersResult:
        """Refuse what would not be valid settings. Free of side effects where ROS has a post-set
        callback.
        """
        for change in changes:
            if change.type_ == change.Type.NOT_SET:
                return SetParametersResult(
                    successful=False,
                    reason=f"{change.name}: parameters of this node cannot be deleted; set another "
                    "value",
                )
        ours = {change.name: change.value for change in changes if change.name in self._names}
        if not ours:
            return SetParametersResult(successful=True)
        values = {name: self._node.get_parameter(name).value for name in self._names}
        try:
            settings = node_settings({**values, **ours})
            self._refuse(settings)
        except SettingsError as error:
            return SetParametersResult(successful=False, reason=str(error))
        # Humble: this is the only callback there is
        if not hasattr(self._node, "add_post_set_parameters_callback"):
            self.settings.current = settings
        return SetParametersResult(successful=True)

    def _apply(self, changes: Sequence[Any]) -> None:
        if any(change.name in self._names for change in changes):
            self.settings.current = node_settings(
                {name: self._node.get_parameter(name).value for name in self._names}
            )


def ros_default(parameter: Parameter) -> Any:
    """The default as ROS can carry it: an empty list of strings becomes [""], because rclpy
    takes [] for a list of bytes.
    """
    if isinstance(parameter.default, tuple):
        return list(parameter.default) or [""]
    return parameter.default


def descriptor(parameter: Parameter) -> ParameterDescriptor:
    """The ParameterDescriptor: description with unit, range or choices; read-only unless the
    parameter is live.

    Numbers with a fraction are declared with dynamic typing, so that `0` is as good as `0.0`;
    `settings.py` checks the type.
    """
    metadata = parameter.metadata
    description = metadata["description"] + (f" [{metadata['unit']}]" if metadata["unit"] else "")
    if metadata["choices"]:
        description += f" ({', '.join(map(str, metadata['choices']))})"
    is_float = parameter.hint is float or (
        typing.get_origin(parameter.hint) is tuple and float in typing.get_args(parameter.hint)
    )
    result = ParameterDescriptor(
        name=parameter.name,
        description=description,
        read_only=not parameter.live,
        dynamic_typing=is_float,
    )
    low = metadata["minimum"] if metadata["minimum"] is not None else metadata["above"]
    if low is None and metadata["maximum"] is None:
        return result
    high = metadata["maximum"]
    if parameter.hint is float:
        result.floating_point_range = [
            FloatingPointRange(
                from_value=float(-_HUGE if low is None else low),
                to_value=float(_HUGE if high is None else high),
            )
        ]
    elif parameter.hint is int:
        result.integer_range = [
            IntegerRange(
                from_value=int(-_HUGE if low is None else low),
                to_value=int(_HUGE if high is None else high),
            )
        ]
    return result
