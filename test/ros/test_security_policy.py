"""The SROS 2 policy names what the node says, hears and answers. Its form is checked, not its
enforcement: the pip wheels have no `ros2 security`.
"""

import re
import xml.etree.ElementTree as ElementTree

from builders.paths import REPOSITORY

from cmdfusion_ros.ros.qos import OUTPUTS

POLICY = REPOSITORY / "config" / "security" / "cmdfusion.policy.xml"


def allowed(kind, action):
    root = ElementTree.parse(POLICY).getroot()
    path = f"./enclaves/enclave[@path='/cmdfusion']/profiles/profile/{kind}[@{action}='ALLOW']/*"
    return {item.text for item in root.findall(path)}


def test_every_output_may_be_published():
    names = {name.removeprefix("/") for name in OUTPUTS} - {"~/overlay"}
    assert names <= allowed("topics", "publish")


def test_every_service_may_be_answered():
    source = "".join(path.read_text() for path in (REPOSITORY / "cmdfusion_ros/ros").glob("*.py"))
    services = set(re.findall(r'create_service\([\w.]+, "([^"]+)"', source))
    assert services and services <= allowed("services", "reply")


def test_the_node_hears_its_sensors_and_may_publish_none_of_them():
    heard = allowed("topics", "subscribe")
    assert {"points", "front/image_raw", "front/camera_info", "tf", "tf_static"} <= heard
    assert heard & allowed("topics", "publish") <= {"parameter_events"}
