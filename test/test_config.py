"""Settings: typed, bounded, and strict about what YAML says."""

from dataclasses import dataclass

import pytest

from cmdfusion_ros.config import (
    ModelConfig,
    SettingsError,
    check_settings,
    load_settings,
    load_yaml,
    save_settings,
    section,
    setting,
    settings_from_dict,
    settings_to_dict,
)


@dataclass(frozen=True)
class Lens:
    focal: float = setting(1.0, "focal length", "m", above=0.0)

    def __post_init__(self):
        check_settings(self)


@dataclass(frozen=True)
class Camera:
    name: str = setting("front", "name", choices=("front", "left"))
    rate: int = setting(10, "rate", "Hz", minimum=1, maximum=100)
    on: bool = setting(True, "whether it runs")
    crop: tuple[int, int] | None = setting(None, "rows kept", "px", minimum=0)
    lens: Lens = section(Lens)

    def __post_init__(self):
        check_settings(self)


def test_missing_keys_take_their_defaults():
    assert settings_from_dict(Camera, {"rate": 20}) == Camera(rate=20)


def test_settings_survive_plain_values_and_yaml(tmp_path):
    camera = Camera("left", 20, crop=(1, 2), lens=Lens(2.5))
    assert settings_from_dict(Camera, settings_to_dict(camera)) == camera
    save_settings(camera, tmp_path / "camera.yaml")
    assert load_settings(Camera, tmp_path / "camera.yaml") == camera


def test_yaml_holds_only_what_differs(tmp_path):
    save_settings(Camera(lens=Lens(2.5)), tmp_path / "camera.yaml")
    assert load_yaml(tmp_path / "camera.yaml") == {"lens": {"focal": 2.5}}


@pytest.mark.parametrize(
    "values, message",
    [
        ({"rat": 3}, "rat: unknown setting; did you mean 'rate'?"),
        ({"zzz": 3}, "zzz: unknown setting; known: name, rate, on, crop, lens"),
        ({"lens": {"focl": 3}}, "lens.focl: unknown setting; did you mean 'focal'?"),
        ({"rate": 0}, "rate: expected at least 1 Hz, got 0"),
        ({"rate": 101}, "rate: expected at most 100 Hz, got 101"),
        ({"rate": 1.5}, "rate: expected int, got 1.5"),
        ({"rate": True}, "rate: expected int, got True"),
        ({"on": 1}, "on: expected bool, got 1"),
        ({"name": "back"}, "name: expected one of front, left, got 'back'"),
        ({"lens": {"focal": 0}}, "lens.focal: expected more than 0.0 m, got 0"),
        ({"lens": {"focal": float("nan")}}, "lens.focal: expected a number, got NaN"),
        ({"crop": [1, -2]}, "crop: expected at least 0 px, got -2"),
        ({"crop": [1, 2, 3]}, "crop: expected"),
        ({"lens": 3}, "lens.: expected a mapping, got 3"),
    ],
)
def test_a_wrong_value_is_an_error_that_names_the_key(values, message):
    with pytest.raises(SettingsError) as error:
        settings_from_dict(Camera, values)
    assert message in str(error.value)


def test_settings_made_in_code_are_checked_too():
    with pytest.raises(SettingsError, match="rate: expected at least 1 Hz, got -1"):
        Camera(rate=-1)


def test_a_key_given_twice_is_an_error_with_file_and_line(tmp_path):
    path = tmp_path / "twice.yaml"
    path.write_text("rate: 1\nname: front\nrate: 2\n")
    with pytest.raises(SettingsError, match=r"twice.yaml, line 3: key 'rate' is given twice"):
        load_yaml(path)


def test_broken_yaml_names_its_file(tmp_path):
    (tmp_path / "broken.yaml").write_text("a: [1,")
    with pytest.raises(SettingsError, match="broken.yaml: not readable as YAML"):
        load_yaml(tmp_path / "broken.yaml")


def test_an_empty_file_means_all_defaults(tmp_path):
    (tmp_path / "empty.yaml").write_text("")
    assert load_settings(Camera, tmp_path / "empty.yaml") == Camera()


@pytest.mark.parametrize("strides", [(1,), (2, 4), (1, 4, 2), (1, 3, 4)])
def test_a_network_needs_strides_that_nest(strides):
    with pytest.raises(SettingsError, match="strides: expected to start at 1"):
        ModelConfig(strides=strides)


def test_a_stride_may_come_again_as_cmdfusion_on_nuscenes_has_it():
    assert ModelConfig(strides=(1, 2, 4, 8, 16, 16, 16)).strides[-1] == 16
