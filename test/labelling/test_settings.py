"""The node's settings: names, defaults, checks. No ROS."""

import pytest

from cmdfusion_ros.config import LiveSettings, SettingsError
from cmdfusion_ros.labelling.settings import (
    LIVE,
    LIVE_OF_CAMERA,
    PairingPart,
    camera_parameters,
    nearest_parameter,
    node_parameters,
    node_settings,
)


def test_nothing_given_is_a_node_without_cameras():
    settings = node_settings({})
    assert settings.cameras == () and settings.camera_settings == {}
    assert (
        settings.sync.max_wait == 0.06
        and settings.points.topic == "points"
        and settings.output.layout == "full"
    )
    assert settings.autostart and settings.model.backend == "auto"


def test_dotted_and_nested_names_mean_the_same():
    dotted = node_settings({"cameras": ["front"], "front.tolerance": 0.02, "sync.max_wait": 0.1})
    nested = node_settings(
        {"cameras": ["front"], "front": {"tolerance": 0.02}, "sync": {"max_wait": 0.1}}
    )
    assert dotted == nested
    assert dotted.camera_settings["front"].tolerance == 0.02


def test_topics_of_a_camera_carry_its_name():
    own = node_settings({"cameras": ["front_left"]}).camera_settings["front_left"]
    assert (own.image_topic, own.camera_info_topic) == (
        "front_left/image_raw",
        "front_left/camera_info",
    )


def test_empty_strings_in_a_list_of_names_count_for_nothing():
    settings = node_settings({"cameras": [""], "filter.classes": ["", "car"]})
    assert settings.cameras == () and settings.filter.classes == ("car",)


def test_the_synchroniser_is_told_the_cameras_in_order():
    pairing = node_settings({"cameras": ["b", "a"], "a.time_offset": -0.01}).pairing()
    assert list(pairing.cameras) == ["b", "a"] and pairing.cameras["a"].time_offset == -0.01


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sync.max_wiat": 0.1}, "did you mean 'max_wait'"),
        ({"synk": {"max_wait": 0.1}}, "did you mean 'sync'"),
        ({"cameras": ["front"], "frnt.tolerance": 0.1}, "did you mean 'front'"),
        (
            {"cameras": ["front"], "front.tolerence": 0.1},
            "front.tolerence: unknown setting; did you mean 'tolerance'",
        ),
        ({"cameras": ["points"]}, "no group of parameters, got 'points'"),
        ({"cameras": ["qos_overrides"]}, "no group of parameters"),
        ({"cameras": ["front/left"]}, "letters, digits and _"),
        ({"cameras": ["caméra"]}, "letters, digits and _"),
        ({"cameras": ["a", "a"]}, "given twice"),
        ({"cameras": [f"c{i}" for i in range(33)]}, "at most 32, got 33"),
        ({"sync.tolerance": 0.0}, "expected more than 0.0 s"),
        ({"output.layout": "fancy"}, "full, minimal, append, autoware"),
        (
            {"output.layout": "autoware", "output.unlabeled_id": 256},
            "output.unlabeled_id: expected at most 255 with output.layout autoware",
        ),
        ({"points.max_range": 0.2}, "more than points.min_range"),
        ({"filter.ego_box": [1.0, 2.0]}, "six numbers"),
        ({"filter.ego_box": [1.0, 0, 0, -1.0, 0, 0]}, "six numbers"),
        ({"diagnostics.rate": 0.0}, "more than 0.0 Hz"),
        ({"cameras": ["front"], "front.transport": "jpeg"}, "raw, compressed"),
        ({"cameras": ["front"], "sync.min_cameras": 2}, "at most 1 for 1 cameras"),
        ({"sync.max_wait": "long"}, "expected float, got 'long'"),
    ],
)
def test_a_wrong_setting_is_refused_by_a_message_that_helps(values, message):
    with pytest.raises(SettingsError, match="(?s)" + message):
        node_settings(values)


def test_parameters_of_rclpy_itself_are_left_alone():
    assert node_settings(
        {"use_sim_time": True, "qos_overrides./points.subscription.depth": 3}
    ) == node_settings({})


def test_every_live_parameter_exists():
    names = {parameter.name for parameter in node_parameters()}
    assert LIVE <= names
    assert {f"front.{name}" for name in LIVE_OF_CAMERA} <= {
        parameter.name for parameter in camera_parameters("front")
    }
    assert {parameter.name for parameter in node_parameters() if parameter.live} == LIVE


def test_every_parameter_is_described_and_its_default_is_valid():
    parameters = node_parameters() + camera_parameters("front")
    assert all(parameter.metadata["description"] for parameter in parameters)
    values = {parameter.name: parameter.default for parameter in parameters}
    assert node_settings({**values, "cameras": ("front",)}) == node_settings({"cameras": ["front"]})


def test_the_nearest_parameter_is_found_across_groups():
    assert nearest_parameter("sync.maxwait", ()) == "sync.max_wait"
    assert nearest_parameter("front.tolerence", ("front",)) == "front.tolerance"
    assert nearest_parameter("zzzzzzzz", ()) is None


def test_the_synchronisers_part_is_made_anew_only_where_the_settings_changed():
    live = LiveSettings(node_settings({"sync.max_wait": 0.1}))
    part = PairingPart(live)
    first = part.current
    assert first.sync.max_wait == 0.1 and part.current is first
    live.current = node_settings({"sync.max_wait": 0.2})
    assert part.current.sync.max_wait == 0.2 and first.sync.max_wait == 0.1
    assert part.current is part.current
