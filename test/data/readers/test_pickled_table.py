"""Tables of pandas are read; what else a pickle asks for is not run."""

import gzip
import os
import pickle
import struct

import numpy as np
import pytest

from cmdfusion_ros.data.readers.pickled_table import read_pickled_table

pandas = pytest.importorskip("pandas", reason="pandas is not installed: its tables are not read")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("index", [None, [7, 3, 5]])
def test_a_table_comes_back_as_it_was(tmp_path, protocol, index):
    table = pandas.DataFrame(
        {"x": np.arange(3.0), "i": np.float32([1, 2, 3]), "d": np.array([0, 1, 1])}, index=index
    )
    table.to_pickle(tmp_path / "00.pkl.gz", protocol=protocol)
    pandas.testing.assert_frame_equal(read_pickled_table(tmp_path / "00.pkl.gz"), table)


class Command:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "function, argument", [(os.mkdir, "{}"), (eval, "open({!r}, 'w')"), (pandas.eval, "1 + 1")]
)
def test_a_pickle_that_calls_something_else_is_refused_and_nothing_happens(
    tmp_path, function, argument
):
    harm = str(tmp_path / "harm")
    with gzip.open(tmp_path / "00.pkl.gz", "wb") as stream:
        pickle.dump(Command(function, argument.format(harm)), stream)
    with pytest.raises(ValueError, match="no part of a table of numbers"):
        read_pickled_table(tmp_path / "00.pkl.gz")
    assert not os.path.exists(harm)


def test_a_pickle_of_something_else_is_named(tmp_path):
    with gzip.open(tmp_path / "00.pkl.gz", "wb") as stream:
        pickle.dump(np.arange(3), stream)
    with pytest.raises(ValueError, match="expected a table of pandas, got ndarray"):
        read_pickled_table(tmp_path / "00.pkl.gz")


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def name_of(module, name):
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n"


@pytest.mark.parametrize("code", ["O", "O8", "|O", "S8", "U2", "V8", "M8[ns]", "f8,O"])
def test_a_table_that_forges_pointers_is_refused(tmp_path, code):
    """ndarray((1,), dtype('O'), buffer=pointer): allowed names alone, and a forged object."""
    forged = name_of("numpy", "dtype") + text(code) + b"\x85R"
    array = name_of("numpy", "ndarray") + b"(K\x01\x85" + forged
    array += b"\x8e" + struct.pack("<QQ", 8, 0x4141414141414141) + b"tR"
    content = b"\x80\x04" + name_of("pandas", "DataFrame") + array + b"\x85R."
    with gzip.open(tmp_path / "00.pkl.gz", "wb") as stream:
        stream.write(content)
    with pytest.raises(ValueError, match="not readable"):
        read_pickled_table(tmp_path / "00.pkl.gz")


def test_an_array_of_objects_inside_a_true_table_is_refused(tmp_path):
    table = pandas.DataFrame({"x": np.array([object], object)})
    with gzip.open(tmp_path / "00.pkl.gz", "wb") as stream:
        pickle.dump(table, stream)
    with pytest.raises(ValueError, match="no part of a table of numbers|not readable"):
        read_pickled_table(tmp_path / "00.pkl.gz")


def test_every_damaged_byte_gives_a_table_or_a_declared_error(tmp_path):
    content = pickle.dumps(pandas.DataFrame({"x": np.arange(4.0), "d": np.arange(4)}), 4)
    random = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(content)
        for place in random.integers(0, len(content), 3):
            damaged[place] = random.integers(256)
        with gzip.open(tmp_path / "00.pkl.gz", "wb") as stream:
            stream.write(damaged)
        try:
            read_pickled_table(tmp_path / "00.pkl.gz")
        except ValueError as error:
            assert "00.pkl.gz" in str(error)
