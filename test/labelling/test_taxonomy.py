"""Which classes are published, and in which colours."""

import dataclasses

import numpy as np
import pytest
from builders.paths import REPOSITORY

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.config import SettingsError
from cmdfusion_ros.frame import IGNORE_LABEL, Prediction
from cmdfusion_ros.labelling.sections import FilterSettings, OutputSettings
from cmdfusion_ros.labelling.settings import NodeSettings
from cmdfusion_ros.labelling.taxonomy import Taxonomy, open_taxonomy


def prediction(labels):
    labels = np.array(labels, np.uint8)
    return Prediction(
        labels, np.full(len(labels), 0.5, np.float32), np.arange(len(labels), dtype=np.uint32)
    )


def test_the_model_s_own_classes_pass_unchanged():
    street = load_class_map("street")
    taxonomy = open_taxonomy(street)
    out = taxonomy.translate(prediction([0, 3, 11]))
    assert taxonomy.class_map is street
    np.testing.assert_array_equal(out.labels, [0, 3, 11])
    np.testing.assert_array_equal(out.confidence, np.float32([0.5, 0.5, 0.5]))


def test_a_finer_network_folds_onto_a_coarser_map():
    kitti, street = load_class_map("semantic_kitti"), load_class_map("street")
    taxonomy = open_taxonomy(kitti, "street")
    labels = [kitti.label("car"), kitti.label("road")]
    out = taxonomy.translate(prediction(labels))
    assert [street.names[label] for label in out.labels] == ["car", "road"]
    np.testing.assert_array_equal(out.camera_mask, [0, 1])


def test_a_class_without_a_place_becomes_unlabelled():
    table = np.arange(256, dtype=np.uint8)
    table[3] = IGNORE_LABEL
    out = Taxonomy(load_class_map("street"), table).translate(prediction([2, 3]))
    np.testing.assert_array_equal(out.labels, [2, IGNORE_LABEL])
    np.testing.assert_array_equal(out.confidence, np.float32([0.5, 0]))


def test_classes_that_do_not_fold_are_an_error():
    with pytest.raises(SettingsError, match="the network speaks street"):
        open_taxonomy(load_class_map("street"), "nuscenes")
    with pytest.raises(SettingsError, match="output.taxonomy.*expected one of"):
        open_taxonomy(load_class_map("street"), "stret")


def test_a_palette_changes_colours_and_nothing_else(tmp_path):
    street = load_class_map("street")
    path = tmp_path / "palette.yaml"
    path.write_text("car: [1, 2, 3]\n")
    class_map = open_taxonomy(street, "model", str(path)).class_map
    assert tuple(class_map.colors[street.label("car")]) == (1, 2, 3)
    assert class_map.names == street.names
    others = [label for label in range(street.num_classes) if label != street.label("car")]
    np.testing.assert_array_equal(class_map.colors[others], street.colors[others])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cra: [1, 2, 3]", "no class 'cra'.*did you mean 'car'"),
        ("car: [1, 2]", "expected"),
        ("car: [1, 2, 300]", "0 to 255"),
    ],
)
def test_a_wrong_palette_is_refused(tmp_path, text, message):
    path = tmp_path / "palette.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=message):
        open_taxonomy(load_class_map("street"), "model", str(path))


def test_a_missing_palette_is_refused():
    with pytest.raises(SettingsError, match="output.palette_file"):
        open_taxonomy(load_class_map("street"), "model", "no/such/file.yaml")


def test_raw_ids_that_do_not_fit_the_layout_are_an_error_before_the_first_cloud():
    street = load_class_map("street")
    large = dataclasses.replace(
        street, classes=(dataclasses.replace(street.classes[0], raw=300), *street.classes[1:])
    )
    taxonomy = Taxonomy(large, np.arange(256, dtype=np.uint8))
    taxonomy.check(NodeSettings())
    with pytest.raises(
        SettingsError, match="autoware has raw ids up to 255 .* street up to 300; take full"
    ):
        taxonomy.check(NodeSettings(output=OutputSettings(layout="autoware")))
    Taxonomy(street, taxonomy.table).check(NodeSettings(output=OutputSettings(layout="autoware")))


def test_a_class_to_filter_that_is_not_published_is_an_error():
    with pytest.raises(
        SettingsError, match="filter.classes: no class 'caar' in street; did you mean 'car'"
    ):
        open_taxonomy(load_class_map("street")).check(
            NodeSettings(filter=FilterSettings(classes=("caar",)))
        )


def test_a_filter_whose_class_map_names_no_people_is_doubted():
    yard = open_taxonomy(load_class_map(str(REPOSITORY / "config/classes/yard.yaml")))
    doubt = yard.doubt(NodeSettings(filter=FilterSettings(classes=("drivable",))))
    assert "no class of yard is called one of person, two_wheeler" in doubt
    assert yard.doubt(NodeSettings()) == ""
    street = open_taxonomy(load_class_map("street"))
    assert street.doubt(NodeSettings(filter=FilterSettings(classes=("road",)))) == ""
