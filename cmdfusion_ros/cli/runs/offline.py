"""A bag labelled without ROS: the node's own synchroniser and pipeline in one process,
`labelling/offline.py`.
"""

import os
from pathlib import Path

from cmdfusion_ros.cli.runs.processes import ProcessError, ProcessGroup
from cmdfusion_ros.cli.runs.record import RunRecord
from cmdfusion_ros.cli.runs.terminal import LiveLine, progress

LABELLED_TOPIC = "/cmdfusion/points_labeled"


def run_offline(layout, options, labelled, logs):
    """Label a bag.

    Args:
        layout: BagLayout. options: RunOptions. labelled: bag to make. logs: folder for the log of
            the process.

    Returns:
        RunRecord.

    Raises:
        ProcessError: the process failed; its last words are in the text.
    """
    record = RunRecord(LABELLED_TOPIC, "", layout.num_clouds)
    Path(logs).mkdir(parents=True, exist_ok=True)
    line = LiveLine()
    with ProcessGroup(logs, dict(os.environ)) as group:
        group.start(
            "offline",
            "cmdfusion_ros.labelling.offline",
            layout.path,
            "--out",
            labelled,
            "--duration",
            layout.duration,
            *options.model_arguments,
            *options.silence_arguments,
            listen=True,
        )
        done = False
        while not done:
            for name, event in group.take(0.1):
                if event["event"] == "failed":
                    raise ProcessError(f"the {name} run failed: {event['why']}")
                done |= event["event"] == "done"
                record.take(event)
                line.show(progress(record))
            if not done and not group.running("offline") and group.events.empty():
                raise ProcessError(
                    f"the offline run ended early; its last words:\n{group.log_tail('offline')}"
                )
    line.finish(progress(record))
    return record
