"""What a GPU makes of the networks, as one table to send: the weights that ship from a Frame to its
labels, U-Nets, and the networks of recipes forward and as a training step, in float32 and 16 bits,
our backends beside one another and beside spconv and torchsparse where they are installed, and
what a CUDA graph makes of the parts that can be one.

Made-up clouds; everything runs in this process on one card, in turn; medians of wall time, the GPU
waited for. `check`: labels equal to those of plain torch, or an engine's largest difference from
it. A way that cannot run here is left out and named. --device cpu runs the same code without a
card.
"""

import argparse
import functools
import importlib.metadata
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cmdfusion_ros import __version__
from cmdfusion_ros.batch import make_batch
from cmdfusion_ros.cli.benches import unets
from cmdfusion_ros.cli.benches.clouds import clouds_of
from cmdfusion_ros.cli.benches.peers import SpconvEngine, peer_engines, run_on
from cmdfusion_ros.cli.runs.figures import write_figures
from cmdfusion_ros.cli.runs.options import use_threads
from cmdfusion_ros.cli.runs.processes import find_config
from cmdfusion_ros.config import ModelConfig
from cmdfusion_ros.data.synthetic.rendering import render_frames
from cmdfusion_ros.data.synthetic.sequence import SequenceSettings
from cmdfusion_ros.frame import Frame
from cmdfusion_ros.inference import Segmenter
from cmdfusion_ros.models import build_network, grid_of
from cmdfusion_ros.sparse.backends import BACKENDS, problem_with, use_backend
from cmdfusion_ros.sparse.cpu import FoldedConv
from cmdfusion_ros.sparse.tensor import SparseTensor
from cmdfusion_ros.sparse.voxelise import voxelise
from cmdfusion_ros.training.recipe import load_recipe

SIZES = (34_000, 120_000)
RIGS = ("kitti", "pandaset")
RECIPES = ("flagship_nano", "flagship_small", "flagship_base")
NUM_CLASSES = 12
VOXEL_SIZE = 0.1  # metres, of the U-Nets
WARM_UP = 3  # calls of each way that do not count: kernels are compiled, block sizes chosen
COLUMNS = ("case", "input", "way", "precision", "ms", "check")
LIBRARIES = ("triton", "torchsparse", "spconv", "spconv-cu118", "spconv-cu121", "spconv-cu124",
             "spconv-cu126")  # fmt: skip
Row = dict[str, Any]  # of COLUMNS
Ways = dict[str, Callable[[], Any]]


class TritonEngine(unets.TorchEngine):
    """`sparse.triton_backend`, bias, skip and activation in the kernel."""

    name = "triton"

    def conv(
        self, name: str, kind: str, x: SparseTensor, slope: float | None, skip: SparseTensor | None
    ) -> SparseTensor:
        from cmdfusion_ros.sparse.triton_backend import convolve  # not on every machine

        weight, bias = self._weights[name].weight, self._weights[name].bias
        kernel_map = unets.kernel_map_of(kind, x.maps, x.stride)
        given = None if skip is None else skip.features
        features = convolve(x.features, weight, kernel_map, bias, given, slope)
        stride = unets.OUT_STRIDE[kind](x.stride)
        return SparseTensor(features, x.maps.voxel_coords(stride), stride, x.maps)


def run(args: argparse.Namespace) -> int:
    """Measure, print a line of the table after the other, write JSON; returns 0.

    Raises:
        ValueError: there is no CUDA device, and --device does not say cpu. FileNotFoundError: no
            such recipe.
    """
    use_threads(args)
    device = torch.device("cuda" if args.device == "auto" else args.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"bench gpu: expected a CUDA device, torch {torch.__version__} sees none; run it on a "
            "machine with a card and torch for CUDA (`cmdfusion bench sparse` and `inference` "
            "measure a CPU)"
        )
    models = {Path(name).stem: load_recipe(_recipe(name)).model for name in args.recipes}
    facts, rows = _facts(device), []
    print("\n".join(f"{name}: {value}" for name, value in facts.items()))
    print(_line(COLUMNS) + "\n" + _line("---" for _ in COLUMNS))
    clouds = clouds_of(args, SIZES[0])
    for row in _rows(clouds, args.rigs, models, args.repeats, device):
        rows.append(row)
        print(_line("" if row[name] is None else row[name] for name in COLUMNS), flush=True)
        write_figures(args.json, {**facts, "rows": rows})  # kept if the next one fails
    return 0


def _rows(clouds, rigs, models, repeats, device) -> Iterator[Row]:
    frames = [
        (f"{len(points)} points", Frame(points.astype(np.float32), np.zeros(len(points), "f4")))
        for _, points in clouds
    ]
    for rig in rigs:
        (frame,) = render_frames(0, "bench", 1, SequenceSettings(rig=rig, weather="day"), "street")
        frames.append((f"{frame.num_points} points, {len(frame.views)} cameras", frame))
    yield from label_rows(frames, repeats, device)
    for _, points in clouds:
        yield from unet_rows(points, repeats, device)
    for name, config in models.items():
        for what, frame in frames:
            yield from network_rows(name, config, what, frame, repeats, device)


def label_rows(frames: list, repeats: int, device: torch.device) -> Iterator[Row]:
    """The weights that ship, from a Frame in memory to its labels in memory."""
    segmenters = {
        backend: Segmenter(device=str(device), backend=backend, images="on", precision="auto")
        for backend in _backends(device, training=False)
    }
    for what, frame in frames:
        answers = {backend: each.segment(frame).labels for backend, each in segmenters.items()}
        ways: Ways = {b: functools.partial(s.segment, frame) for b, s in segmenters.items()}
        for way, ms in median_ms(ways, repeats, device).items():
            same = 100 * float((answers[way] == answers["torch"]).mean())
            precision = segmenters[way].precision
            yield _row("shipped, label", what, way, precision, ms, f"{same:.2f} % the same")


def unet_rows(points: np.ndarray, repeats: int, device: torch.device) -> Iterator[Row]:
    """The U-Nets of `bench sparse`: with their kernel maps, with these held, and as a graph."""
    (voxels,) = voxelise(points, np.zeros(len(points), np.int64), VOXEL_SIZE)
    coords = torch.from_numpy(voxels.voxel_coords).to(device)
    engines: list[Any] = [unets.TorchEngine, TritonEngine]
    engines += [SpconvEngine] if SpconvEngine in peer_engines()[0] else []
    for name, unet in unets.UNETS.items():
        for dtype in (torch.float32, torch.float16):
            weights = {
                layer: FoldedConv(folded.weight.to(device, dtype), folded.bias.to(device, dtype))
                for layer, folded in unets.random_weights(unets.layers_of(unet)).items()
            }
            generator = torch.Generator().manual_seed(0)
            features = torch.randn(len(coords), unets.IN_CHANNELS, generator=generator)
            features = features.to(device, dtype)
            ways: Ways = {}
            for engine_class in engines:
                engine, held = engine_class(weights, 1), engine_class(weights, 1)
                ways[engine.name] = functools.partial(
                    unets.run_unet, engine, unet, coords, features
                )
                try:
                    start = held.begin(coords, features)
                except Exception:
                    continue  # named below, by the way that begins too
                held.begin = functools.partial(_given, start)
                same = functools.partial(unets.run_unet, held, unet, coords, features)
                ways[f"{engine.name}, maps held"] = same
                ways[f"{engine.name}, CUDA graph"] = same
            with torch.no_grad():
                ways = _that_run(ways, f"U-Net {name}, {_short(dtype)}", device)
                answers = {way: call() for way, call in ways.items() if "graph" not in way}
                times = median_ms(ways, repeats, device)
            largest = answers["torch"].float().abs().max()
            for way, ms in times.items():
                check = None
                if way in answers:
                    wrong = (answers[way].float() - answers["torch"].float()).abs().max() / largest
                    check = f"{float(wrong):.1e} off"
                what = f"{len(coords)} voxels"
                yield _row(f"U-Net {name}", what, way, _short(dtype), ms, check)


def network_rows(
    name: str, config: ModelConfig, what: str, frame: Frame, repeats: int, device: torch.device
) -> Iterator[Row]:
    """A network with random weights: forward, a training step, its image encoder and that as a
    CUDA graph; 16 bits by autocast.
    """
    backends = _backends(device, training=True)
    for half in (False, True):
        ways: Ways = {}
        for backend in backends:
            network = use_backend(_network(config, device), backend)
            ways[f"{backend}, forward"] = functools.partial(
                forward, network.eval(), frame, config, half
            )
            other = use_backend(_network(config, device), backend).train()
            ways[f"{backend}, step"] = functools.partial(step, other, frame, config, half)
        if SpconvEngine in peer_engines()[0] and not half:
            peer = run_on(SpconvEngine, _network(config, device).eval(), 1)
            ways["spconv, forward"] = functools.partial(forward, peer, frame, config, half)
        if frame.views:
            ways |= _image_ways(_network(config, device).eval(), frame, config, half)
        short = "bfloat16 steps, else float16" if half else "float32"
        ways = _that_run(ways, f"{name}, {what}, {short}", device)
        for way, ms in median_ms(ways, repeats, device).items():
            precision = ("bfloat16" if "step" in way else "float16") if half else "float32"
            yield _row(name, what, way, precision, ms, None)


def _image_ways(network, frame, config, half) -> Ways:
    """The image encoder alone, on the images as the network scales them: the part of a network
    whose shapes are the same for every frame of a rig.
    """
    if not hasattr(network, "images"):
        return {}
    seen: list[tuple] = []
    hook = network.images.register_forward_pre_hook(lambda _, given: seen.append(given))
    forward(network, frame, config, False)
    hook.remove()
    inputs = [tuple(each.clone() for each in given) for given in seen]

    def encode():
        with torch.no_grad(), _autocast(inputs[0][0].device, torch.float16, half):
            for given in inputs:
                network.images(*given)

    return {"image encoder": encode, "image encoder, CUDA graph": encode} if inputs else {}


def forward(network: Any, frame: Frame, config: ModelConfig, half: bool) -> None:
    """Frame -> logits, without gradients."""
    device = next(network.parameters()).device
    with torch.no_grad(), _autocast(device, torch.float16, half):
        network(make_batch([frame], grid_of(config), device))


def step(network: Any, frame: Frame, config: ModelConfig, half: bool) -> None:
    """Forward and backward."""
    device = next(network.parameters()).device
    with _autocast(device, torch.bfloat16, half):
        output = network(make_batch([frame], grid_of(config), device))
    output.row_logits.float().square().mean().backward()
    network.zero_grad()


def median_ms(ways: Ways, repeats: int, device: torch.device) -> dict[str, float]:
    """{way: median milliseconds}, all ways in turn after WARM_UP calls of each."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats + WARM_UP):
        for name, way in ways.items():
            _wait(device)
            started = time.perf_counter()
            way()
            _wait(device)
            if turn >= WARM_UP:
                taken[name].append(1e3 * (time.perf_counter() - started))
    return {name: round(statistics.median(values), 3) for name, values in taken.items()}


def _that_run(ways: Ways, what: str, device: torch.device) -> Ways:
    """Those of `ways` that run here, CUDA graphs captured; the others are named with why not."""
    found: Ways = {}
    for name, way in ways.items():
        try:
            call = _captured(way, device) if name.endswith("CUDA graph") else way
            call()
            _wait(device)
            found[name] = call
        except Exception as error:  # of any library: the table goes on without it
            print(f"{what}: {name} left out, {type(error).__name__}: {error}"[:200], flush=True)
    return found


def _captured(way: Callable[[], Any], device: torch.device) -> Callable[[], Any]:
    """`way` as a CUDA graph, which launches all its kernels at once."""
    if device.type != "cuda":
        raise RuntimeError("graphs need CUDA")
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            way()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = way()
    return functools.partial(_replay, graph, kept)


def _replay(graph, kept):
    """Run a graph; `kept` is the memory that it writes to."""
    graph.replay()
    return kept


def _given(start, *_):
    return start


def _backends(device, training):
    """Names of those that run on this device, "torch" first."""
    return [name for name in BACKENDS if problem_with(name, device, training) is None]


def _network(config, device):
    torch.manual_seed(0)
    return build_network(config, NUM_CLASSES).to(device)


def _autocast(device, dtype, enabled):
    return torch.autocast(device.type, dtype, enabled=enabled)


def _wait(device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _short(dtype):
    return str(dtype).removeprefix("torch.")


def _recipe(name):
    """The file of a recipe: `name` itself, or that of config/train."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else find_config(f"train/{name}.yaml")
    if path is None:
        raise FileNotFoundError(
            f"--recipes {name}: expected a .yaml file or a name of config/train, such as "
            f"{RECIPES[0]}"
        )
    return path


def _facts(device):
    """What the table was measured with, as text."""
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else "none: a CPU"
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    libraries = ", ".join(f"{name} {version}" for name, version in versions.items())
    return {
        "card": card,
        "cmdfusion": __version__,
        "torch": f"{torch.__version__}, CUDA {torch.version.cuda}",
        "libraries": libraries or "none",
    }


def _row(case, what, way, precision, ms, check) -> Row:
    return dict(zip(COLUMNS, (case, what, way, precision, ms, check), strict=True))


def _line(cells):
    return "| " + " | ".join(str(cell) for cell in cells) + " |"
