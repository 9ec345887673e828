"""The SROS 2 policy: it names what node, player and recorder say, hear and answer, as the ROS graph
shows them at work; and, where the middleware has its security plugins, they work under it.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from fnmatch import fnmatchcase

import pytest
from builders.keystore import dds_names, have_openssl, make_keystore
from builders.paths import REPOSITORY

from cmdfusion_ros.ros.qos import OUTPUTS

POLICY = REPOSITORY / "config" / "security" / "cmdfusion.policy.xml"
PATIENCE = 40.0  # seconds
CLOUD, LABELLED = "/lidar/points", "/cmdfusion/points_labeled"
NAMES = {"/cmdfusion": "cmdfusion", "/cmdfusion_player": "bag_player",
         "/cmdfusion_recorder": "bag_recorder"}  # fmt: skip


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


# ---- at work


def own_policy(folder):
    """Our policy with the cloud topic of the test's bag, as a user edits it."""
    path = folder / "policy.xml"
    path.write_text(POLICY.read_text().replace("<topic>points</topic>", f"<topic>{CLOUD}</topic>"))
    return path


class Team:
    """Node, recorder and player at work on a bag, as processes with the given environment."""

    def __init__(self, bag, folder, environment):
        self._folder, self._environment, self._running = folder, environment, []
        self.node = self._start(
            "node", "/cmdfusion", "--ros-args", "-p", "model.backend:=fake",
            "-p", f"points.topic:={CLOUD}", "-p", "cameras:=[front]",
            "-p", "output.always_publish:=true",
        )  # fmt: skip
        self.recorder = self._start(
            "recorder", "/cmdfusion_recorder", folder / "out", "--topic", LABELLED
        )
        self.player = self._start(
            "player", "/cmdfusion_player", bag, "--wait-for", CLOUD, "--rate", "0.2"
        )

    def _start(self, module, enclave, *words):
        process = subprocess.Popen(
            [sys.executable, "-m", f"cmdfusion_ros.ros.{module}", *map(str, words)],
            env={**self._environment, "ROS_SECURITY_ENCLAVE_OVERRIDE": enclave},
            stdout=subprocess.PIPE,
            stderr=open(self._folder / f"{module}.log", "w"),  # noqa: SIM115
            text=True,
        )
        self._running.append(process)
        return process

    def log(self, module):
        return (self._folder / f"{module}.log").read_text()

    def labelled(self):
        """Labelled clouds that the recorder got, once the player is done."""
        assert self.player.wait(PATIENCE) == 0, self.log("player")
        time.sleep(1.0)  # what is under way
        self.recorder.send_signal(signal.SIGINT)
        events = [json.loads(line) for line in self.recorder.stdout]
        return sum(event["event"] == "message" for event in events)

    def close(self):
        for process in self._running:
            process.kill()
            process.wait()


@pytest.fixture
def team(small_bag, tmp_path, ros_domain):
    pytest.importorskip("rclpy", reason="rclpy is not installed: nothing can be secured")
    running = []

    def make(**secured):
        environment = {
            **os.environ,
            "ROS_DOMAIN_ID": str(ros_domain),
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
            "PYTHONUNBUFFERED": "1",
            **secured,
        }
        running.append(Team(small_bag, tmp_path, environment))
        return running[-1]

    yield make
    for one in running:
        one.close()


def test_all_that_the_three_say_hear_and_answer_is_allowed(team, tmp_path, monkeypatch, ros_domain):
    import rclpy

    it = team()
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=ros_domain)
    witness = rclpy.create_node("witness", context=context)
    try:
        end, before, used = time.monotonic() + PATIENCE, None, {}
        # until all three are known with what they use, and nothing came since the last look
        while not used or used != before or not all(map(all, used.values())):
            assert time.monotonic() < end, f"{used}\n{it.log('node')}"
            time.sleep(0.5)
            try:
                before, used = used, {e: names_in_graph(witness, n) for e, n in NAMES.items()}
            except rclpy.node.NodeNameNonExistentError:  # known by name, and not yet by more
                used = {}
            if not witness.count_subscribers(LABELLED) or not witness.count_publishers(CLOUD):
                used = {}
    finally:
        witness.destroy_node()
        rclpy.shutdown(context=context)
    root = ElementTree.parse(own_policy(tmp_path)).getroot()
    for enclave in root.findall("./enclaves/enclave"):
        for allowed_names, names in zip(dds_names(enclave), used[enclave.get("path")], strict=True):
            assert names, "nothing was seen"
            denied = {n for n in names if not any(fnmatchcase(n, a) for a in allowed_names)}
            assert not denied, f"{enclave.get('path')} may not use {denied}"


def names_in_graph(witness, name):
    """({published}, {subscribed}) topics of DDS of a running node; empty while nobody knows it."""
    if (name, "/") not in witness.get_node_names_and_namespaces():
        return set(), set()

    def topics(found):
        return {f"rt{topic}" for topic, _ in found}

    services = {s for s, _ in witness.get_service_names_and_types_by_node(name, "/")}
    clients = {s for s, _ in witness.get_client_names_and_types_by_node(name, "/")}
    publish = topics(witness.get_publisher_names_and_types_by_node(name, "/"))
    subscribe = topics(witness.get_subscriber_names_and_types_by_node(name, "/"))
    publish |= {f"rr{s}Reply" for s in services} | {f"rq{s}Request" for s in clients}
    subscribe |= {f"rq{s}Request" for s in services} | {f"rr{s}Reply" for s in clients}
    return publish, subscribe


def test_the_three_work_under_enforcement(team, tmp_path):
    if not have_openssl():
        pytest.skip("no openssl command: no keystore can be made")
    keystore = make_keystore(tmp_path / "keystore", own_policy(tmp_path))
    it = team(
        ROS_SECURITY_ENABLE="true",
        ROS_SECURITY_STRATEGY="Enforce",
        ROS_SECURITY_KEYSTORE=str(keystore),
    )
    end = time.monotonic() + 10
    while time.monotonic() < end and it.recorder.poll() is None:
        if "labels mean nothing" in it.log("node"):
            break
        time.sleep(0.2)
    if "doesn't have the security libraries" in it.log("recorder"):
        assert it.recorder.wait(PATIENCE) != 0  # it does not go on unsecured
        pytest.skip("this Fast DDS is built without its security plugins, as the pip wheels are")
    assert it.labelled() == 8, it.log("node")
