"""What the pages that verbs write have in common: one HTML file, nothing loaded from elsewhere."""

import base64
import html
from collections.abc import Iterable, Sequence

import cv2
import numpy as np

_STYLE = (
    "body{font:15px sans-serif;max-width:75em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse}td,th{padding:.2em .8em;text-align:right;"
    "border-bottom:1px solid #ddd}td:first-child,th:first-child{text-align:left}"
    "img{max-width:100%}.row{display:flex;gap:.5em}.row figure{margin:0;flex:1}"
    ".row img{width:100%}.note,.bad{background:#fee;padding:.6em}"
    ".good{background:#dfd;padding:.6em}.key span{padding:.1em .5em;margin-right:.3em;color:#fff}"
)


def page_opening(title: str, style: str = "") -> str:
    """The head of a page, and its title as a heading; `style` is CSS beside what all pages have."""
    title = html.escape(title)
    return (
        f"<!doctype html><meta charset=utf-8><title>{title}</title>"
        f"<style>{_STYLE}{style}</style><h1>{title}</h1>"
    )


def html_table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table of cells that are text; without heads where those are empty."""
    head = "".join(f"<th>{html.escape(text)}</th>" for text in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return f"<table>{f'<tr>{head}</tr>' if heads else ''}{body}</table>"


def picture_row(pictures: Iterable[tuple[str, np.ndarray]]) -> str:
    """(caption, (H, W, 3) uint8 RGB) side by side, as JPEGs inside the page."""
    cells = "".join(
        f"<figure><img src='data:image/jpeg;base64,{_jpeg(image)}' alt='{html.escape(name)}'>"
        f"<figcaption>{html.escape(name)}</figcaption></figure>"
        for name, image in pictures
    )
    return f"<div class=row>{cells}</div>"


def _jpeg(image: np.ndarray) -> str:
    _, data = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    return base64.b64encode(data).decode()
