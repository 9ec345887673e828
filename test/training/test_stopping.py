"""A run that is stopped between two saves, or before the first."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from builders.tiny_training import recipe

from cmdfusion_ros.checkpoint.file import load_checkpoint
from cmdfusion_ros.config import save_settings
from cmdfusion_ros.training.stopping import StopSignals
from cmdfusion_ros.training.trainer import LOG, NETWORK, STATE, Trainer


def test_resuming_a_run_that_saved_nothing_starts_over_and_says_so(data, tmp_path):
    out = tmp_path / "run"
    Trainer(recipe(), data, out)  # killed here: a recipe and a log, no state
    trainer = Trainer(recipe(steps=2), data, out, resume=True)
    assert trainer.starts_over and trainer.step == 0
    trainer.run(progress=False)
    assert not Trainer(recipe(steps=2), data, out, resume=True).starts_over


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_saves_after_the_step_and_the_resumed_run_is_as_if_it_had_not_been(
    data, finished, tmp_path, number
):
    out = tmp_path / "run"
    trainer = Trainer(recipe(), data, out)
    step = trainer._train_step

    def interrupted(weights):
        if trainer.step == 2:
            os.kill(os.getpid(), number)
        return step(weights)

    trainer._train_step = interrupted
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        trainer.run(progress=False)
    assert trainer.step == 3 and signal.getsignal(number) is before
    resumed = Trainer(recipe(), data, out, resume=True)
    assert resumed.step == 3
    resumed.run(progress=False)
    ours, theirs = (load_checkpoint(folder / NETWORK).weights for folder in (out, finished))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_second_ctrl_c_stops_at_once():
    with StopSignals() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.asked
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)


def test_others_may_read_a_checkpoint(finished):
    """As any file that is made here: safetensors alone lets only its owner."""
    plain = finished / "plain"
    plain.touch()
    assert (finished / NETWORK).stat().st_mode == plain.stat().st_mode


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_process_that_is_stopped_before_its_first_save_goes_on_as_it_says(data, tmp_path, number):
    save_settings(recipe(steps=40, save_every=100, validation={}), tmp_path / "recipe.yaml")
    command = [sys.executable, "-m", "cmdfusion_ros", "train", str(tmp_path / "recipe.yaml")]
    command += ["--data", str(data), "--out", str(tmp_path / "run"), "--device", "cpu", "--quiet"]
    log = tmp_path / "run" / LOG
    run = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    while not (log.exists() and len(log.read_text().splitlines()) >= 2):
        assert run.poll() is None, "ended before it was stopped"
        time.sleep(0.005)
    run.send_signal(number)
    told, _ = run.communicate(timeout=60)
    saved = (tmp_path / "run" / STATE).exists()
    again = subprocess.run([*command, "--resume"], capture_output=True, text=True, timeout=100)
    assert again.returncode == 0, again.stderr
    if number == signal.SIGINT:
        assert run.returncode == 130 and saved
        step = int(told.partition("stopped and saved at step ")[2].partition(";")[0])
        assert 2 <= step < 40 and f"{40 - step} steps to go" in again.stdout
    else:
        assert run.returncode == -number and not saved
        assert "40 steps to go" in again.stdout
        assert "stopped before it saved anything; it starts over" in again.stdout
    assert len(log.read_text().splitlines()) == 40
