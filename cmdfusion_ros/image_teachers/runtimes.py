"""Who computes a 2D network: ONNX Runtime for `.onnx`, LiteRT for `.tflite`. Both are extras."""

import importlib
from pathlib import Path
from typing import Protocol

import numpy as np

SUFFIXES = (".onnx", ".tflite")
ONNX_EXTRA, TFLITE_EXTRA = "onnx", "tflite"  # of setup.py


class Runtime(Protocol):
    """A network of one image in and one map of classes out.

    Attributes:
        input_shape: of four; a size that the network leaves open is None.
        input_dtype: float32, float16, uint8 or int8.
        quantisation: (scale, zero point) of an int8 input, real = scale * (value - zero point).
    """

    input_shape: tuple[int | None, ...]
    input_dtype: np.dtype
    quantisation: tuple[float, int]

    def run(self, batch: np.ndarray) -> np.ndarray:
        """The network's answer to one image of `input_shape` and `input_dtype`."""
        ...


def open_runtime(path: Path, output: int = 0, threads: int = 0) -> Runtime:
    """The Runtime of a network file.

    Args:
        path: a .onnx or .tflite file. output: which of its outputs has the classes.
        threads: CPU threads; 0 = the library's own choice.

    Raises:
        FileNotFoundError: there is no such file. ModuleNotFoundError: the extra is not installed.
        ValueError: another kind of file, one that the library cannot read, or no such output.
    """
    if not path.is_file():
        raise FileNotFoundError(f"teacher {path}: no such file")
    kinds = {".onnx": _OnnxRuntime, ".tflite": _LiteRuntime}
    if path.suffix not in kinds:
        raise ValueError(
            f"teacher {path}: expected a file .onnx or .tflite, got {path.suffix or 'neither'};"
            " export the network first (docs/adapt.md)"
        )
    return kinds[path.suffix](path, output, threads)


class _OnnxRuntime:
    def __init__(self, path: Path, output: int, threads: int):
        library = _extra("onnxruntime", ONNX_EXTRA, path)
        options = library.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            self._session = library.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the library has a dozen kinds, all its own
            raise ValueError(f"teacher {path}: not readable as ONNX: {error}") from error
        first = _chosen(self._session.get_inputs(), 0, path, "inputs")
        outputs = [each.name for each in self._session.get_outputs()]
        self._input, self._output = first.name, _chosen(outputs, output, path, "outputs")
        self.input_shape = tuple(size if isinstance(size, int) else None for size in first.shape)
        name = first.type.removeprefix("tensor(").removesuffix(")")
        try:
            self.input_dtype = np.dtype({"float": "float32"}.get(name, name))
        except TypeError as error:
            raise _wrong_input(path, name) from error
        self.quantisation = (1.0, 0)
        _check_input(self, path)

    def run(self, batch: np.ndarray) -> np.ndarray:
        return self._session.run([self._output], {self._input: batch})[0]


class _LiteRuntime:
    def __init__(self, path: Path, output: int, threads: int):
        library = _extra("ai_edge_litert.interpreter", TFLITE_EXTRA, path)
        try:
            self._interpreter = library.Interpreter(str(path), num_threads=threads or None)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"teacher {path}: not readable as TFLite: {error}") from error
        first = _chosen(self._interpreter.get_input_details(), 0, path, "inputs")
        self._input = first["index"]
        outputs = self._interpreter.get_output_details()
        self._details = _chosen(outputs, output, path, "outputs")
        self.input_shape = tuple(int(size) for size in first["shape"])
        self.input_dtype = np.dtype(first["dtype"])
        self.quantisation = (float(first["quantization"][0]) or 1.0, int(first["quantization"][1]))
        _check_input(self, path)

    def run(self, batch: np.ndarray) -> np.ndarray:
        self._interpreter.set_tensor(self._input, batch)
        self._interpreter.invoke()
        answer = self._interpreter.get_tensor(self._details["index"])
        scale, zero = self._details["quantization"]
        return (answer.astype(np.float32) - zero) * np.float32(scale) if scale else answer


def _check_input(runtime: Runtime, path: Path) -> None:
    shape, dtype = runtime.input_shape, runtime.input_dtype
    if len(shape) != 4 or 3 not in (shape[1], shape[3]) or shape[0] not in (1, None):
        raise ValueError(
            f"teacher {path}: expected an input (1, 3, H, W) or (1, H, W, 3), got {shape}"
        )
    if dtype.name not in ("float32", "float16", "uint8", "int8"):
        raise _wrong_input(path, dtype.name)


def _wrong_input(path: Path, got: str) -> ValueError:
    return ValueError(f"teacher {path}: expected a float or 8-bit input, got {got}")


def _chosen(tensors: list, number: int, path: Path, what: str):
    if number >= len(tensors):
        raise ValueError(f"teacher {path}: has {len(tensors)} {what}, asked for number {number}")
    return tensors[number]


def _extra(module: str, extra: str, path: Path):
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"teacher {path}: reading {path.suffix} needs {module.split('.')[0]}, which is not "
            f"installed; pip install 'cmdfusion_ros[{extra}]'"
        ) from error
