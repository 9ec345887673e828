"""One HTML file in which a person turns labelled clouds, steps through time and sees the cameras;
and the contact sheet: each cloud from above, in one picture.
"""

import base64
import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from cmdfusion_ros.class_map import ClassMap
from cmdfusion_ros.frame import IGNORE_LABEL
from cmdfusion_ros.pictures import bird_eye, view_reach

MAX_SCANS, MAX_POINTS = 40, 900_000  # of a page: 8.4 MB of points in base64
_IMAGE_WIDTH, _JPEG_QUALITY, _TILE = 420, 70, 360  # pixels, percent, pixels
_VIEWER = Path(__file__).parent / "viewer"
_STYLE = (
    "html,body{margin:0;height:100%;background:#14161a;color:#ddd;font:14px sans-serif}"
    "body{display:grid;grid-template:auto 1fr auto/1fr 340px;gap:6px}"
    "header,footer{grid-column:1/3;padding:6px 10px}h1{font-size:16px;margin:0 0 4px}"
    "main{position:relative;overflow:hidden}#cloud{position:absolute;width:100%;height:100%}"
    "#cameras{overflow-y:auto}figure{margin:0 6px 6px 0}#cameras img{width:100%;display:block}"
    "#time{width:40%;vertical-align:middle}label{margin-right:1em;white-space:nowrap}"
    "label span{padding:0 .5em;margin-right:.3em}"
)


@dataclass(frozen=True, eq=False)
class ViewedScan:
    """A labelled cloud and what its cameras saw.

    Attributes:
        name: what the scan is called. mode: how its labels came about, "" where it is not known.
        points: (N, 3) finite float, metres. labels: (N,) uint8 of the page's class map.
        cameras: (caption, (H, W, 3) uint8 RGB with the labels drawn in).
    """

    name: str
    mode: str
    points: np.ndarray
    labels: np.ndarray
    cameras: tuple[tuple[str, np.ndarray], ...] = ()


def write_cloud_page(
    path: str | Path, title: str, scans: Sequence[ViewedScan], class_map: ClassMap
) -> None:
    """Write the page; it loads nothing from elsewhere.

    Of clouds with more than MAX_POINTS points together one point in k is shown, and the page
    says so. Coordinates are kept to 1/32767 of the cloud's half size: 6 mm at 200 m.

    Raises:
        ValueError: no scans.
    """
    if not scans:
        raise ValueError(f"{path}: no labelled scan to show")
    step = -(-sum(len(scan.points) for scan in scans) // MAX_POINTS) or 1
    first = next((scan.points for scan in scans if len(scan.points)), np.zeros((1, 3)))
    centre = np.median(first, axis=0).round()
    everything = {
        "colors": class_map.colors_from_labels(np.arange(256, dtype=np.uint8)).tolist(),
        "centre": centre.tolist(),
        "scans": [_scan(scan, step, centre) for scan in scans],
    }
    content = json.dumps(everything, separators=(",", ":")).replace("<", "\\u003c")
    note = f"; one point in {step} is shown" if step > 1 else ""
    title = html.escape(title)
    Path(path).write_text(
        f"<!doctype html><meta charset=utf-8><title>{title}</title><style>{_STYLE}</style>"
        f"<header><h1>{title}</h1><button id=back>&lt;</button> <button id=on>&gt;</button> "
        "<button id=play>play</button> <input id=time type=range min=0 value=0> "
        "<span id=words></span></header><main><canvas id=cloud></canvas></main>"
        f"<div id=cameras></div><footer><div id=classes>{_classes(scans, class_map)}</div>"
        "point size <input id=size type=range min=1 max=6 value=2> drag: turn; right button: move; "
        f"wheel: nearer; arrow keys: through time{note}</footer>"
        f"<script>{(_VIEWER / 'vendor' / 'three.min.js').read_text()}</script>"
        f"<script>const PAGE={content};</script>"
        f"<script>{(_VIEWER / 'viewer.js').read_text()}</script>\n"
    )


def _scan(scan, step, centre):
    points = scan.points[::step] - centre
    scale = float(np.abs(points).max(initial=0)) / 32767 or 1.0
    whole = np.round(points / scale).astype("<i2")
    return {
        "name": scan.name,
        "mode": scan.mode,
        "scale": scale,
        "points": base64.b64encode(whole.tobytes()).decode(),
        "labels": base64.b64encode(scan.labels[::step].astype(np.uint8).tobytes()).decode(),
        "cameras": [{"name": name, "jpeg": _small(image)} for name, image in scan.cameras],
    }


def _small(image):
    height = max(1, round(image.shape[0] * _IMAGE_WIDTH / image.shape[1]))
    small = cv2.resize(image, (_IMAGE_WIDTH, height), interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", small[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return base64.b64encode(data).decode()


def _classes(scans, class_map):
    """A box to tick for each class that occurs."""
    there = np.unique(np.concatenate([scan.labels for scan in scans]))
    boxes = []
    for label in there:
        name = "unlabelled" if label == IGNORE_LABEL else class_map.names[label]
        red, green, blue = class_map.colors_from_labels(np.array([label], np.uint8))[0]
        boxes.append(
            f"<label><input type=checkbox checked value={label}>"
            f"<span style='background:rgb({red},{green},{blue})'>&nbsp;</span>"
            f"{html.escape(name)}</label>"
        )
    return "".join(boxes)


def contact_sheet(scans: Sequence[ViewedScan], class_map: ClassMap) -> np.ndarray:
    """(H, W, 3) uint8 RGB: each scan from above in class colours, forward up, with its name and
    mode, in rows; all to one scale.

    Raises:
        ValueError: no scans.
    """
    if not scans:
        raise ValueError("contact sheet: no labelled scan to show")
    reach = max(view_reach(scan.points) for scan in scans)
    columns = min(len(scans), max(1, round(np.sqrt(len(scans) * 1.4))))
    sheet = np.zeros((-(-len(scans) // columns) * _TILE, columns * _TILE, 3), np.uint8)
    for place, scan in enumerate(scans):
        tile = bird_eye(scan.points, class_map.colors_from_labels(scan.labels), reach, _TILE)
        for line, words in enumerate((scan.name, scan.mode)):
            cv2.putText(
                tile, words, (8, 18 + 18 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (235,) * 3, 1,
                cv2.LINE_AA,
            )  # fmt: skip
        row, column = divmod(place, columns)
        tile[0], tile[:, 0] = 70, 70  # parts it from its neighbours
        sheet[row * _TILE : (row + 1) * _TILE, column * _TILE : (column + 1) * _TILE] = tile
    return sheet
