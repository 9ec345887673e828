"""Tables of pandas are read; what else a pickle asks for is not run."""

import gzip
import os
import pickle

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
