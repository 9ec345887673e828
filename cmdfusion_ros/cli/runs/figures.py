"""--json FILE: the figures that a verb prints, as one JSON value in a file."""

import argparse
import json
import math
import os
from pathlib import Path
from typing import Any


def add_json_option(parser: argparse.ArgumentParser, what: str = "the figures") -> None:
    parser.add_argument("--json", metavar="FILE", help=f"write {what} here too, as JSON")


def check_figures_place(path: str | None) -> None:
    """Refuse before the work what would fail after it.

    Raises:
        IsADirectoryError: a folder is there. PermissionError: nothing can be written there.
    """
    if path is None:
        return
    if Path(path).is_dir():
        raise IsADirectoryError(f"--json {path}: is a folder; expected a file to write")
    folder = Path(path).resolve().parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise PermissionError(f"--json {path}: cannot be written to {folder}; choose another place")


def write_figures(path: str | None, figures: Any) -> None:
    """Write plain values as JSON, and make the folder; nothing where `path` is None. A float that
    is no number becomes null, for JSON knows none.
    """
    if path is not None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(json.dumps(_plain(figures), indent=1, allow_nan=False) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
