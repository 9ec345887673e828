"""The page of labelled clouds, read back and looked at in a browser; and the contact sheet."""

import base64
import json
import re
import shutil
import subprocess

import cv2
import numpy as np
import pytest

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.evaluation import cloud_page
from cmdfusion_ros.evaluation.cloud_page import ViewedScan, contact_sheet, write_cloud_page
from cmdfusion_ros.frame import IGNORE_LABEL

STREET = load_class_map("street")
BROWSERS = ("chromium", "chromium-headless-shell", "google-chrome", "chromium-browser")


def wall(label, mode="FUSED", away=(8.0, 0.0, 0.0), name="a wall"):
    """A wall of 8 m by 8 m, 8 m ahead, all of one class, with a camera that sees grey."""
    y, z = (each.ravel() for each in np.meshgrid(np.arange(-4, 4, 0.1), np.arange(-4, 4, 0.1)))
    points = np.column_stack([np.zeros(len(y)), y, z]).astype(np.float32) + np.float32(away)
    labels = np.full(len(points), STREET.label(label) if isinstance(label, str) else label)
    grey = np.full((60, 100, 3), 128, np.uint8)
    return ViewedScan(name, mode, points, labels.astype(np.uint8), (("front  6,400 points", grey),))


def content_of(page):
    return json.loads(re.search(r"<script>const PAGE=(.*?);</script>", page.read_text())[1])


def test_the_page_holds_points_to_its_step_and_labels_as_they_are(tmp_path):
    scans = [wall("car"), wall("vegetation", "LIDAR ONLY", away=(150.0, 20, 3))]
    write_cloud_page(tmp_path / "page.html", "two walls", scans, STREET)
    content = content_of(tmp_path / "page.html")
    for scan, made in zip(scans, content["scans"], strict=True):
        whole = np.frombuffer(base64.b64decode(made["points"]), "<i2").reshape(-1, 3)
        places = whole * made["scale"] + content["centre"]
        assert np.abs(places - scan.points).max() < 0.004
        labels = np.frombuffer(base64.b64decode(made["labels"]), np.uint8)
        np.testing.assert_array_equal(labels, scan.labels)
        assert made["mode"] == scan.mode
    assert content["colors"][STREET.label("car")] == list(STREET.classes[STREET.label("car")].color)


def test_a_cloud_300_km_from_its_origin_keeps_its_shape(tmp_path):
    scan = wall("car", away=(300_000.0, 5_000_000.0, 0))
    write_cloud_page(tmp_path / "page.html", "far", [scan], STREET)
    content = content_of(tmp_path / "page.html")
    assert content["scans"][0]["scale"] < 0.001
    assert content["centre"][:2] == [300_000.0, 5_000_000.0]


def test_of_many_points_one_in_k_is_shown_and_the_page_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(cloud_page, "MAX_POINTS", 5000)
    write_cloud_page(tmp_path / "page.html", "many", [wall("car"), wall("car")], STREET)
    labels = base64.b64decode(content_of(tmp_path / "page.html")["scans"][0]["labels"])
    assert len(labels) == -(-6400 // 3)  # 12,800 points, 5,000 allowed
    assert "one point in 3 is shown" in (tmp_path / "page.html").read_text()


def test_the_page_loads_nothing_from_elsewhere_and_obeys_no_name(tmp_path):
    evil = wall("car", name="</script><script>alert(1)</script>")
    write_cloud_page(tmp_path / "page.html", "<b>evil</b>", [evil], STREET)
    text = (tmp_path / "page.html").read_text()
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", text)
    assert "alert(1)</script>" not in text and "<b>evil" not in text
    assert content_of(tmp_path / "page.html")["scans"][0]["name"] == evil.name
    assert text.count("</script>") == 3
    assert "MIT License, Copyright" in text


def test_no_scans_and_empty_clouds(tmp_path):
    with pytest.raises(ValueError, match="no labelled scan"):
        write_cloud_page(tmp_path / "page.html", "none", [], STREET)
    with pytest.raises(ValueError, match="no labelled scan"):
        contact_sheet([], STREET)
    empty = ViewedScan("empty", "", np.zeros((0, 3), np.float32), np.zeros(0, np.uint8))
    write_cloud_page(tmp_path / "page.html", "empty", [empty], STREET)
    assert content_of(tmp_path / "page.html")["scans"][0]["points"] == ""
    assert contact_sheet([empty], STREET).shape == (360, 360, 3)


def test_the_sheet_shows_each_scan_in_its_colours_in_order():
    sheet = contact_sheet([wall("car"), wall("vegetation"), wall(IGNORE_LABEL)], STREET)
    assert sheet.shape == (720, 720, 3)
    car, green = (STREET.classes[STREET.label(name)].color for name in ("car", "vegetation"))
    first, second = sheet[:360, :360], sheet[:360, 360:]
    assert (first == car).all(-1).any() and not (second == car).all(-1).any()
    assert (second == green).all(-1).any() and not (first == green).all(-1).any()
    assert not sheet[360:, 360:].any()  # no fourth


@pytest.fixture(scope="module")
def browser():
    found = next((path for path in map(shutil.which, BROWSERS) if path), None)
    if not found:
        pytest.skip(f"needs a browser: one of {', '.join(BROWSERS)}")
    words = ["--headless", "--no-sandbox", "--use-angle=swiftshader", "--window-size=900,600"]
    words += ["--enable-unsafe-swiftshader", "--hide-scrollbars", "--virtual-time-budget=5000"]

    def run(*more):
        done = subprocess.run([found, *words, *more], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_a_browser_draws_each_scan_in_class_colours_with_mode_and_camera(browser, tmp_path):
    scans = [wall("car"), wall("vegetation", "LIDAR ONLY", name="another")]
    page, shot = tmp_path / "page.html", tmp_path / "shot.png"
    write_cloud_page(page, "two walls", scans, STREET)
    counts = {}
    for number in (1, 2):
        browser(f"--screenshot={shot}", f"{page.as_uri()}#{number}")
        picture = cv2.imread(str(shot))[80:500, :550, ::-1]  # the cloud, without the legend
        for name in ("car", "vegetation"):
            color = np.array(STREET.classes[STREET.label(name)].color)
            counts[number, name] = int((np.abs(picture - color.astype(int)).max(-1) <= 2).sum())
    assert counts[1, "car"] > 2000 and counts[2, "vegetation"] > 2000, counts
    assert counts[1, "vegetation"] == counts[2, "car"] == 0, counts
    text = browser("--dump-dom", f"{page.as_uri()}#2")
    assert "2 of 2 · another · LIDAR ONLY · 6400 points" in text
    assert "<figcaption>front  6,400 points</figcaption>" in text


def test_in_a_browser_buttons_step_and_boxes_hide_classes(browser, tmp_path):
    page = tmp_path / "page.html"
    write_cloud_page(page, "two", [wall("car"), wall("vegetation", name="another")], STREET)
    label = STREET.label("vegetation")
    clicks = (
        "<script>at('on').click();const seen=at('words').textContent;"
        f"document.querySelector('#classes input[value=\"{label}\"]').click();"
        "document.title=seen+' | '+at('words').textContent;at('on').click();"
        "document.title+=' | '+at('words').textContent</script>"
    )
    page.write_text(page.read_text() + clicks)
    title = re.search(r"<title>(.*?)</title>", browser("--dump-dom", page.as_uri()))[1]
    assert title == (
        "2 of 2 · another · FUSED · 6400 points | 2 of 2 · another · FUSED · 0 points | "
        "1 of 2 · a wall · FUSED · 6400 points"
    )
