#!/usr/bin/env python3
"""Runs the cells of docs/library.ipynb and keeps what they print and draw in it.

    python docs/make_notebook.py

Plain Python and matplotlib; nothing of Jupyter is needed.
"""

import base64
import contextlib
import io
import json
from pathlib import Path
from typing import Any
from unittest import mock

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

NOTEBOOK = Path(__file__).with_name("library.ipynb")


def outputs_of(source: str, names: dict[str, Any]) -> list[dict[str, Any]]:
    """What a cell prints and draws, as a notebook has it; `names` are those of the cells so far."""
    pictures = []

    def show(*_: Any, **__: Any) -> None:
        stream = io.BytesIO()
        plt.savefig(stream, format="png", dpi=80, bbox_inches="tight")
        plt.close("all")
        pictures.append(base64.b64encode(stream.getvalue()).decode())

    with contextlib.redirect_stdout(io.StringIO()) as printed, mock.patch.object(plt, "show", show):
        exec(compile(source, NOTEBOOK.name, "exec"), names)
    text = printed.getvalue()
    outputs = [{"name": "stdout", "output_type": "stream", "text": text}] if text else []
    return outputs + [
        {"data": {"image/png": picture}, "metadata": {}, "output_type": "display_data"}
        for picture in pictures
    ]


def main() -> None:
    notebook = json.loads(NOTEBOOK.read_text())
    names: dict[str, Any] = {}
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, cell in enumerate(cells, 1):
        cell["outputs"] = outputs_of("".join(cell["source"]), names)
        cell["execution_count"] = number
    NOTEBOOK.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
