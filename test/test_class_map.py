"""Class maps: every raw id of every dataset has a meaning, and labels survive the way to files
and back.
"""

import json

import numpy as np
import pytest

from cmdfusion_ros.class_map import ClassInfo, ClassMap, load_class_map
from cmdfusion_ros.frame import IGNORE_LABEL

MAPS = ("nuscenes", "pandaset", "semantic_kitti", "street", "waymo")
RAW_IDS = {  # every id that the dataset's files may hold, from its own documentation
    "semantic_kitti": [
        0,
        1,
        10,
        11,
        13,
        15,
        16,
        18,
        20,
        30,
        31,
        32,
        40,
        44,
        48,
        49,
        50,
        51,
        52,
        60,
        70,
        71,
        72,
        80,
        81,
        99,
        *range(252, 260),
    ],
    "nuscenes": list(range(32)),
    "pandaset": list(range(43)),
}


def small_map(**changes):
    classes = (ClassInfo("car", 10, (1, 2, 3), thing=True), ClassInfo("road", 40, (4, 5, 6)))
    values = {"classes": classes, "folds": {"set": {0: None, 10: "car", 40: "road", 60: "road"}}}
    return ClassMap("small", **{**values, **changes})


@pytest.mark.parametrize("dataset", RAW_IDS)
def test_the_street_map_and_the_sets_own_map_cover_every_raw_id(dataset):
    for name in ("street", dataset):
        fold = load_class_map(name).folds[dataset]
        assert set(RAW_IDS[dataset]) <= set(fold), (
            f"{name} lacks {set(RAW_IDS[dataset]) - set(fold)}"
        )
        load_class_map(name).labels_from_raw(np.array(RAW_IDS[dataset]), dataset)


@pytest.mark.parametrize("name", MAPS)
def test_every_class_is_reached_by_some_raw_id(name):
    class_map = load_class_map(name)
    reached = {target for fold in class_map.folds.values() for target in fold.values()}
    assert set(class_map.names) <= reached


# the others publish ids of their own, not those of the set's files
@pytest.mark.parametrize("name", ["street", "semantic_kitti"])
def test_published_ids_read_back_as_the_same_labels(name):
    class_map = load_class_map(name)
    labels = np.array([*range(class_map.num_classes), IGNORE_LABEL], np.uint8)
    assert (class_map.labels_from_raw(class_map.raw_from_labels(labels), name) == labels).all()


@pytest.mark.parametrize("name", MAPS)
def test_a_map_survives_json(name):
    class_map = load_class_map(name)
    again = ClassMap.from_dict(json.loads(json.dumps(class_map.to_dict())))
    assert again == class_map and (again.colors == class_map.colors).all()


def test_the_semantic_kitti_map_has_the_19_classes_of_the_benchmark():
    class_map = load_class_map("semantic_kitti")
    raw = np.array([10, 252, 40, 60, 81, 0, 99, 256])
    assert class_map.num_classes == 19
    assert [
        class_map.names[x] if x != IGNORE_LABEL else None
        for x in class_map.labels_from_raw(raw, "semantic_kitti")
    ] == ["car", "car", "road", "road", "traffic-sign", None, None, "other-vehicle"]


def test_the_nuscenes_map_has_the_16_classes_of_the_challenge():
    class_map = load_class_map("nuscenes")
    raw = np.array([9, 17, 16, 24, 30, 31])
    assert class_map.num_classes == 16
    assert class_map.labels_from_raw(raw, "nuscenes").tolist() == [0, 3, 2, 10, 15, IGNORE_LABEL]


def test_labels_from_raw_by_hand():
    assert small_map().labels_from_raw(np.array([60, 10, 0, 40], np.uint16), "set").tolist() == [
        1,
        0,
        IGNORE_LABEL,
        1,
    ]
    assert small_map().labels_from_raw(np.zeros(0, np.uint16), "set").dtype == np.uint8


@pytest.mark.parametrize("dtype", [np.int64, np.uint32, ">u2", np.int8])
def test_raw_ids_may_be_of_any_integer_dtype(dtype):
    assert small_map().labels_from_raw(np.array([60, 10, 0, 40], dtype), "set").tolist() == [
        1,
        0,
        IGNORE_LABEL,
        1,
    ]


@pytest.mark.parametrize(
    "raw, message",
    [
        (np.array([40, 65536 + 40]), "scan 3: expected raw ids of 0 to 65535, got 40 to 65576"),
        (np.array([40, 40 - 65536]), "scan 3: expected raw ids of 0 to 65535, got -65496 to 40"),
        (
            np.array([40, 10 | 7 << 16], np.uint32),
            "got 40 to 458762; do they hold instance ids too",
        ),
        (
            np.array([40.9, 10.0]),
            "scan 3: expected raw ids of an integer dtype, got float64; are these labels",
        ),
        (np.array([np.nan]), "expected raw ids of an integer dtype, got float64"),
        (np.array([True, False]), "expected raw ids of an integer dtype, got bool"),
    ],
)
def test_what_is_no_raw_id_becomes_no_class(raw, message):
    with pytest.raises(ValueError, match=message):
        small_map().labels_from_raw(raw, "set", where="scan 3")


def test_raw_ids_and_colours_by_hand():
    labels = np.array([1, 0, IGNORE_LABEL], np.uint8)
    assert small_map().raw_from_labels(labels).tolist() == [40, 10, 0]
    assert small_map().colors_from_labels(labels).tolist() == [[4, 5, 6], [1, 2, 3], [90, 90, 90]]
    assert small_map().thing_labels == (0,)


def test_an_unlisted_raw_id_is_an_error_that_names_it():
    with pytest.raises(
        ValueError,
        match=(
            r"scan 3: raw ids \[7, 99\] are not in class map small for set; is the class map "
            r"right\?"
        ),
    ):
        small_map().labels_from_raw(np.array([10, 99, 7]), "set", where="scan 3")


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda: load_class_map("streets"),
            "expected one of nuscenes, pandaset, semantic_kitti, street, waymo, or the path of a "
            ".yaml file, got 'streets'",
        ),
        (
            lambda: small_map().labels_from_raw(np.zeros(1), "waymo"),
            "cannot read labels of 'waymo'; expected one of set",
        ),
        (lambda: small_map().label("bus"), "no class 'bus'; expected one of car, road"),
        (lambda: small_map(classes=()), "expected 1 to 254 classes, got 0"),
        (
            lambda: small_map(
                classes=(ClassInfo("car", 1, (0, 0, 0)), ClassInfo("car", 2, (0, 0, 0)))
            ),
            "two classes share a name",
        ),
        (
            lambda: small_map(
                classes=(ClassInfo("car", 1, (0, 0, 0)), ClassInfo("bus", 1, (0, 0, 0)))
            ),
            "two classes share a raw",
        ),
        (lambda: small_map(ignore_raw=10), "raw id 10 stands for ignore and for a class"),
        (lambda: small_map(folds={"set": {3: "bus"}}), "set: raw id 3 goes to unknown class 'bus'"),
        (
            lambda: ClassMap.from_dict({**small_map().to_dict(), "colours": []}),
            r"unknown keys \['colours'\]",
        ),
    ],
)
def test_a_wrong_class_map_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
