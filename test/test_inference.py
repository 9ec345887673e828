"""The Segmenter: frames in, predictions out, the same as the network says."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from builders.paths import DATA

from cmdfusion_ros import inference
from cmdfusion_ros.batch import make_batch
from cmdfusion_ros.checkpoint.file import Checkpoint, CheckpointError, save_checkpoint
from cmdfusion_ros.checkpoint.temperatures import Temperatures
from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.config import ModelConfig
from cmdfusion_ros.frame import IGNORE_LABEL, CameraView, Frame
from cmdfusion_ros.inference import Segmenter, default_checkpoint_path, images_help
from cmdfusion_ros.models import build_network, grid_of
from cmdfusion_ros.training.provenance import scans_seen

CONFIG = ModelConfig(channels=16, voxel_size=0.5, strides=(1, 2, 4))
STREET = load_class_map("street")


def make_frame(num_points=500, seed=0, **fields):
    rng = np.random.default_rng(seed)
    return Frame(
        rng.normal(0, 4, (num_points, 3)).astype(np.float32),
        rng.random(num_points, dtype=np.float32),
        **fields,
    )


@pytest.fixture(scope="module")
def network():
    """Random weights whose normalisations have seen some data."""
    torch.manual_seed(0)
    network = build_network(CONFIG, STREET.num_classes)
    for seed in range(3):
        network(make_batch([make_frame(seed=seed)], grid_of(CONFIG)))
    return network.eval()


@pytest.fixture(scope="module")
def checkpoint(network):
    return Checkpoint(network.state_dict(), CONFIG, STREET, {"licence": "none"})


@pytest.fixture(scope="module", params=["cpu", "torch"])
def segmenter(checkpoint, request):
    # torch's own threads stall under load
    return Segmenter(
        checkpoint,
        device="cpu",
        backend=request.param,
        cpu_threads=2 if request.param == "cpu" else 1,
        precision="float32",
    )


@pytest.mark.parametrize("num_points", [1, 2, 500, 20_000])
def test_a_prediction_is_the_largest_softmax_of_the_training_form(segmenter, network, num_points):
    frame = make_frame(num_points, seed=9)
    prediction = segmenter.segment(frame)
    with torch.no_grad():
        probabilities = network(make_batch([frame], grid_of(CONFIG))).logits.softmax(1)
    confidence, labels = probabilities.max(1)
    assert np.abs(prediction.confidence - confidence.numpy()).max() < 1e-4
    top = probabilities.sort(1).values
    clear = (top[:, -1] - top[:, -2] > 1e-4).numpy()  # two classes that tie may come either way
    assert (prediction.labels == labels.numpy())[clear].all() and clear.mean() > 0.95


@pytest.mark.parametrize("backend", ["cpu", "torch"])
def test_temperatures_divide_the_logits_of_each_point_and_change_no_label(
    checkpoint, network, backend
):
    # so coarse voxels hold points of many temperatures
    temperatures = Temperatures((2.0, 6.0), (3.0, 0.5))
    options = {"device": "cpu", "backend": backend, "cpu_threads": 1, "precision": "float32"}
    plain, tempered = (
        Segmenter(checkpoint, **options),
        Segmenter(replace(checkpoint, temperatures=temperatures), **options),
    )
    frame = make_frame(5000, seed=9)
    before, (after, raw) = plain.segment(frame), tempered.segment_with_raw(frame)
    np.testing.assert_array_equal(after.labels, before.labels)
    np.testing.assert_array_equal(raw, before.confidence)
    np.testing.assert_array_equal(tempered.segment(frame).confidence, after.confidence)
    distance = np.hypot(frame.points[:, 0], frame.points[:, 1])
    inverse = 1 / 3 + (1 / 0.5 - 1 / 3) * np.clip((distance - 2) / 4, 0, 1)  # by hand
    with torch.no_grad():
        logits = network(make_batch([frame], grid_of(CONFIG))).logits
    wanted = (logits * torch.from_numpy(inverse.astype(np.float32))[:, None]).softmax(1).numpy()
    np.testing.assert_allclose(after.confidence, wanted.max(1), atol=1e-4)
    np.testing.assert_allclose(tempered.probabilities(frame)[0], wanted, atol=1e-4)
    np.testing.assert_array_equal(
        tempered.probabilities(frame, calibrated=False)[0], plain.probabilities(frame)[0]
    )
    np.testing.assert_allclose(
        temperatures.applied_to(plain.probabilities(frame)[0], frame.points), wanted, atol=1e-4
    )
    assert (after.confidence < raw)[distance < 2].all() and (after.confidence > raw)[
        distance > 6
    ].all()
    assert len(tempered.segment(make_frame(0)).confidence) == 0 and tempered.probabilities(
        make_frame(0)
    )[0].shape == (0, STREET.num_classes)


def test_shuffled_points_give_shuffled_labels(segmenter):
    frame = make_frame()
    order = np.random.default_rng(1).permutation(frame.num_points)
    shuffled = segmenter.segment(Frame(frame.points[order], frame.intensity[order]))
    assert (shuffled.labels == segmenter.segment(frame).labels[order]).all()


def test_the_same_frame_gives_the_same_bits_twice(segmenter):
    first, second = segmenter.segment(make_frame()), segmenter.segment(make_frame())
    assert (first.labels == second.labels).all() and (first.confidence == second.confidence).all()


def test_an_empty_frame_gives_an_empty_prediction(segmenter):
    prediction = segmenter.segment(make_frame(0))
    assert len(prediction.labels) == len(prediction.confidence) == len(prediction.camera_mask) == 0


def test_images_change_nothing_and_no_point_claims_to_have_seen_one(segmenter):
    view = CameraView("front", np.zeros((8, 8, 3), np.uint8), np.eye(3), np.eye(4))
    with_view, without = (
        segmenter.segment(make_frame(views=(view,))),
        segmenter.segment(make_frame()),
    )
    assert (with_view.labels == without.labels).all() and not with_view.camera_mask.any()


def test_it_says_what_it_runs_on(segmenter, network):
    assert str(segmenter.device) == "cpu" and segmenter.backend in ("cpu", "torch")
    assert segmenter.class_map == STREET and segmenter.card == {"licence": "none"}
    assert segmenter.num_parameters == sum(p.numel() for p in network.parameters())


def test_it_opens_a_file(network, tmp_path):
    save_checkpoint(tmp_path / "net.safetensors", network, CONFIG, STREET, {})
    assert (
        len(Segmenter(tmp_path / "net.safetensors", device="cpu").segment(make_frame()).labels)
        == 500
    )
    with pytest.raises(FileNotFoundError, match="other.safetensors"):
        Segmenter(tmp_path / "other.safetensors")


def test_cpu_threads_hold_while_a_frame_is_labelled_in_another_thread(checkpoint):
    before, seen = torch.get_num_threads(), []

    def work():
        Segmenter(checkpoint, device="cpu", backend="torch", cpu_threads=3).segment(make_frame())
        seen.append(torch.get_num_threads())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    torch.set_num_threads(before)
    assert seen == [3]


def test_auto_takes_the_inference_form_on_a_cpu_and_its_threads_end_with_it(checkpoint):
    before = set(threading.enumerate())
    segmenter = Segmenter(checkpoint, device="cpu", cpu_threads=3)
    own = set(threading.enumerate()) - before
    assert segmenter.backend == "cpu" and len(own) == 2  # the caller is the third
    del segmenter
    assert not any(thread.is_alive() for thread in own)


def test_callers_in_several_threads_get_their_own_answers(segmenter):
    frames = [make_frame(300 + 100 * i, seed=i) for i in range(4)]
    truth = [segmenter.segment(frame).labels for frame in frames]
    answers = [None] * len(frames)

    def work(i):
        for _ in range(3):
            answers[i] = segmenter.segment(frames[i]).labels

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(frames))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((answer == wanted).all() for answer, wanted in zip(answers, truth, strict=True))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"device": "gpu"}, "device: expected auto, cpu, cuda or cuda:N, got 'gpu'"),
        ({"device": "meta"}, "device: expected auto, cpu, cuda or cuda:N, got 'meta'"),
        (
            {"device": "cuda:99"},
            "device: 'cuda:99' asked for, but torch .* sees [0-9]+ CUDA devices; use auto or cpu",
        ),
        ({"precision": "half"}, "precision: expected auto, float32 or bfloat16, got 'half'"),
        ({"precision": "bfloat16", "backend": "torch"}, "it needs backend cpu, the compiled"),
        ({"backend": "spconv"}, "backend: expected one of auto, .*, got 'spconv'"),
    ],
)
def test_a_wrong_device_or_backend_is_refused(checkpoint, options, message):
    with pytest.raises(ValueError, match=message):
        Segmenter(checkpoint, **options)


def test_weights_that_do_not_fit_are_refused(checkpoint):
    with pytest.raises(CheckpointError, match="does not fit network spv_pyramid"):
        Segmenter(Checkpoint({}, CONFIG, STREET))


def test_a_package_without_weights_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(inference, "__file__", str(tmp_path / "inference.py"))
    with pytest.raises(
        FileNotFoundError,
        match="flagship_nano.safetensors: the package is installed without its weights; reinst",
    ):
        default_checkpoint_path()
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/flagship_nano.safetensors").touch()
    assert default_checkpoint_path() == tmp_path / "weights/flagship_nano.safetensors"


def test_the_shipped_weights_label_a_scan_they_have_not_seen():
    """Frame 76 is 0.4 s after the last training scan, in the same street; most of its points
    must be right, and so must the road.
    """
    data = DATA / "pandaset/002"
    if not data.is_dir():
        pytest.skip(f"no data at {data}; set CMDFUSION_DATA")
    try:
        segmenter = Segmenter(default_checkpoint_path(), device="cpu", cpu_threads=2)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    scan = np.fromfile(data / "velodyne/000076.bin", np.float32).reshape(-1, 4)
    # the low half is the class
    raw = np.fromfile(data / "labels/000076.label", np.uint32).astype(np.uint16)
    truth = STREET.labels_from_raw(raw, "pandaset")
    prediction = segmenter.segment(Frame(scan[:, :3].copy(), scan[:, 3].copy()))
    assert not any("000076" in name for name in scans_seen(segmenter.card))
    right = prediction.labels == truth
    assert right[truth != IGNORE_LABEL].mean() > 0.6
    assert right[truth == STREET.label("road")].mean() > 0.8


def gain_of(mean, low, high, scans=20):
    gain = {"miou": mean, "low": low, "high": high, "classes": ["road"], "scans": scans}
    return {"evaluation": {"image_gain": gain}}


@pytest.mark.parametrize(
    "card, helps",
    [
        ({}, True),
        ({"evaluation": {"image_gain": None}}, True),
        ({"evaluation": {"image_gain": "odd"}}, True),
        (gain_of(0.02, 0.01, 0.03), True),
        (gain_of(-0.01, -0.03, 0.01), True),  # the scans cannot tell
        (gain_of(-0.01, None, None, scans=3), True),
        (gain_of(-0.01, -0.02, -0.005), False),
    ],
)
def test_images_are_looked_at_unless_the_card_says_that_they_make_labels_worse(card, helps):
    config = ModelConfig(
        network="flagship",
        channels=4,
        voxel_size=0.5,
        strides=(1, 2),
        image_size=(64, 32),
        image_width=8,
    )
    torch.manual_seed(0)
    network = build_network(config, STREET.num_classes)
    made = Checkpoint(network.state_dict(), config, STREET, card)
    assert images_help(card)[0] == helps
    optical = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    image, intrinsic = (
        np.random.default_rng(0).integers(0, 255, (48, 64, 3)).astype(np.uint8),
        np.array([[40.0, 0, 31.5], [0, 40, 23.5], [0, 0, 1]]),
    )
    view = CameraView("front", image, intrinsic, optical)
    blind = make_frame(400)
    frame = replace(blind, views=(view,))
    answers = {
        images: Segmenter(made, device="cpu", images=images) for images in ("on", "off", "auto")
    }
    assert [each.uses_images for each in answers.values()] == [True, False, helps]
    assert answers["off"].images_reason == "not looked at: images is off"
    assert (
        "by its card images change mIoU by -1.0 points (-2.0 to -0.5 over 20 scans)"
        in answers["auto"].images_reason
    ) == (not helps)
    seen = {images: each.segment(frame) for images, each in answers.items()}
    alone = answers["on"].segment(blind)
    assert (
        seen["on"].camera_mask.any()
        and not seen["off"].camera_mask.any()
        and seen["auto"].camera_mask.any() == helps
    )
    assert np.array_equal(seen["off"].confidence, alone.confidence) and not np.array_equal(
        seen["on"].confidence, alone.confidence
    )
    with pytest.raises(ValueError, match="images: expected on, off or auto, got 'maybe'"):
        Segmenter(made, images="maybe")
