"""A GPU that fails: the CPU labels, it is said, and the device is asked again."""

import types

import numpy as np
import pytest

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.config import LiveSettings, SettingsError
from cmdfusion_ros.frame import Frame, Prediction
from cmdfusion_ros.labelling import model
from cmdfusion_ros.labelling.device_fallback import DeviceFallback, is_device_error
from cmdfusion_ros.labelling.diagnostics.camera_diagnostics import OK, WARN
from cmdfusion_ros.labelling.diagnostics.facts import GraphFacts, NodeFacts
from cmdfusion_ros.labelling.diagnostics.node_diagnostics import NodeDiagnostics
from cmdfusion_ros.labelling.sections import ModelSettings
from cmdfusion_ros.labelling.settings import node_settings

torch = pytest.importorskip("torch")

FRAME = Frame(np.zeros((3, 3), np.float32), np.zeros(3, np.float32))
OUT_OF_MEMORY = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
LOST = RuntimeError("CUDA error: unspecified launch failure\nCUDA kernel errors might be ...")


class Network:
    """Labels every point with `label`, or raises `error` where there is one."""

    def __init__(self, label, device="cuda"):
        self.label, self.device, self.error, self.asked = label, torch.device(device), None, 0
        self.class_map = load_class_map("street")

    def segment(self, frame):
        self.asked += 1
        if self.error:
            raise self.error
        ones = np.ones(frame.num_points)
        return Prediction(
            (self.label * ones).astype(np.uint8), ones.astype("f4"), np.zeros(len(ones), "u4")
        )


class Machine:
    """A GPU that labels 1, a CPU that labels 2, and a clock."""

    def __init__(self):
        self.now, self.opened = 0.0, 0
        self.gpu, self.cpu = Network(1), Network(2, "cpu")
        self.segmenter = DeviceFallback(self.gpu, self._open, lambda: self.now)

    def _open(self):
        self.opened += 1
        return self.cpu

    def label(self):
        """The label of the next cloud, a tenth of a second later."""
        self.now += 0.1
        return int(self.segmenter.segment(FRAME).labels[0])


@pytest.mark.parametrize("error", [OUT_OF_MEMORY, LOST, RuntimeError("Triton Error [CUDA]: lost")])
def test_the_cpu_labels_while_the_device_fails_and_the_device_once_it_answers(error):
    it = Machine()
    assert it.label() == 1 and it.segmenter.trouble == "" and it.opened == 0
    it.gpu.error = error
    assert [it.label() for _ in range(30)] == [2] * 30  # no cloud is lost
    assert "labelling on the CPU" in it.segmenter.trouble and "\n" not in it.segmenter.trouble
    assert "cuda failed" in it.segmenter.trouble and it.opened == 1
    it.gpu.error = None
    again = [it.label() for _ in range(60)]
    assert again[-1] == 1 and again == sorted(again, reverse=True) and it.segmenter.trouble == ""


def test_a_device_that_is_lost_is_asked_ever_more_seldom():
    it = Machine()
    it.gpu.error = LOST
    for _ in range(3000):
        assert it.label() == 2
    # at 0, 1, 3, 7, 15, 31, 63 seconds, then once a minute for the rest of five
    assert it.gpu.asked == 7 + 3


def test_an_error_of_the_input_is_raised_and_leaves_the_device_alone():
    it = Machine()
    for error in (ValueError("points beyond the grid"), RuntimeError("shapes (3, 4) and (5)")):
        it.gpu.error = error
        with pytest.raises(type(error), match=str(error)[:6]):
            it.label()
    assert it.opened == 0 and it.segmenter.trouble == ""
    assert not is_device_error(ValueError("CUDA")) and is_device_error(OUT_OF_MEMORY)


def test_diagnostics_warn_while_the_cpu_stands_in():
    diagnostics = NodeDiagnostics(LiveSettings(node_settings({})))
    diagnostics.model = model.ModelInfo("x.safetensors", "", "cuda", "triton", "off", 1, 1.0)

    def shown(trouble):
        facts = NodeFacts("active", True, GraphFacts(), {}, None, {}, device_trouble=trouble)
        return next(part for part in diagnostics.parts(facts) if part.name == "model")

    assert shown("").level == OK
    assert (shown("cuda failed").level, shown("cuda failed").message) == (WARN, "cuda failed")


# ---- opening


def opened(monkeypatch, tmp_path, fail_on=""):
    """open_segmenter with a Segmenter that fails on a device."""
    from cmdfusion_ros import inference
    from cmdfusion_ros.checkpoint import file

    def make(checkpoint, device, backend, cpu_threads, images, precision):
        network = Network(1, "cuda" if device == "auto" else device)
        network.error = OUT_OF_MEMORY if network.device.type == fail_on else None
        network.segment_with_raw = lambda frame: (None, network.segment(frame).confidence)
        network.backend, network.images_reason, network.num_parameters = backend, "", 5
        network.precision = precision
        network.uses_images = False
        return network

    monkeypatch.setattr(inference, "Segmenter", make)
    monkeypatch.setattr(file, "load_checkpoint", lambda path: types.SimpleNamespace(sha256="ab"))
    return model.open_segmenter(ModelSettings(checkpoint=str(tmp_path / "x.safetensors")))


def test_a_network_on_a_gpu_gets_the_cpu_behind_it(monkeypatch, tmp_path):
    segmenter, info = opened(monkeypatch, tmp_path)
    assert isinstance(segmenter, DeviceFallback) and info.device == "cuda"
    assert segmenter.class_map is segmenter.segmenter.class_map
    segmenter.segmenter.error = LOST
    assert segmenter.segment(FRAME).labels.tolist() == [1, 1, 1]
    assert segmenter._on_cpu.device.type == "cpu"


def test_a_gpu_that_fails_at_once_is_refused_with_a_way_out(monkeypatch, tmp_path):
    with pytest.raises(SettingsError, match=r"model.device: .*OutOfMemoryError.*model.device cpu"):
        opened(monkeypatch, tmp_path, fail_on="cuda")
