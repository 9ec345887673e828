"""From a released cloud to everything published for it: the job of the worker's thread, and who
decides whether it is worth doing.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cmdfusion_ros.config import settings_to_dict
from cmdfusion_ros.messages.clouds import MessageError
from cmdfusion_ros.messages.transforms import TransformError
from cmdfusion_ros.pairing.paired_cloud import PairedCloud

_THROTTLE = 5.0  # seconds between two lines of the log about the same thing


@dataclass(frozen=True)
class Released:
    """A PairedCloud and the moment (steady clock, ns) at which the synchroniser let it go: what
    the worker is offered.
    """

    paired: PairedCloud
    at_ns: int

    @property
    def stamp(self):
        return self.paired.stamp

    @property
    def epoch(self):
        return self.paired.epoch


class Labelling:
    """Labels clouds and publishes them.

    Args:
        pipeline: Pipeline. taxonomy: Taxonomy. outputs: CloudOutputs. views: ViewOutputs.
            diagnostics: NodeDiagnostics.
        now_ros: int ns of the node's clock. log: rclpy logger.

    Attributes:
        taxonomy: as given.
        paused: while True no cloud is labelled.
        save_to: Path to which the next labelled cloud is written, or None.
    """

    def __init__(self, pipeline, taxonomy, outputs, views, diagnostics, now_ros, log):
        self._pipeline, self.taxonomy, self._outputs, self._views = (
            pipeline,
            taxonomy,
            outputs,
            views,
        )
        self._diagnostics, self._now_ros, self._log = diagnostics, now_ros, log
        self.paused = False
        self.save_to = None

    def update_settings(self, settings):
        for part in (self._pipeline, self._outputs, self._views):
            part.settings = settings

    def close(self):
        self._pipeline.close()
        self._outputs.close()
        self._views.close()

    def clear_views(self):
        self._views.clear()

    @property
    def wanted(self):
        """Whether anybody would see a label."""
        return (
            self._pipeline.settings.output.always_publish
            or self.save_to is not None
            or self._outputs.wanted()
            or self._views.wanted()
        )

    def reason_to_skip(self):
        """Why a cloud released now need not be labelled; "" when it must."""
        if self.paused:
            return "paused"
        return "" if self.wanted else "no_subscriber"

    def label(self, released):
        """Released -> LabelledCloud: the worker's job. It may raise: the worker gives that to
        `failed`.
        """
        return self._pipeline(released.paired)

    def publish(self, released, labelled):
        """Publish a LabelledCloud on every topic that somebody subscribes to."""
        started = time.monotonic_ns()
        prediction = self.taxonomy.translate(labelled.prediction)
        self._outputs.publish_labelled(labelled, prediction)
        self._attempt("~/points_filtered", self._outputs.publish_filtered, labelled, prediction)
        published = time.monotonic_ns()
        total_ms = (published - released.at_ns) / 1e6
        latency_ms = (self._now_ros() - released.stamp) / 1e6
        self._outputs.publish_status(
            labelled, prediction, (published - started) / 1e6, total_ms, latency_ms
        )
        self._diagnostics.cloud_labelled(labelled, total_ms, latency_ms)
        if labelled.retried:
            self._log.error(
                f"{labelled.retried}; labelled from LiDAR alone", throttle_duration_sec=_THROTTLE
            )
        self._attempt("markers or overlay", self._views.publish, labelled, prediction)
        self._attempt("saved frame", self._save, labelled, prediction)

    def _attempt(self, what, publish, labelled, prediction):
        """Publish something beside the labelled cloud. That is out already: what fails here must
        not count as a lost cloud, nor cost the rest.
        """
        try:
            publish(labelled, prediction)
        except Exception as error:
            self._diagnostics.view_failed(f"{what}: {type(error).__name__}: {error}")
            self._log.error(
                f"{what}: {type(error).__name__}: {error}", throttle_duration_sec=_THROTTLE
            )

    def failed(self, released, error):
        """A cloud could not be labelled: count it by its reason."""
        if isinstance(error, MessageError):
            self._diagnostics.cloud_unreadable(str(error))
        elif isinstance(error, TransformError):
            self._diagnostics.cloud_failed("no_transform", str(error))
        else:
            self._diagnostics.cloud_failed("model_error", f"{type(error).__name__}: {error}")
        self._log.error(
            f"cloud dropped: {type(error).__name__}: {error}", throttle_duration_sec=_THROTTLE
        )

    def _save(self, labelled, prediction):
        if self.save_to is None:
            return
        path, self.save_to = self.save_to, None
        save_frame(path, labelled, prediction, self.taxonomy.class_map, self._pipeline.settings)
        self._log.info(f"saved {path}")


def save_frame(path, labelled, prediction, class_map, settings):
    """Write inputs and outputs of one cloud as npz: what a bug report needs.

    Arrays: points (N, 3), usable and rows (N,) bool, intensity (N,), cloud_bytes (N, point_step) as
    they came, labels, confidence and camera_mask of `points[rows]` (labels index class_names),
    stamp, frame_id, mode, and for each camera used <camera>.image, .intrinsic, .camera_from_lidar,
    .distortion and .stamp. `facts` is JSON: fields of the cloud, reports of all cameras, settings.
    """
    cloud, frame = labelled.cloud, labelled.frame
    arrays = {
        "points": cloud.points,
        "usable": cloud.usable,
        "rows": labelled.rows,
        "intensity": cloud.intensity,
        "cloud_bytes": cloud.raw,
        "labels": prediction.labels,
        "confidence": prediction.confidence,
        "camera_mask": prediction.camera_mask,
        "class_names": np.array(class_map.names),
        "stamp": np.int64(cloud.stamp),
        "frame_id": np.array(cloud.frame_id),
        "mode": np.array(labelled.mode.name),
    }
    for view in frame.views:
        arrays[f"{view.name}.image"] = view.image
        arrays[f"{view.name}.intrinsic"] = view.intrinsic
        arrays[f"{view.name}.camera_from_lidar"] = view.camera_from_lidar
        arrays[f"{view.name}.distortion"] = np.array(
            view.distortion.coefficients if view.distortion else ()
        )
        arrays[f"{view.name}.stamp"] = np.int64(view.stamp)
    facts = {
        "fields": [[f.name, f.offset, f.datatype, f.count] for f in cloud.fields],
        "cameras": [
            [r.name, r.status.name, r.reason, r.offset_ns, r.num_points] for r in labelled.cameras
        ],
        "settings": {name: _plain(value) for name, value in vars(settings).items()},
    }
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as stream:
        np.savez_compressed(stream, facts=np.array(json.dumps(facts)), **arrays)


def _plain(value):
    if isinstance(value, dict):
        return {name: settings_to_dict(item) for name, item in value.items()}
    return settings_to_dict(value) if hasattr(value, "__dataclass_fields__") else value
