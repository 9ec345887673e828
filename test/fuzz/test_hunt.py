"""Twenty thousand hostile inputs for all doors; and the hunt itself finds what it is to find."""

import subprocess
import sys
from pathlib import Path

import pytest
from fuzz import hunt as hunting
from fuzz.traps import WRONG, fresh, hunt_growing, hunt_refusing, hunt_wrong

HUNT = Path(hunting.__file__)
CASES = 20_000


def test_no_door_falls_in_twenty_thousand_cases(tmp_path):
    """A minute of CPU at most; `make fuzz` goes on from here with a million, chosen by coverage."""
    command = [sys.executable, str(HUNT), "--cases", str(CASES), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    texts = [path.read_text() for path in (tmp_path / "out").rglob("*.txt")]
    assert done.returncode == 0, "\n".join([done.stdout, done.stderr, *texts[:3]])
    cases = int(done.stdout.splitlines()[-1].split()[0])
    assert abs(cases - CASES) <= 20


@pytest.mark.parametrize("what", WRONG)
def test_what_a_door_must_not_do_is_found_and_its_input_kept(what, tmp_path):
    """The third case does it; those before and after are counted as taken."""
    found = fresh(hunt_wrong, what, tmp_path / "out")
    assert found["cases"] == 6 and found["taken"] == 5 and found["refused"] == 0
    assert len(found["kinds"]) == 1 and found["kinds"][0].startswith(WRONG[what][1])
    assert (tmp_path / "out" / f"{found['kinds'][0]}.bin").read_bytes() == b"bad!"


def test_a_process_that_grows_is_found(tmp_path):
    assert fresh(hunt_growing, tmp_path / "out")["kinds"] == ["growth"]


def test_what_is_declared_is_no_fall_and_the_same_seed_gives_the_same_inputs(tmp_path):
    seen = []
    for _ in range(2):
        found = fresh(hunt_refusing, tmp_path / "seen", tmp_path / "out")
        assert found["refused"] == 20 and not found["kinds"]
        seen.append((tmp_path / "seen").read_bytes())
        (tmp_path / "seen").unlink()
    assert seen[0] == seen[1] and len(set(seen[0].split())) == 20
