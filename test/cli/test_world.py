"""The verb world, from the command line to the files it leaves."""

import cv2
import numpy as np
import pytest
from builders.commands import cmdfusion, own_images, train, trained_on

SMALL = "image_scale: 0.1\nweather: overcast\nworld: {speed: 5.0}\n"


@pytest.fixture
def settings(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return str(path)


def test_it_writes_sequences_a_preview_and_how_often_classes_occur(tmp_path, settings, capsys):
    out = tmp_path / "out"
    assert (
        cmdfusion(
            "world",
            "--out",
            out,
            "--seed",
            "7",
            "--sequences",
            "2",
            "--scans",
            "2",
            "--processes",
            "1",
            "--settings",
            settings,
        )
        == 0
    )
    for name in ("00", "01"):
        folder = out / "sequences" / name
        assert sorted(path.name for path in folder.iterdir()) == [
            "calib.txt",
            "image_2",
            "labels",
            "poses.txt",
            "times.txt",
            "velodyne",
        ]
        assert [path.name for path in sorted((folder / "image_2").iterdir())] == [
            "000000.png",
            "000001.png",
        ]
    first, second = (
        (out / "sequences" / name / "velodyne" / "000000.bin").read_bytes() for name in ("00", "01")
    )
    assert first != second
    picture = cv2.imread(str(out / "preview.png"))
    assert (
        picture.shape == (1080, 1920, 3) and len(np.unique(picture.reshape(-1, 3), axis=0)) > 1000
    )
    printed = capsys.readouterr().out
    shares = {
        words[0]: float(words[1])
        for line in printed.splitlines()
        if line.endswith("%") and len(words := line.split()) == 3
    }
    assert (
        len(shares) == 19
        and sum(shares.values()) == pytest.approx(100, abs=0.02)
        and shares["road"] > 5
    )


def test_the_knob_for_rare_things_and_the_rig_beat_the_file_and_images_can_be_left_out(
    tmp_path, settings, monkeypatch
):
    from cmdfusion_ros.cli import world

    seen = []
    monkeypatch.setattr(
        world,
        "write_folders",
        lambda out, seed, names, scans, settings, images, workers: (
            seen.append((settings, images)) or iter(())
        ),
    )
    monkeypatch.setattr(world, "draw_preview", lambda *args: None)
    monkeypatch.setattr(world, "class_shares", lambda *args: {})
    assert (
        cmdfusion(
            "world",
            "--out",
            tmp_path / "out",
            "--rare",
            "3",
            "--rig",
            "nuscenes",
            "--no-images",
            "--settings",
            settings,
        )
        == 0
    )
    ((made, images),) = seen
    assert (
        made.world.rare == 3.0
        and made.world.speed == 5.0
        and made.rig == "nuscenes"
        and made.weather == "overcast"
        and not images
    )


def test_a_bag_holds_the_clouds_and_all_cameras(tmp_path, settings):
    pytest.importorskip("rosbags", reason="rosbags is not installed")
    from cmdfusion_ros.data.bags.bag_layout import inspect_bag

    assert (
        cmdfusion(
            "world",
            "--out",
            tmp_path / "out",
            "--rig",
            "demo",
            "--scans",
            "2",
            "--bags",
            "--processes",
            "1",
            "--settings",
            settings,
        )
        == 0
    )
    layout = inspect_bag(tmp_path / "out" / "00")
    assert len(layout.cameras) == 6 and not (tmp_path / "out" / "sequences").exists()


def test_a_network_trains_on_what_it_wrote_from_one_command_more(tmp_path, settings):
    words = ("--scans", "1", "--processes", "1", "--settings", settings)
    assert cmdfusion("world", "--out", tmp_path / "street", *words) == 0
    data = {"root": "street", "called": "made_up", "sequences": ["00"], "images": True}
    train(own_images(data), tmp_path, tmp_path)
    figures, rows = trained_on(tmp_path)
    assert figures["trained_on"] == ["made_up/00/000000"]
    assert len(rows) == 2 and all(row["own_images.pairs"] > 100 for row in rows)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scans", "0"], "at least 1 sequence of 1 scan, got 0, 1, 0"),
        (["--seed", "-1"], "expected a seed of at least 0"),
        (["--processes", "0"], "--processes 0: expected 1 or more"),
    ],
)
def test_wrong_numbers_are_refused(tmp_path, capsys, arguments, message):
    assert cmdfusion("world", "--out", tmp_path / "out", *arguments) == 2
    assert message in capsys.readouterr().err


def test_a_misspelt_setting_is_named(tmp_path, capsys):
    (tmp_path / "wrong.yaml").write_text("wether: night\n")
    words = ("--out", tmp_path / "out", "--settings", tmp_path / "wrong.yaml")
    assert cmdfusion("world", *words) == 2
    assert "wether: unknown setting; did you mean 'weather'" in capsys.readouterr().err
