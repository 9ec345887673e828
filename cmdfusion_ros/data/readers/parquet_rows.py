"""Single rows of a Parquet file, found by their keys. Needs pyarrow."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any


class ParquetRows:
    """The rows of one file. Opening it reads the keys alone.

    Args:
        path: the file. prefix: what the names of its columns begin with, cut off in what is read.
        keys: names of the columns, with nothing cut off, whose values tell rows apart.
        columns: names of the others that are wanted, without the prefix.

    Attributes:
        keys: {values of the keys: (row group, row in it)}.

    Raises:
        FileNotFoundError, ValueError: no such file; no Parquet; not these columns; equal rows.
        ModuleNotFoundError: pyarrow is not installed.
    """

    def __init__(
        self, path: Path, prefix: str, keys: Sequence[str], columns: Sequence[str]
    ) -> None:
        try:
            from pyarrow import ArrowInvalid, parquet  # an extra, and half a second to import
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"{path}: reading Parquet needs pyarrow; pip install 'cmdfusion_ros[waymo]'"
            ) from error
        self.path, self._prefix, self._broken = path, prefix, (ArrowInvalid, OSError)
        self._names = [prefix + column for column in columns]
        if not path.exists():
            raise FileNotFoundError(f"{path}: is missing; fetch the component {path.parent.name}")
        try:
            self._file = parquet.ParquetFile(path)
        except self._broken as error:
            raise ValueError(
                f"{path}: not readable as Parquet ({error}); fetch it again"
            ) from error
        missing = {*keys, *self._names} - set(self._file.schema_arrow.names)
        if missing:
            raise ValueError(
                f"{path}: has no column {', '.join(sorted(missing))}; is it a file of Waymo's "
                f"version 2? It has {', '.join(self._file.schema_arrow.names[:6])}, ..."
            )
        self.keys: dict[tuple, tuple[int, int]] = {}
        for group in range(self._file.num_row_groups):
            table = self._group(group, list(keys))
            values = zip(*(table.column(key).to_pylist() for key in keys), strict=True)
            for row, key in enumerate(values):
                if key in self.keys:
                    raise ValueError(f"{path}: two rows for {key}; fetch it again")
                self.keys[key] = (group, row)

    def read(self, key: tuple) -> dict[str, Any]:
        """{column without the prefix: value} of one row; lists are numpy arrays, or None.

        Raises:
            ValueError: no such row.
        """
        if key not in self.keys:
            raise ValueError(f"{self.path}: no row for {', '.join(map(str, key))}; fetch it again")
        group, row = self.keys[key]
        table = self._group(group, self._names).slice(row, 1)
        return {
            name.removeprefix(self._prefix): _plain(table.column(name)[0]) for name in self._names
        }

    def _group(self, group: int, names: list[str]) -> Any:
        try:
            return self._file.read_row_group(group, columns=names)
        except self._broken as error:
            raise ValueError(
                f"{self.path}: cut short or damaged ({error}); fetch it again"
            ) from error


def _plain(scalar: Any) -> Any:
    if not scalar.is_valid:
        return None
    values = getattr(scalar, "values", None)
    return scalar.as_py() if values is None else values.to_numpy(zero_copy_only=False)
