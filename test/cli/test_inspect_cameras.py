"""`cmdfusion inspect` of bags with more cameras than anybody looks at."""

import json

import yaml
from builders import walled_drive
from builders.bag_messages import place, write
from builders.commands import cmdfusion

from cmdfusion_ros.labelling.settings import node_settings


def test_of_many_cameras_some_are_looked_at_the_node_s_share_is_fused_and_all_are_named(
    tmp_path, capsys
):
    messages = walled_drive.clouds(count=4) + place("front")
    for number in range(40):
        messages += [
            (topic.replace("/front", f"/eye_{number:02d}"), *rest)
            for topic, *rest in walled_drive.camera(count=4)
        ]
    bag = write(tmp_path / "many", messages)
    code = cmdfusion("inspect", bag, "--out", tmp_path / "out")
    found = json.loads((tmp_path / "out" / "summary.json").read_text())
    said = capsys.readouterr().out
    assert code == 0 and list(found["alignment"]) == [f"eye_{number:02d}" for number in range(12)]
    assert "20 more" in said and "edges and pictures were not looked at: eye_12, eye_13" in said
    fused = [each["name"] for each in found["cameras"] if each["fused"]]
    assert len(found["cameras"]) == 40 and fused == [f"eye_{number:02d}" for number in range(32)]
    assert "leaves out eye_32: the node takes 32 cameras, and has so many" in said
    parameters = yaml.safe_load((tmp_path / "out" / "node.yaml").read_text())
    assert len(node_settings(parameters["/**"]["ros__parameters"]).cameras) == 32
