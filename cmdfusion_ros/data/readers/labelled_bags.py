"""Own recordings: bags with labels beside them (`frame_bag.labels_path`) -> Frames.

Each labelled cloud is a scan; a camera's view is its image nearest in time, at most half a period
away: that of the camera or of the clouds, whichever is longer.
"""

from dataclasses import dataclass

from cmdfusion_ros.data.bags.bag import Bag
from cmdfusion_ros.data.bags.bag_layout import inspect_bag
from cmdfusion_ros.data.bags.frame_bag import read_bag_labels
from cmdfusion_ros.data.readers.scan_set import NumberedScans
from cmdfusion_ros.frame import CameraView, Frame
from cmdfusion_ros.messages.camera_info import read_camera_info
from cmdfusion_ros.messages.clouds import MessageError, read_cloud
from cmdfusion_ros.messages.images import decode_image
from cmdfusion_ros.messages.stamps import raw_stamp_ns


@dataclass(frozen=True)
class _Recording:
    """One bag: its BagLayout, its BagLabels, the recording times of its labelled clouds and of
    each camera's images, by stamp.
    """

    layout: object
    labels: object
    clouds: dict
    images: dict


class LabelledBags(NumberedScans):
    """The labelled clouds of some bags as Frames, in order of bag and stamp.

    Arguments and errors as of StoredScans. root: folder that holds the bags. sequences: names of
    bags (rosbag2 folders, .mcap or .bag files). dataset: must be what the labels say they are.
    scans: places of clouds in their bag. poses: must be False, they are not read from bags. images:
    read the cameras whose calibration and place are known.
    """

    own_dataset = "street"
    _nothing = "bags {} hold no labelled cloud with a place"

    def _find(self, sequences):
        if self._read_poses:
            raise ValueError(f"{self.root}: poses are not read from bags; take the view single")
        self._recordings = {
            name: _open(self.root / name, self.dataset, self._read_images) for name in sequences
        }
        for name, recording in self._recordings.items():
            for place, stamp in enumerate(sorted(recording.clouds)):
                yield place, (name, stamp)

    @staticmethod
    def _name(bag, stamp):
        return f"{bag}/{stamp}"  # header stamp, ns

    def _read(self, index, images):
        name, stamp = self._items[index]
        recording = self._recordings[name]
        with Bag(recording.layout.path) as bag:
            cloud = _read_cloud(bag, recording, stamp)
            views = (
                tuple(
                    view
                    for camera in recording.layout.usable_cameras
                    if (view := _view(bag, recording, camera, stamp))
                )
                if images
                else ()
            )
        where = f"bag {recording.layout.path}, cloud {stamp}"
        raw = recording.labels.raw[stamp]
        if len(raw) != cloud.num_points:
            raise ValueError(
                f"{where}: expected {cloud.num_points} labels (one a row of the cloud), got "
                f"{len(raw)}; were rows dropped before labelling?"
            )
        labels = (
            self.class_map.labels_from_raw(raw, self.dataset, where=where)[cloud.usable]
            if self._read_labels
            else None
        )
        return Frame(
            cloud.points[cloud.usable],
            cloud.intensity[cloud.usable],
            stamp,
            recording.layout.cloud_frame,
            views,
            labels,
            name=self.name(index),
        )


def _open(path, dataset, images):
    labels = read_bag_labels(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such bag")
    if labels is None:
        raise FileNotFoundError(
            f"{path}: no labels beside it; expected {path.name}_labels.npz with one array of raw "
            "ids a cloud, `stamps_ns` and `dataset`"
        )
    if labels.dataset != dataset:
        raise ValueError(
            f"{path}: its labels are raw ids of {labels.dataset}, not of {dataset}; set dataset "
            f"to {labels.dataset}"
        )
    layout = inspect_bag(path)
    clouds, pictures = (
        {},
        {camera.image_topic: {} for camera in layout.usable_cameras} if images else {},
    )
    with Bag(path) as bag:
        for message in bag.messages([layout.cloud_topic, *pictures]):
            table = clouds if message.topic == layout.cloud_topic else pictures[message.topic]
            table[raw_stamp_ns(message.data)] = message.time
    missing = sorted(set(labels.raw) - set(clouds))
    if missing:
        raise ValueError(
            f"{path}: {len(missing)} of {len(labels.raw)} labelled clouds are not in "
            f"{layout.cloud_topic} (stamp {missing[0]}, ...)"
        )
    return _Recording(layout, labels, {stamp: clouds[stamp] for stamp in labels.raw}, pictures)


def _read_cloud(bag, recording, stamp):
    """The cloud with that stamp, read as the node reads it. The scale of its intensity is at least
    that of the first cloud: one dark scan must not change what the numbers mean.
    """
    topic, times = recording.layout.cloud_topic, recording.clouds
    try:
        first = min(times)
        scale = read_cloud(_message(bag, topic, times[first], first)).intensity_scale
        return read_cloud(_message(bag, topic, times[stamp], stamp), least_scale=scale)
    except MessageError as error:
        raise ValueError(f"bag {recording.layout.path}, cloud {stamp}: {error}") from error


def _message(bag, topic, time, stamp):
    """The message with that header stamp, recorded at `time`: a recorder may write several of a
    topic at one time.
    """
    message, *_ = (
        message
        for message in bag.messages([topic], start=time, stop=time + 1)
        if raw_stamp_ns(message.data) == stamp
    )
    return bag.deserialize(message)


def _view(bag, recording, camera, stamp):
    """CameraView of the image nearest to `stamp`; None where that is more than half of the
    longer period, camera's or clouds', away.
    """
    table = recording.images[camera.image_topic]
    nearest = min(table, key=lambda other: abs(other - stamp), default=None)
    if (
        nearest is None
        or abs(nearest - stamp) > max(camera.timing.period, recording.layout.cloud_period_ns) / 2
    ):
        return None
    message = _message(bag, camera.image_topic, table[nearest], nearest)
    where = f"bag {recording.layout.path}: {camera.image_topic} at {nearest} ns"
    try:
        image = decode_image(message)
        intrinsic, distortion, size = read_camera_info(camera.info)
    except MessageError as error:
        raise ValueError(f"{where}: {error}") from error
    if (image.shape[1], image.shape[0]) != size:
        raise ValueError(
            f"{where}: expected {size[0]} x {size[1]} pixels as its CameraInfo says, got "
            f"{image.shape[1]} x {image.shape[0]}"
        )
    return CameraView(camera.name, image, intrinsic, camera.camera_from_lidar, distortion, nearest)
