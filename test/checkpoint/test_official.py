"""Official checkpoints against a copy of the published form that reads the authors' tensors as
spconv and torch do. Made up, in exactly their layout.
"""

import json
import sys
import types

import numpy as np
import pytest
import torch
from torch.nn.functional import batch_norm, conv3d, leaky_relu, linear

from cmdfusion_ros.batch import make_batch
from cmdfusion_ros.checkpoint.file import CheckpointError, load_checkpoint
from cmdfusion_ros.checkpoint.official import import_official
from cmdfusion_ros.cli import main as cli
from cmdfusion_ros.frame import Frame
from cmdfusion_ros.inference import Segmenter
from cmdfusion_ros.models import grid_of
from cmdfusion_ros.models.resnet import ResNet

C = 6
pytestmark = pytest.mark.usefixtures("one_torch_thread")


def norm(rng, channels):
    values = {
        name: torch.from_numpy(rng.normal(0, 0.5, channels).astype(np.float32))
        for name in ("weight", "bias", "running_mean")
    }
    values["running_var"] = torch.from_numpy(rng.uniform(0.5, 2, channels).astype(np.float32))
    return {**values, "num_batches_tracked": torch.tensor(10)}


def layer(rng, *shape, bias=True):
    fan_in = int(np.prod(shape[1:]))
    weight = torch.from_numpy(rng.normal(0, fan_in**-0.5, shape).astype(np.float32))
    return (
        {
            "weight": weight,
            "bias": torch.from_numpy(rng.normal(0, 0.3, shape[0]).astype(np.float32)),
        }
        if bias
        else {"weight": weight}
    )


def official_tensors(num_blocks=4, num_outputs=20):
    """The layout of the authors' files, few channels, of the image network what its names need."""
    rng = np.random.default_rng(0)
    parts = {
        "model_3d.voxel_3d_generator.PPmodel.0": layer(rng, C, 10),
        "model_3d.voxel_3d_generator.PPmodel.2": layer(rng, C, C),
    }
    for branch in "LC":
        for i in range(num_blocks):
            block = f"model_3d.spv_enc_{branch}.{i}"
            for b in range(2):
                parts[f"{block}.v_enc.{b}.layers_in.0"] = layer(rng, C, 1, 1, 1, C, bias=False)
                parts[f"{block}.v_enc.{b}.layers_in.1"] = norm(rng, C)
                for k in (0, 3):
                    parts[f"{block}.v_enc.{b}.layers.{k}"] = layer(rng, C, 3, 3, 3, C, bias=False)
                    parts[f"{block}.v_enc.{b}.layers.{k + 1}"] = norm(rng, C)
            parts[f"{block}.p_enc.layer_in.0"] = layer(rng, C, C)
            for k, (rows, columns) in {0: (C // 2, C), 3: (C // 2, C // 2), 6: (C, C // 2)}.items():
                parts[f"{block}.p_enc.PPmodel.{k}"] = layer(rng, rows, columns)
            parts[f"{block}.p_enc.PPmodel.2"], parts[f"{block}.p_enc.PPmodel.5"] = (
                norm(rng, C // 2),
                norm(rng, C // 2),
            )
            parts[f"{block}.p_enc.layer_out.0"], parts[f"{block}.p_enc.layer_out.2"] = (
                layer(rng, C, 2 * C),
                layer(rng, C, C),
            )
    for i in range(num_blocks):
        for suffix in ("", "_2"):
            parts[f"fusion.leaners{suffix}.{i}.0"] = layer(rng, C, C)
            parts[f"fusion.fcs1{suffix}.{i}.0"], parts[f"fusion.fcs2{suffix}.{i}.0"] = (
                layer(rng, C, 2 * C),
                layer(rng, C, 2 * C),
            )
        parts[f"fusion.multihead_3d_classifier.{i}.0"] = layer(rng, 128, C)
        parts[f"fusion.multihead_3d_classifier.{i}.2"] = layer(rng, num_outputs, 128)
        parts[f"upsamplenet.down{min(i, 3)}"] = layer(
            rng, C, (256, 512, 1024, 2048)[min(i, 3)], 1, 1, bias=False
        )
    for head in ("model_3d.classifier", "fusion.classifier", "fusion.classifier_2"):
        parts[f"{head}.0"], parts[f"{head}.2"] = (
            layer(rng, 128, C * num_blocks),
            layer(rng, num_outputs, 128),
        )
    tensors = {
        f"{module}.{name}": tensor
        for module, values in parts.items()
        for name, tensor in values.items()
    }
    tensors["model_3d.criterion.ce_loss.weight"] = torch.full((num_outputs,), torch.inf)
    with torch.device("meta"):
        names = list(ResNet(18).state_dict())
    return tensors | {f"model_2d.{name}": torch.zeros(1) for name in names}


def write(path, tensors, monkeypatch):
    """As PyTorch Lightning 1.3 wrote them: settings of a class that is not installed here, a
    class as a key.
    """
    module = types.ModuleType("easydict")
    module.EasyDict = type("EasyDict", (dict,), {"__module__": "easydict"})
    module.ModelCheckpoint = type("ModelCheckpoint", (), {"__module__": "easydict"})
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "easydict", module)
        hyper = {"config": module.EasyDict(gpu=[0], model_params=module.EasyDict(hiden_size=C))}
        torch.save(
            {
                "epoch": 1,
                "state_dict": tensors,
                "callbacks": {module.ModelCheckpoint: {}},
                "hyper_parameters": hyper,
            },
            path,
        )
    return path


@pytest.fixture
def official(tmp_path, monkeypatch):
    return write(tmp_path / "official.ckpt", official_tensors(), monkeypatch)


class Published:
    """The published form on points, from the authors' tensors. Voxels are those of
    our batch.
    """

    def __init__(self, tensors, batch, strides):
        self.tensors, self.batch, self.strides = tensors, batch, strides

    def linear(self, name, x):
        return linear(x, self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"])

    def norm(self, name, x):
        get = self.tensors.get
        return batch_norm(
            x,
            get(f"{name}.running_mean"),
            get(f"{name}.running_var"),
            get(f"{name}.weight"),
            get(f"{name}.bias"),
            eps=1e-5,
        )

    def conv(self, name, x, coords):
        """spconv on a dense (z, y, x) volume: a (out, kz, ky, kx, in) kernel is conv3d's (out,
        in, kz, ky, kx).
        """
        weight = self.tensors[f"{name}.weight"]
        if weight.shape[1] == 1:
            return x @ weight.reshape(C, C)  # what spconv does with a 1x1x1 kernel
        low = coords[:, 1:].min(0).values
        z, y, x_index = (coords[:, 1:] - low).long().flip(1).T
        dense = torch.zeros(C, int(z.max()) + 1, int(y.max()) + 1, int(x_index.max()) + 1)
        dense[:, z, y, x_index] = x.T
        return conv3d(dense[None], weight.permute(0, 4, 1, 2, 3), padding=1)[0][:, z, y, x_index].T

    def embedded(self):
        batch, scale = self.batch, self.batch.scale(1)
        index = scale.point_to_voxel
        mean = means(batch.points, index)[index]
        corner = scale.voxel_coords[index, 1:] * batch.voxel_size
        x = torch.cat(
            [batch.points, batch.intensity[:, None], batch.points - mean, batch.points - corner], 1
        )
        name = "model_3d.voxel_3d_generator.PPmodel"
        return means(self.linear(f"{name}.2", self.linear(f"{name}.0", x).relu()), index)

    def block(self, name, x, scale, following):
        coords, index = scale.voxel_coords, scale.point_to_voxel
        voxel = x
        for b in range(2):
            path = f"{name}.v_enc.{b}"
            skip = self.norm(f"{path}.layers_in.1", self.conv(f"{path}.layers_in.0", voxel, coords))
            inner = leaky_relu(
                self.norm(f"{path}.layers.1", self.conv(f"{path}.layers.0", voxel, coords)), 0.1
            )
            voxel = leaky_relu(
                self.norm(f"{path}.layers.4", self.conv(f"{path}.layers.3", inner, coords)) + skip,
                0.1,
            )
        both, path = x + voxel, f"{name}.p_enc"
        identity = leaky_relu(self.linear(f"{path}.layer_in.0", both), 0.1)
        groups = torch.unique(
            torch.div(coords[:, 1:], 2, rounding_mode="floor"), dim=0, return_inverse=True
        )[1]
        context = means(both, groups)
        for k in (0, 3):
            context = self.norm(
                f"{path}.PPmodel.{k + 2}",
                leaky_relu(self.linear(f"{path}.PPmodel.{k}", context), 0.1),
            )
        context = leaky_relu(self.linear(f"{path}.PPmodel.6", context), 0.1)[groups]
        on_points = leaky_relu(
            self.linear(f"{path}.layer_out.0", torch.cat([identity, context], 1)[index]), 0.1
        )
        new = means(self.linear(f"{path}.layer_out.2", on_points), following.point_to_voxel)
        return new + means(voxel[index], following.point_to_voxel), new[following.point_to_voxel]

    def logits(self):
        branches = {}
        for branch in "LC":
            x, branches[branch] = self.embedded(), []
            for i, (stride, after) in enumerate(zip(self.strides, self.strides[1:], strict=False)):
                x, z = self.block(
                    f"model_3d.spv_enc_{branch}.{i}",
                    x,
                    self.batch.scale(stride),
                    self.batch.scale(after),
                )
                branches[branch].append(z)
        fused = []
        for i, (target, source) in enumerate(zip(branches["L"], branches["C"], strict=True)):
            h = self.linear(
                f"fusion.fcs1_2.{i}.0",
                torch.cat([target, self.linear(f"fusion.leaners_2.{i}.0", source).relu()], 1),
            )
            gate = torch.sigmoid(
                self.linear(
                    f"fusion.fcs2_2.{i}.0", torch.cat([h, h.mean(0, keepdim=True).expand_as(h)], 1)
                )
            )
            fused.append(target + torch.relu(h * gate))
        return self.linear(
            "fusion.classifier_2.2",
            self.linear("fusion.classifier_2.0", torch.cat(fused, 1)).relu(),
        )


def means(values, index):
    return torch.stack([values[index == row].mean(0) for row in range(int(index.max()) + 1)])


def make_frame(num_points=150):
    rng = np.random.default_rng(3)
    return Frame(
        rng.normal(0, 0.6, (num_points, 3)).astype(np.float32),
        rng.random(num_points, dtype=np.float32),
    )


@pytest.mark.parametrize(
    "num_blocks, num_outputs, class_map, full_scale",
    [(4, 20, "semantic_kitti", 1.0), (6, 17, "nuscenes", 255.0)],
)
def test_logits_are_those_of_the_authors_tensors(
    tmp_path, monkeypatch, num_blocks, num_outputs, class_map, full_scale
):
    tensors = official_tensors(num_blocks, num_outputs)
    checkpoint = import_official(write(tmp_path / "official.ckpt", tensors, monkeypatch)).checkpoint
    assert checkpoint.class_map.name == class_map and checkpoint.model_config.channels == C
    frame, config = make_frame(), checkpoint.model_config
    theirs = Frame(frame.points, frame.intensity * np.float32(full_scale))
    with torch.no_grad():
        ours = checkpoint.build_network()(make_batch([frame], grid_of(config))).logits
        truth = Published(tensors, make_batch([theirs], grid_of(config)), config.strides).logits()
    assert ours.shape == (150, num_outputs - 1)
    torch.testing.assert_close(ours, truth[:, 1:], atol=1e-3, rtol=1e-3)


def test_a_transposed_unit_kernel_would_not_go_unnoticed(official):
    """The trap: input and output are equally wide, so only the numbers tell."""
    checkpoint = import_official(official).checkpoint
    network, batch = (
        checkpoint.build_network(),
        make_batch([make_frame()], grid_of(checkpoint.model_config)),
    )
    with torch.no_grad():
        right = network(batch).logits
        for residual in network.lidar.blocks[0].voxel_path:
            residual.skip.weight.copy_(residual.skip.weight.transpose(1, 2).clone())
        assert (network(batch).logits - right).abs().max() > 0.01


def test_the_command_writes_a_checkpoint_that_labels_frames_and_says_what_it_dropped(
    official, tmp_path, capsys
):
    out, report = tmp_path / "network.safetensors", tmp_path / "report.json"
    assert cli.main(["import", str(official), "--out", str(out), "--json", str(report)]) == 0
    text = capsys.readouterr().out
    assert (
        "cmdfusion, semantic_kitti, 6 channels" in text
        and "never trained by the authors" in text
        and "easydict.EasyDict" in text
    )
    values = json.loads(report.read_text())
    assert values["tensors_dropped"] == {
        "fusion.multihead_3d_classifier": 16,
        "model_2d": 120,
        "model_3d.classifier": 4,
        "model_3d.criterion": 1,
        "upsamplenet": 4,
    }
    assert values["tensors_read"] + sum(values["tensors_dropped"].values()) == len(
        official_tensors()
    )
    checkpoint = load_checkpoint(out)
    assert (
        len(checkpoint.card["imported_from"]["sha256"]) == 64
        and "trained_on" not in checkpoint.card
    )
    prediction = Segmenter(checkpoint, device="cpu", cpu_threads=1).segment(make_frame())
    assert prediction.labels.max() < 19
    assert cli.main(["import", str(official), "--out", str(out)]) == 2
    assert "exists; move it away" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change, message",
    [
        (
            lambda tensors: tensors.pop("fusion.fcs1_2.2.0.weight"),
            r"misses 1 tensors \(fusion.fcs1_2.2.0.weight",
        ),
        (
            lambda tensors: tensors.pop("model_3d.voxel_3d_generator.PPmodel.0.weight"),
            "it has no point embedding",
        ),
        (
            lambda tensors: tensors.update({"fusion.classifier_2.2.weight": torch.zeros(12, 128)}),
            r"expected 20 outputs \(SemanticKITTI\) or 17",
        ),
        (
            lambda tensors: tensors.update({"fusion.classifier.0.weight": torch.zeros(128, 5)}),
            r"fusion.classifier.0.weight has shape \(128, 5\)",
        ),
        (
            lambda tensors: tensors.update(
                {"model_3d.spv_enc_C.1.v_enc.0.layers.3.weight": torch.zeros(3, 3, 3, C, C)}
            ),
            r"spv_enc_C.1.v_enc.0.layers.3.weight: expected a kernel \(out, 3, 3, 3, in\), got "
            r"\(3, 3, 3, 6, 6\); another version of spconv",
        ),
        (
            lambda tensors: tensors.update({"model_3d.spv_enc_L.4.x": torch.zeros(1)}),
            "expected encoders of 4 .* or 6 .* blocks, got 5",
        ),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, monkeypatch, change, message):
    tensors = official_tensors()
    change(tensors)
    with pytest.raises(CheckpointError, match=message):
        import_official(write(tmp_path / "official.ckpt", tensors, monkeypatch))


def test_another_file_of_torch_is_refused(tmp_path):
    torch.save({"model": {"x": torch.ones(1)}}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="expected a file of PyTorch Lightning"):
        import_official(tmp_path / "other.pt")
