"""Class maps of one's own: files that are read strictly, and fold what shipped maps read."""

import numpy as np
import pytest
import yaml

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.frame import IGNORE_LABEL

CLASSES = [
    {"name": "drivable", "raw": 1, "color": [128, 64, 128]},
    {"name": "vehicle", "raw": 2, "color": [60, 110, 255], "thing": True},
    {"name": "other", "raw": 9, "color": [150, 150, 160]},
]
STREET = load_class_map("street")
ONTO = {
    name: {"road": "drivable", "car": "vehicle", "large_vehicle": "vehicle", "terrain": None}.get(
        name, "other"
    )
    for name in STREET.names
}


def written(tmp_path, **changes):
    values = {"name": "yard", "classes": CLASSES, **changes}
    path = tmp_path / "yard.yaml"
    path.write_text(yaml.safe_dump({key: v for key, v in values.items() if v is not None}))
    return path


def test_own_ids_are_read_without_a_table_and_come_back(tmp_path):
    own = load_class_map(written(tmp_path))
    assert own.names == ("drivable", "vehicle", "other") and own.datasets == ("yard",)
    labels = own.labels_from_raw(np.array([0, 9, 1, 2]), "yard")
    assert labels.tolist() == [IGNORE_LABEL, 2, 0, 1]
    assert own.raw_from_labels(labels).tolist() == [0, 9, 1, 2]
    assert own.thing_labels == (1,) and load_class_map(str(written(tmp_path))) == own
    with pytest.raises(ValueError, match=r"raw ids \[3\] are not in class map yard"):
        own.labels_from_raw(np.array([3]), "yard")


def test_a_file_is_read_anew_when_it_changes(tmp_path):
    assert load_class_map(written(tmp_path)).num_classes == 3
    assert load_class_map(written(tmp_path, classes=CLASSES[:2])).num_classes == 2


def test_through_a_shipped_map_every_set_that_it_reads_is_read(tmp_path):
    own = load_class_map(written(tmp_path, through={"street": ONTO}))
    assert own.datasets == tuple(sorted({"yard", *STREET.folds}))
    for dataset, table in STREET.folds.items():
        raw = np.array(sorted(table))
        street, ours = (each.labels_from_raw(raw, dataset) for each in (STREET, own))
        for label, mine in zip(street, ours, strict=True):
            onto = None if label == IGNORE_LABEL else ONTO[STREET.names[label]]
            assert mine == (IGNORE_LABEL if onto is None else own.label(onto))
    folds = {"pandaset": {7: "drivable"}}
    mixed = load_class_map(written(tmp_path, through={"street": ONTO}, folds=folds))
    assert mixed.folds["pandaset"] == {7: "drivable"}
    assert mixed.folds["semantic_kitti"] == own.folds["semantic_kitti"]


def changed(key, value):
    return {"classes": [{**CLASSES[0], key: value}, *CLASSES[1:]]}


@pytest.mark.parametrize(
    "changes, says",
    [
        ({"name": None}, "'name': expected a str"),
        ({"name": "street"}, "name: street is a map that ships; give yours another name"),
        ({"classes": None}, "'classes': expected a list"),
        ({"classes": []}, "expected 1 to 254 classes, got 0"),
        ({"classes": [{"name": "a", "raw": 1}]}, "class 'a': color missing"),
        ({"classes": [{"color": [1, 2, 3]}]}, "name and raw missing"),
        ({"classes": ["road"]}, "expected name, raw and color of a class, got 'road'"),
        (changed("colour", [1, 2, 3]), r"unknown keys \['colour'\]"),
        (changed("color", [1, 2]), "expected a colour of three whole numbers of 0 to 255"),
        (changed("color", [1, 2, 256]), "expected a colour of three whole numbers of 0 to 255"),
        (changed("color", "red"), "expected a colour of three whole numbers of 0 to 255"),
        (changed("raw", 70000), "a whole number of 0 to 65535, got 70000"),
        (changed("raw", -1), "a whole number of 0 to 65535, got -1"),
        (changed("raw", 1.5), "a whole number of 0 to 65535, got 1.5"),
        (changed("raw", True), "a whole number of 0 to 65535, got True"),
        (changed("raw", 0), "raw id 0 stands for ignore and for a class"),
        (changed("raw", 2), "two classes share a raw"),
        (changed("name", "other"), "two classes share a name"),
        (changed("name", 3), "expected names of 1 to 100 letters"),
        (changed("thing", "yes"), "thing: expected true or false, got 'yes'"),
        ({"ignore_raw": "none"}, "ignore_raw: expected a raw id"),
        ({"fold": {}}, r"unknown keys \['fold'\]"),
        ({"folds": {"pandaset": {7: "raod"}}}, "raw id 7 goes to unknown class 'raod'"),
        ({"folds": {"pandaset": [7]}}, "pandaset: expected a mapping"),
        ({"through": "street"}, "through: expected {name of a shipped class map"),
        ({"through": {"town": ONTO}}, "class map: expected one of nuscenes, pandaset"),
        ({"through": {"street": {**ONTO, "raod": None}}}, "look at raod"),
        ({"through": {"street": {}}}, "expected every class of street once and no other"),
    ],
)
def test_each_wrong_field_is_named_with_the_file(tmp_path, changes, says):
    path = written(tmp_path, **changes)
    with pytest.raises(ValueError, match=says) as error:
        load_class_map(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("text", ["", "[1, 2]", "name: [", "name: a\nname: b\n", "\x00"])
def test_a_file_that_is_no_class_map_is_named(tmp_path, text):
    path = tmp_path / "odd.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match="odd.yaml"):
        load_class_map(path)
    with pytest.raises(ValueError, match="absent.yaml: No such file"):
        load_class_map(tmp_path / "absent.yaml")
