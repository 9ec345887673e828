"""`cmdfusion import OFFICIAL.ckpt --out NETWORK.safetensors`: take over a checkpoint of the
authors of CMDFusion.
"""

import argparse
from pathlib import Path

from cmdfusion_ros.checkpoint.file import save_checkpoint
from cmdfusion_ros.checkpoint.official import import_official
from cmdfusion_ros.cli.runs.figures import add_json_option, write_figures


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        "import",
        help="take over a checkpoint of the authors of CMDFusion",
        description=(
            "Read an official CMDFusion checkpoint (SemanticKITTI or nuScenes) and write it as "
            "one of ours. Nothing in the file is run."
        ),
        examples=(
            "cmdfusion import official.ckpt --out imported.safetensors",
            "cmdfusion import official.ckpt --out network.safetensors --json imported.json",
        ),
    )
    parser.add_argument(
        "checkpoint",
        metavar="OFFICIAL.ckpt",
        help="file of PyTorch Lightning, as the authors published it",
    )
    parser.add_argument(
        "--out", required=True, metavar="FILE.safetensors", help="file to write; must not exist"
    )
    add_json_option(parser, "the report")
    return parser


def run(args: argparse.Namespace) -> int:
    """Import and say what was taken and what was not; returns 0."""
    out = Path(args.out)
    if out.exists():
        raise FileExistsError(f"--out {out}: exists; move it away, or choose another name")
    imported = import_official(args.checkpoint)
    checkpoint = imported.checkpoint
    network = checkpoint.build_network()
    save_checkpoint(out, network, checkpoint.model_config, checkpoint.class_map, checkpoint.card)
    report = {
        "network": checkpoint.model_config.network,
        "class_map": checkpoint.class_map.name,
        "channels": checkpoint.model_config.channels,
        "strides": list(checkpoint.model_config.strides),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "tensors_read": imported.num_read,
        "tensors_dropped": imported.dropped,
        "classes_not_loaded": list(imported.replaced),
        "notes": list(imported.notes),
    }
    _print_report(out, report)
    write_figures(args.json, report)
    return 0


def _print_report(out, report):
    print(
        f"{out}: {report['network']}, {report['class_map']}, {report['channels']} channels, "
        f"strides {report['strides']}, {report['parameters']:,} parameters"
    )
    print(f"made of {report['tensors_read']} tensors; dropped, for inference does not use them:")
    for part, count in report["tensors_dropped"].items():
        print(f"  {part:<40}{count:>5} tensors")
    if report["classes_not_loaded"]:
        print(
            f"objects in the file that were not loaded: {', '.join(report['classes_not_loaded'])}"
        )
    for note in report["notes"]:
        print(f"note: {note}")
