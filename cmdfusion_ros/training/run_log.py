"""The log of a run: one JSON object a line, and the same for TensorBoard where asked for."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class RunLog:
    """Writes rows with `step` to a file.

    Args:
        path: of the JSON-lines file; appended to.
        board: folder for TensorBoard, or None.

    Raises:
        ModuleNotFoundError: `board` is given and TensorBoard is not installed.
    """

    def __init__(self, path: Path, board: Path | None = None):
        self.path = path
        self._board = None
        if board is not None:
            try:
                from torch.utils.tensorboard import SummaryWriter  # here: an extra that few have
            except ImportError as error:
                raise ModuleNotFoundError(
                    "--tensorboard: tensorboard is not installed; pip install tensorboard, or "
                    "leave the option out"
                ) from error
            self._board = SummaryWriter(str(board))

    def write(self, row: Mapping[str, Any]) -> None:
        """Append one row."""
        with open(self.path, "a") as stream:
            stream.write(json.dumps(row) + "\n")
        if self._board is not None:
            values = row["validation"] | row["validation"]["iou"] if "validation" in row else row
            for key, value in values.items():
                if isinstance(value, (int, float)) and key != "step":
                    self._board.add_scalar(
                        ("validation/" if "validation" in row else "training/") + key,
                        value,
                        row["step"],
                    )
            self._board.flush()

    def cut(self, step: int) -> None:
        """Drop the rows of later steps, which a resumed run will do again, and a line that a
        kill cut short.
        """
        rows = [
            line
            for line in self.path.read_text().splitlines()
            if line.endswith("}") and json.loads(line)["step"] <= step
        ]
        self.path.write_text("".join(f"{line}\n" for line in rows))
