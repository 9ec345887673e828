"""`cmdfusion bench`: what things cost on this machine. sparse: sparse convolution, beside other
libraries; gpu: all of it on a CUDA card, as one table to send; inference: from a frame to its
labels, by stage; precision: bfloat16 beside float32; node: the running node, message to message;
load: the node at rising rates, to past what it can.
"""

import argparse
import os

from cmdfusion_ros.cli.benches import gpu as bench_gpu
from cmdfusion_ros.cli.benches import inference as bench_inference
from cmdfusion_ros.cli.benches import load as bench_load
from cmdfusion_ros.cli.benches import node as bench_node
from cmdfusion_ros.cli.benches import precision as bench_precision
from cmdfusion_ros.cli.benches import sparse as bench_sparse
from cmdfusion_ros.cli.benches.unets import UNETS
from cmdfusion_ros.cli.runs.figures import add_json_option
from cmdfusion_ros.cli.runs.options import add_compute_options, add_data_options
from cmdfusion_ros.inference import default_checkpoint_path

_AS_WRITTEN = argparse.RawDescriptionHelpFormatter
_EXAMPLES = {
    "sparse": (
        "cmdfusion bench sparse",
        "cmdfusion bench sparse --sizes 30000 --networks small --json sparse.json",
    ),
    "gpu": (
        "cmdfusion bench gpu --json gpu.json",
        "cmdfusion bench gpu --sizes 34000 --rigs pandaset --recipes flagship_base",
    ),
    "inference": (
        "cmdfusion bench inference",
        "cmdfusion bench inference --rigs pandaset --json stages.json --picture stages.png",
    ),
    "precision": (
        "cmdfusion bench precision",
        "cmdfusion bench precision --data street --sequences 00 --json precision.json",
    ),
    "node": (
        "cmdfusion bench node",
        "cmdfusion bench node --bag demo_output/street --hz 5 --stages --json node.json",
    ),
    "load": (
        "cmdfusion bench load --hz 2 5 10 --cameras 0 6",
        "cmdfusion bench load --rigs nuscenes --json load.json --picture load.png",
    ),
}


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        "bench",
        help="measure speed",
        description=__doc__,
        examples=("cmdfusion bench inference", "cmdfusion bench load --hz 2 5 --seconds 5"),
    )
    kinds = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    _add_sparse(kinds)
    _add_gpu(kinds)
    _add_inference(kinds)
    _add_precision(kinds)
    _add_node(kinds)
    _add_load(kinds)
    return parser


def _add_kind(kinds, name, what, module, num_points):
    """The parser of `cmdfusion bench NAME`, with the options that all kinds have."""
    parser = kinds.add_parser(
        name,
        help=what,
        description=module.__doc__,
        formatter_class=_AS_WRITTEN,
        examples=_EXAMPLES[name],
    )
    _add_clouds(parser, num_points)
    return parser


def _add_clouds(parser, default):
    parser.add_argument(
        "--cloud",
        action="append",
        default=[],
        metavar="FILE[:COLUMNS]",
        help=(
            "float32 points to measure on, x y z first, COLUMNS numbers each (default 4; nuScenes "
            "has 5); may be given several times"
        ),
    )
    parser.add_argument(
        "--sizes",
        type=int,
        nargs="*",
        metavar="N",
        help=f"measure on made-up streets of about N points (default: {default} without --cloud)",
    )
    add_json_option(parser, "what was measured")


def _add_sparse(kinds):
    parser = _add_kind(kinds, "sparse", "sparse convolution on the CPU", bench_sparse, 100_000)
    parser.add_argument(
        "--voxel-size",
        type=float,
        default=0.1,
        metavar="M",
        help="edge of the finest voxel, metres (default: 0.1)",
    )
    parser.add_argument(
        "--channels",
        type=int,
        nargs="*",
        default=[16, 32, 64, 128],
        metavar="C",
        help="widths of single layers (default: 16 32 64 128)",
    )
    networks = [*UNETS, "spv_pyramid"]
    parser.add_argument(
        "--networks",
        nargs="*",
        default=networks,
        choices=networks,
        help="networks to measure (default: all)",
    )
    parser.add_argument(
        "--backends",
        nargs="+",
        metavar="NAME",
        help="measure only these; cpu is always among them (default: all that can run here)",
    )
    threads = sorted({1, os.cpu_count() or 1})
    parser.add_argument(
        "--threads",
        type=int,
        nargs="+",
        default=threads,
        metavar="T",
        help="thread counts (default: 1 and all cores)",
    )
    parser.add_argument(
        "--repeats", type=int, default=5, metavar="R", help="rounds; the median counts (default: 5)"
    )


def _add_gpu(kinds):
    sizes = " ".join(map(str, bench_gpu.SIZES))
    parser = _add_kind(kinds, "gpu", "everything that a CUDA card does", bench_gpu, sizes)
    parser.set_defaults(sizes=list(bench_gpu.SIZES))
    parser.add_argument(
        "--rigs",
        nargs="*",
        default=list(bench_gpu.RIGS),
        metavar="RIG",
        help=f"made-up scans with all cameras of these (default: {' '.join(bench_gpu.RIGS)})",
    )
    parser.add_argument(
        "--recipes",
        nargs="*",
        default=list(bench_gpu.RECIPES),
        metavar="NAME",
        help="recipes whose networks are measured, files or names of config/train (default: "
        f"{' '.join(bench_gpu.RECIPES)})",
    )
    parser.add_argument(
        "--repeats", type=int, default=20, metavar="R", help="calls of each way (default: 20)"
    )
    add_compute_options(parser)


def _add_inference(kinds):
    parser = _add_kind(
        kinds, "inference", "an inference by stage, without ROS", bench_inference, 34_000
    )
    _add_checkpoint(parser)
    parser.add_argument(
        "--repeats", type=int, default=9, metavar="R", help="frames of each cloud (default: 9)"
    )
    parser.add_argument(
        "--rigs",
        nargs="+",
        default=[],
        metavar="RIG",
        help="measure on a made-up scan of this rig with all its cameras, such as pandaset",
    )
    parser.add_argument("--picture", metavar="FILE.png", help="draw the stages here")


def _add_precision(kinds):
    parser = kinds.add_parser(
        "precision",
        help="bfloat16 beside float32",
        description=bench_precision.__doc__,
        examples=_EXAMPLES["precision"],
        formatter_class=_AS_WRITTEN,
    )
    _add_checkpoint(parser)
    parser.add_argument("--data", metavar="DIR", help="measure on labelled scans from here")
    add_data_options(parser, "measure on", required=False)
    parser.add_argument(
        "--scans", type=int, default=3, metavar="N", help="made-up scans of a rig (default: 3)"
    )
    add_json_option(parser, "what was measured")


def _add_checkpoint(parser):
    parser.add_argument(
        "--checkpoint",
        default=str(default_checkpoint_path()),
        metavar="FILE",
        help="network to run (default: the shipped one)",
    )


def _add_node(kinds):
    parser = _add_kind(kinds, "node", "the running node, needs ROS 2", bench_node, 34_000)
    parser.add_argument(
        "--bag",
        action="append",
        default=[],
        metavar="PATH",
        help="measure on a recorded bag, cameras included; may be given several times",
    )
    parser.add_argument(
        "--hz",
        type=float,
        default=10.0,
        metavar="HZ",
        help="clouds a second that are sent (default: 10)",
    )
    parser.add_argument(
        "--clouds",
        type=int,
        default=60,
        metavar="N",
        help="clouds to send of each input (default: 60)",
    )
    parser.add_argument(
        "--stages",
        action="store_true",
        help="say too where the inference of each input's third cloud goes, by stage",
    )
    parser.add_argument("--picture", metavar="FILE.png", help="draw these stages here")
    _add_model(parser)


def _add_load(kinds):
    parser = kinds.add_parser(
        "load",
        help="the running node at rising rates, needs ROS 2",
        description=bench_load.__doc__,
        examples=_EXAMPLES["load"],
        formatter_class=_AS_WRITTEN,
    )
    rigs = ["nuscenes", "pandaset"]
    parser.add_argument("--rigs", nargs="+", default=rigs, metavar="RIG", help="see the top")
    parser.add_argument(
        "--cameras",
        type=int,
        nargs="+",
        default=[0, 1, 6],
        metavar="N",
        help="numbers of cameras whose images are sent (default: 0 1 6)",
    )
    parser.add_argument(
        "--hz",
        type=float,
        nargs="+",
        default=[2.0, 5.0, 10.0, 15.0, 20.0, 30.0],
        metavar="HZ",
        help="clouds a second that are sent (default: 2 5 10 15 20 30)",
    )
    parser.add_argument(
        "--seconds", type=float, default=6.0, metavar="S", help="of each run (default: 6)"
    )
    add_json_option(parser, "what was measured")
    parser.add_argument("--picture", metavar="FILE.png", help="draw the curves here")
    _add_model(parser)


def _add_model(parser):
    parser.add_argument(
        "--checkpoint", default="", metavar="FILE", help="network to run (default: the shipped one)"
    )
    parser.add_argument(
        "--backend",
        default="auto",
        metavar="NAME",
        help="as the node's model.backend (default: auto)",
    )


def run(args: argparse.Namespace) -> int:
    kinds = {
        "sparse": bench_sparse,
        "gpu": bench_gpu,
        "inference": bench_inference,
        "precision": bench_precision,
        "node": bench_node,
        "load": bench_load,
    }
    return kinds[args.what].run(args)
