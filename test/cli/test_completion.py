"""`cmdfusion completion`: what a shell completes with the script."""

import shutil
import subprocess
import sys

import pytest
from builders.commands import cmdfusion

pytest.importorskip("shtab", reason="shtab is not installed: pip install '.[completion]'")
ASKED = {
    ("la",): "label",
    ("label", "BAG", "--re"): "--resume",
    ("label", "BAG", "--format", "sem"): "semantickitti",
    ("bench", "prec"): "precision",
    ("bench", "load", "--rig"): "--rigs",
    ("completion", "f"): "fish",
    ("inspect", "recordi"): "recording.mcap",
    ("evaluate", "NETWORK", "--json", "recordi"): "recording.mcap",
    ("evaluate", "NETWORK", "--data", "rec"): "records",
}


def script(shell, folder, capsys):
    """The script, in a file."""
    assert cmdfusion("completion", shell) == 0
    (folder / shell).write_text(capsys.readouterr().out)
    return folder / shell


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working folder, with a file and a folder of which one is to be completed."""
    (tmp_path / "recording.mcap").touch()
    (tmp_path / "records").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_completes_verbs_options_choices_files_and_folders(folder, capsys):
    lines = [f"source {script('bash', folder, capsys)}"]
    for words in ASKED:
        lines += [
            f"COMP_WORDS=(cmdfusion {' '.join(words)})",
            f"COMP_CWORD={len(words)}; COMPREPLY=(); _shtab_cmdfusion 2>/dev/null",
            'echo "${COMPREPLY[*]}"',
        ]
    done = subprocess.run(["bash", "-c", "\n".join(lines)], capture_output=True, text=True)
    assert dict(zip(ASKED, done.stdout.splitlines(), strict=True)) == ASKED


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_completes_them_too(folder, capsys):
    lines = [f"source {script('fish', folder, capsys)}"]
    lines += [f"complete -C 'cmdfusion {' '.join(words)}' | head -1" for words in ASKED]
    done = subprocess.run(["fish", "-c", "\n".join(lines)], capture_output=True, text=True)
    told = [line.split("\t")[0].rstrip("/") for line in done.stdout.splitlines()]
    assert dict(zip(ASKED, told, strict=True)) == ASKED


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_can_read_its_script(folder, capsys):
    assert subprocess.run(["zsh", "-n", script("zsh", folder, capsys)]).returncode == 0


def test_without_shtab_it_says_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "shtab", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert cmdfusion("completion", "bash") == 2
    assert "pip install 'cmdfusion_ros[completion]'" in capsys.readouterr().err
