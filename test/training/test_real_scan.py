"""Real scans of SemanticKITTI (skipped where there are none), and the benchmark that learns one
by heart.
"""

import pytest
from builders.commands import own_images, tiny_flagship, train, trained_on
from builders.paths import DATA, load_script

from cmdfusion_ros.class_map import load_class_map


@pytest.fixture(scope="module")
def by_heart():
    return load_script("benchmarks/by_heart.py")


@pytest.fixture
def real_data():
    if not (DATA / "semantickitti" / "sequences" / "00").is_dir():
        pytest.skip(f"needs {DATA / 'semantickitti'}; set CMDFUSION_DATA")
    return DATA


def test_training_on_real_scans_starts_from_one_command(real_data, tmp_path):
    data = {"root": "semantickitti", "sequences": ["00"], "images": True}
    recipe = {
        **own_images({**data, "first_scan": 1, "last_scan": 2}),
        "class_map": "semantic_kitti",
        "model": tiny_flagship(voxel_size=0.4),
        "augment": {"sector": 120.0, "yaw": 180.0},
    }
    train(recipe, real_data, tmp_path)
    assert trained_on(tmp_path)[0]["trained_on"] == [
        "semantic_kitti/00/000001",
        "semantic_kitti/00/000002",
    ]


@pytest.mark.parametrize("method", ["cmdfusion", "u2mkd", "m2skd", "flagship"])
def test_the_benchmark_follows_every_term_of_a_method(by_heart, street_data, tmp_path, method):
    where = {"sequence": "01", "scan": 4, "steps": 3, "every": 2, "strides": (1, 2)}
    if method in by_heart.TEACHER_OF:
        list(by_heart.learn(by_heart.TEACHER_OF[method], street_data / "kitti", tmp_path, **where))
    rows = list(by_heart.learn(method, street_data / "kitti", tmp_path, **where))
    assert [row["step"] for row in rows] == [2, 3] and all(
        0 <= row["accuracy"] <= 1 for row in rows
    )
    pairs = [value for name, value in rows[0].items() if name.endswith("pairs")]
    assert len(pairs) == len(by_heart.METHODS[method]["distill"]) and all(
        number > 20 for number in pairs
    )
    assert (tmp_path / f"{method}.safetensors").exists()


def test_the_part_ahead_is_what_the_benchmark_shows(by_heart, street_data):
    recipe = by_heart.recipe_of("m2skd", "01", 1, 0.01, (1, 2))
    scans = recipe.open_training(street_data / "kitti", load_class_map("semantic_kitti"))
    frame = by_heart.Sector(scans)[4]
    assert (
        0 < frame.num_points < scans[4].num_points
        and (frame.points[:, 0] >= abs(frame.points[:, 1])).all()
    )
