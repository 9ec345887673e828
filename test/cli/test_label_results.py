"""`cmdfusion label --page --sheet --cloud-files`: what is made of the labels besides the bag."""

import cv2
import numpy as np
import pytest
from builders.commands import cmdfusion
from builders.drives import write_lane_bag

from cmdfusion_ros.data.bags.bag import read_labelled_clouds
from cmdfusion_ros.data.readers.cloud_files import read_cloud_file
from cmdfusion_ros.labelling.offline import LABELLED_TOPIC


@pytest.fixture(scope="module")
def lane(tmp_path_factory):
    return write_lane_bag(tmp_path_factory.mktemp("drive") / "lane", 3)


def label(lane, out, *more):
    return cmdfusion("label", lane, "--out", out / "labelled", "--device", "cpu", *more)


@pytest.mark.parametrize("kind", ["ply", "las"])
def test_each_labelled_cloud_becomes_a_file_with_the_bags_points_and_labels(lane, tmp_path, kind):
    clouds = tmp_path / "clouds"
    assert label(lane, tmp_path, "--cloud-files", clouds, "--cloud-files-as", kind) == 0
    published = list(read_labelled_clouds(tmp_path / "labelled", LABELLED_TOPIC))
    assert len(published) == 3
    files = sorted(clouds.iterdir())
    assert [path.name for path in files] == [f"{stamp}.{kind}" for stamp, _ in published]
    for path, (_, columns) in zip(files, published, strict=True):
        points = np.stack([columns[axis] for axis in "xyz"], axis=1)
        content = path.read_bytes()
        if kind == "ply":
            row = [("xyz", "<f8", 3), ("i", "<f4"), ("rgb", "u1", 3), ("label", "<u2"),
                   ("confidence", "<f4")]  # fmt: skip
            made = np.frombuffer(content.partition(b"end_header\n")[2], np.dtype(row))
            np.testing.assert_array_equal(made["xyz"], points)
            np.testing.assert_array_equal(made["label"], columns["label"])
            np.testing.assert_array_equal(made["confidence"], columns["confidence"])
        else:
            made, _ = read_cloud_file(path)
            np.testing.assert_allclose(made, points, atol=0.001)
            start = int(np.frombuffer(content, "<u4", 1, 96)[0])  # LAS 1.2: where points begin
            rows = np.frombuffer(content[start:], np.uint8).reshape(3000, 26)
            raw = rows[:, 18:20].copy().view("<u2")[:, 0]  # the point source id
            np.testing.assert_array_equal(raw, columns["label"])


def test_page_and_sheet_show_all_clouds(lane, tmp_path, capsys):
    page, sheet = tmp_path / "page.html", tmp_path / "sheet.png"
    assert label(lane, tmp_path, "--page", page, "--sheet", sheet) == 0
    assert "3 of 3 clouds to turn" in capsys.readouterr().out
    assert page.read_text().count('"points":') == 3
    assert cv2.imread(str(sheet)).shape == (720, 720, 3)


@pytest.mark.parametrize(
    "option, name, says",
    [
        ("--page", "page.png", "ends in .html"),
        ("--sheet", "sheet.jpg", "ends in .png"),
        ("--rrd", "drive.rerun", "ends in .rrd"),
        ("--sheet", "there.png", "exists"),
        ("--cloud-files", "there", "exists"),
        ("--page", "nowhere/page.html", "make it first"),
        ("--page", "labelled/page.html", "lies in --out"),
    ],
)
def test_what_cannot_be_written_is_refused_before_the_labelling(
    lane, tmp_path, capsys, option, name, says
):
    (tmp_path / "there.png").write_bytes(b"mine")
    (tmp_path / "there").mkdir()
    assert label(lane, tmp_path, option, tmp_path / name) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "labelled").exists()
    assert (tmp_path / "there.png").read_bytes() == b"mine"
