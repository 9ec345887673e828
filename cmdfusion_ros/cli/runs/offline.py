"""A bag labelled without ROS: the node's own synchroniser and pipeline in this process."""

from pathlib import Path

from cmdfusion_ros.cli.runs.live import RunOptions
from cmdfusion_ros.cli.runs.record import RunRecord
from cmdfusion_ros.cli.runs.terminal import LiveLine, progress
from cmdfusion_ros.data.bags.bag_layout import BagLayout
from cmdfusion_ros.labelling.offline import LABELLED_TOPIC, label_bag, offline_settings


def run_offline(
    layout: BagLayout, options: RunOptions, labelled: Path, with_original: bool = False
) -> RunRecord:
    """Label a bag, with a live line.

    Args:
        layout: BagLayout. options: RunOptions. labelled: bag to make, `with_original` with all
            messages of the bag beside the labels.

    Returns:
        RunRecord.

    Raises:
        FileExistsError, ValueError: as `labelling.offline.label_bag` has them.
    """
    record = RunRecord(LABELLED_TOPIC, "", layout.num_clouds)
    line = LiveLine()

    def tell(event):
        record.take(event)
        line.show(progress(record))

    silences = layout.silences(options.silence)
    settings = offline_settings(layout, **options.model)
    label_bag(layout, settings, labelled, silences, tell, with_original)
    line.finish(progress(record))
    return record
