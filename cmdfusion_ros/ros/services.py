"""The services of the node: ~/enable, ~/reset, ~/save_frame and ~/set_camera. Each answers at once,
whatever state the node is in; none can end it.
"""

import os
from pathlib import Path
from typing import Any

from rclpy.parameter import Parameter

from cmdfusion_ros.ros.guard import Guard
from cmdfusion_ros.ros.interfaces import Interfaces


class NodeServices:
    """Made once, with the node.

    Args:
        node: CmdfusionNode; `labelling` and `pairing` of it are None while they do not exist.
        interfaces: Interfaces. guard: Guard.
    """

    def __init__(self, node: Any, interfaces: Interfaces, guard: Guard) -> None:
        self._node = node
        guarded = guard.service
        if interfaces.has("Trigger"):
            node.create_service(interfaces.SetBool, "~/enable", guarded("enable", self._on_enable))
            node.create_service(interfaces.Trigger, "~/reset", guarded("reset", self._on_reset))
            save = guarded("save_frame", self._on_save_frame)
            node.create_service(interfaces.Trigger, "~/save_frame", save)
        if interfaces.has("SetCamera"):
            switch = guarded("set_camera", self._on_set_camera)
            node.create_service(interfaces.SetCamera, "~/set_camera", switch)

    def _on_enable(self, request: Any, response: Any) -> Any:
        labelling = self._node.labelling
        response.success = labelling is not None
        response.message = "not configured"
        if response.success:
            labelling.paused = not request.data
            response.message = "labelling" if request.data else "paused: the network stays loaded"
        return response

    def _on_reset(self, request: Any, response: Any) -> Any:
        response.success = self._node.pairing is not None
        response.message = "reset" if response.success else "not active"
        if response.success:
            self._node.pairing.reset("asked for by ~/reset")
        return response

    def _on_save_frame(self, request: Any, response: Any) -> Any:
        response.success = self._node.pairing is not None
        response.message = "not active"
        if response.success:
            folder = Path(os.environ.get("ROS_HOME") or Path.home() / ".ros")
            try:
                path = self._node.labelling.saver.ask(folder)
                response.message = f"the next cloud goes to {path}"
            except OSError as error:
                response.success, response.message = False, str(error)
        return response

    def _on_set_camera(self, request: Any, response: Any) -> Any:
        known = self._node.settings.cameras
        cameras = [request.name] if request.name else list(known)
        unknown = [camera for camera in cameras if camera not in known]
        if unknown:
            response.success = False
            response.message = f"no camera {unknown[0]!r}; known: {', '.join(known) or 'none'}"
            return response
        results = self._node.set_parameters(
            [Parameter(f"{camera}.enabled", value=request.enable) for camera in cameras]
        )
        response.success = all(result.successful for result in results)
        done = f"{'using' if request.enable else 'ignoring'} {', '.join(cameras)}"
        response.message = "; ".join(result.reason for result in results if result.reason) or done
        return response
