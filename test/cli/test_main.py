"""The command line: verbs are found, imported only when asked for, and their errors are one line
with exit code 2.
"""

import os
import subprocess
import sys

import pytest

from cmdfusion_ros import __version__
from cmdfusion_ros.cli import main as cli


def test_help_names_every_verb_and_imports_none(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert all(verb in text for verb in cli.VERBS)
    code = """
import sys
from cmdfusion_ros.cli.main import main
try:
    main(["--help"])
except SystemExit:
    print("torch" in sys.modules, "numpy" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False False"


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_has_a_parser_with_help(verb, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([verb, "--help"])
    assert stop.value.code == 0 and f"cmdfusion {verb}" in capsys.readouterr().out


def test_no_verb_shows_the_help_and_an_unknown_one_names_the_known(capsys):
    assert cli.main([]) == 2
    assert "VERB" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        cli.main(["dance"])
    assert stop.value.code == 2 and "'demo'" in capsys.readouterr().err


def test_the_version_is_the_packages(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out.strip() == f"cmdfusion {__version__}"


def test_wrong_input_is_one_line_and_exit_code_2_and_the_traceback_is_there_if_asked_for(
    tmp_path, capsys
):
    assert cli.main(["label", str(tmp_path / "nothing"), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert (
        error.count("\n") == 1
        and error.startswith("cmdfusion label: bag ")
        and "there is nothing" in error
    )
    assert (
        cli.main(
            ["--traceback", "label", str(tmp_path / "nothing"), "--out", str(tmp_path / "out")]
        )
        == 2
    )
    assert "Traceback" in capsys.readouterr().err


def test_a_bug_shows_its_traceback_and_ctrl_c_says_interrupted(monkeypatch, capsys):
    from cmdfusion_ros.cli import doctor

    def fail(args):
        raise KeyError("a bug")

    def interrupt(args):
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "run", fail)
    assert cli.main(["doctor"]) == 1
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setattr(doctor, "run", interrupt)
    assert cli.main(["doctor"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_the_node_without_ros_says_how_to_get_it():
    """In an interpreter of its own: this one may have loaded the node's modules already."""
    script = """
import sys
sys.modules["rclpy"] = None
from cmdfusion_ros.cli.node import main
sys.exit(main([]))
"""
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert told.returncode == 2 and not told.stdout
    assert "needs ROS 2" in told.stderr and "pip install 'cmdfusion_ros[ros]'" in told.stderr
    assert len(told.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("variables", "kept"),
    [
        ({}, "2000 None"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "None ACTIVE"),
        ({"GOMP_SPINCOUNT": "7"}, "7 None"),
    ],
)
def test_threads_that_wait_leave_the_core_to_others(variables, kept):
    """Set before torch is there to read it; what the user set stays."""
    names = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    clean = {name: value for name, value in os.environ.items() if name not in names}
    script = (
        "import sys, os, cmdfusion_ros; assert 'torch' not in sys.modules; "
        "print(os.environ.get('GOMP_SPINCOUNT'), os.environ.get('OMP_WAIT_POLICY'))"
    )
    told = subprocess.run(
        [sys.executable, "-c", script],
        env={**clean, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.strip() == kept
