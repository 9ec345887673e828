"""What adaptation did to a network, as one HTML page: figures, and pictures before and after."""

import html
from pathlib import Path

import numpy as np

from cmdfusion_ros.adaptation.adapt import DrivePlan
from cmdfusion_ros.class_map import ClassMap
from cmdfusion_ros.evaluation.html_parts import page_opening, picture_row
from cmdfusion_ros.frame import IGNORE_LABEL
from cmdfusion_ros.inference import Segmenter
from cmdfusion_ros.pictures import bird_eye, draw_labels, view_reach

_SCANS, _SIZE = 3, 700  # pictures of so many scans, pixels


def write_page(
    path: Path,
    result: dict,
    plans: list[DrivePlan],
    before: Segmenter,
    after: Segmenter,
    teacher: str,
) -> None:
    """Write the page.

    Args:
        result: better, why, shares, before, after: as `cmdfusion adapt --json` writes them.
        before, after: the network then and now. teacher: name of its file.
    """
    class_map = before.class_map
    drives = ", ".join(f"{p.drive.name} ({len(p.drive)} scans)" for p in plans)
    parts = [
        page_opening(f"adapt: {drives}"),
        f"<p class={'good' if result['better'] else 'bad'}>{html.escape(result['why'])}</p>",
        f"<p>Teacher: {html.escape(teacher)}. Poses: "
        f"{html.escape(', '.join(p.drive.odometry for p in plans))}. Of the points to learn, "
        + ", ".join(f"{name} {100 * part:.0f} %" for name, part in result["shares"].items())
        + ".</p>",
        _table(result, class_map),
        f"<h2>Scans that were held out</h2>{_key(class_map)}",
    ]
    for plan, index in _chosen(plans):
        parts.append(_scan(plan, index, before, after))
    path.write_text("\n".join(parts) + "\n")


def _table(result: dict, class_map: ClassMap) -> str:
    """Agreement with the teacher, and truth on made-up streets, before and after."""
    head = "<tr><th><th colspan=2>drive, against the teacher<th colspan=2>made-up streets</tr>"
    head += "<tr><th>%" + 2 * "<th>before<th>after" + "</tr>"
    rows = [("mean IoU", "mean"), ("accuracy", "accuracy")]
    rows += [(name, name) for name in class_map.names]
    body = ""
    for title, key in rows:
        cells = [
            (result[when][where] if key in ("mean", "accuracy") else result[when][where]["iou"])
            for where in ("drives", "streets")
            for when in ("before", "after")
        ]
        values = [cell.get(key) for cell in cells]
        shown = "".join(f"<td>{'-' if v is None else f'{100 * v:.1f}'}" for v in values)
        body += f"<tr><td>{html.escape(title)}{shown}</tr>"
    return f"<table>{head}{body}</table>"


def _chosen(plans: list[DrivePlan]) -> list[tuple[DrivePlan, int]]:
    judges = [(plan, index) for plan in plans for index in plan.judges]
    places = np.linspace(0, len(judges) - 1, min(_SCANS, len(judges))).round().astype(int)
    return [judges[place] for place in sorted(set(places.tolist()))]


def _scan(plan: DrivePlan, index: int, before: Segmenter, after: Segmenter) -> str:
    frame, class_map = plan.drive.read(index), before.class_map
    taught, _ = plan.taught.read(index)
    bare = plan.drive.read(index, images=False)
    answers = {
        "teacher": taught,
        "before": before.segment(bare).labels,
        "after": after.segment(bare).labels,
    }
    reach = view_reach(frame.points)
    known = taught != IGNORE_LABEL
    pictures = [
        (
            name,
            bird_eye(frame.points[rows], class_map.colors_from_labels(labels[rows]), reach, _SIZE),
        )
        for name, labels in answers.items()
        for rows in [known if name == "teacher" else np.ones(len(labels), bool)]
    ]
    blocks = f"<h3>{html.escape(plan.drive.names[index])}</h3>{picture_row(pictures)}"
    if frame.views:
        view = frame.views[0]
        overlays = [
            (f"{view.name}: {name}", draw_labels(view, frame.points, labels, class_map)[0])
            for name, labels in answers.items()
        ]
        blocks += picture_row(overlays)
    return blocks


def _key(class_map: ClassMap) -> str:
    spans = "".join(
        f"<span style='background:rgb{tuple(int(c) for c in each.color)}'>{each.name}</span>"
        for each in class_map.classes
    )
    return f"<p class=key>{spans}</p>"
