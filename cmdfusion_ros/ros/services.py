"""What the node can be asked for: ~/enable, ~/reset, ~/save_frame and ~/set_camera."""

import os
import time
from pathlib import Path

from rclpy.parameter import Parameter


class Services:
    """Creates the services whose types are installed.

    Args:
        node: CmdfusionNode; its `labelling` and `pairing` are None unless configured, or active.
        interfaces: Interfaces.
    """

    def __init__(self, node, interfaces):
        self._node = node
        if interfaces.has("Trigger"):
            node.create_service(interfaces.SetBool, "~/enable", self._on_enable)
            node.create_service(interfaces.Trigger, "~/reset", self._on_reset)
            node.create_service(interfaces.Trigger, "~/save_frame", self._on_save_frame)
        if interfaces.has("SetCamera"):
            node.create_service(interfaces.SetCamera, "~/set_camera", self._on_set_camera)

    def _on_enable(self, request, response):
        labelling = self._node.labelling
        response.success = labelling is not None
        response.message = "not configured"
        if response.success:
            labelling.paused = not request.data
            response.message = "labelling" if request.data else "paused: the network stays loaded"
        return response

    def _on_reset(self, request, response):
        pairing = self._node.pairing
        response.success = pairing is not None
        response.message = "reset" if response.success else "not active"
        if response.success:
            pairing.reset("asked for by ~/reset")
        return response

    def _on_save_frame(self, request, response):
        response.success = self._node.pairing is not None
        response.message = "not active"
        if response.success:
            folder = Path(os.environ.get("ROS_HOME", Path.home() / ".ros"))
            path = folder / f"cmdfusion_frame_{time.strftime('%Y%m%dT%H%M%S')}.npz"
            self._node.labelling.save_to = path
            response.message = f"the next cloud goes to {path}"
        return response

    def _on_set_camera(self, request, response):
        known = self._node.settings.cameras
        cameras = [request.name] if request.name else list(known)
        if request.name and request.name not in known:
            response.success = False
            response.message = f"no camera {request.name!r}; known: {', '.join(known) or 'none'}"
            return response
        results = self._node.set_parameters(
            [Parameter(f"{camera}.enabled", value=request.enable) for camera in cameras]
        )
        response.success = all(result.successful for result in results)
        done = f"{'using' if request.enable else 'ignoring'} {', '.join(cameras)}"
        response.message = "; ".join(result.reason for result in results if result.reason) or done
        return response
