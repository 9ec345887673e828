"""Which labelled scans a command reads: the data sets of a recipe or of the command line, opened
as one list of Frames.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cmdfusion_ros.class_map import ClassMap
from cmdfusion_ros.config import SettingsError, check_settings, section, setting
from cmdfusion_ros.data.bags.frame_bag import labels_path
from cmdfusion_ros.data.readers.labelled_bags import LabelledBags
from cmdfusion_ros.data.readers.nuscenes import NuScenes
from cmdfusion_ros.data.readers.pandaset import PandaSet
from cmdfusion_ros.data.readers.scan_set import ScanSet
from cmdfusion_ros.data.readers.semantic_kitti import SemanticKitti
from cmdfusion_ros.data.readers.waymo import Waymo
from cmdfusion_ros.data.synthetic.stream import StreamSettings, StreetStream
from cmdfusion_ros.frame import Frame

# by layout
_READERS = {
    "semantic_kitti": SemanticKitti,
    "nuscenes": NuScenes,
    "pandaset": PandaSet,
    "bags": LabelledBags,
    "waymo": Waymo,
}
STREAM = "synthetic_stream"
LAYOUTS = tuple(_READERS)  # of what lies in files
# what sets are asked for by that know no "all"
_SPLITS = {"nuscenes": "train, val or scenes", "waymo": "training, validation or segments"}


@dataclass(frozen=True)
class DataSettings:
    """Some scans of a data set."""

    layout: str = setting(
        "semantic_kitti",
        "how its files lie; own recordings: folders as SemanticKITTI's, or bags with labels "
        "beside them; synthetic_stream has none and draws made-up streets all along",
        choices=(*LAYOUTS, STREAM),
    )
    root: str = setting(
        ".",
        "folder that holds the sequences, relative to the data folder given when training "
        "starts; of a stream the folder that it keeps its scans in",
    )
    dataset: str = setting(
        "semantic_kitti", "whose raw ids the label files hold, as the class map knows it"
    )
    sequences: tuple[str, ...] = setting(
        (),
        "names of sequence folders, or [all]; of nuScenes names of scenes, or train, val, "
        "mini_train, mini_val; of Waymo names of segments, or training, validation",
    )
    first_scan: int = setting(
        0,
        "lowest scan number taken from each sequence; of nuScenes the place of a key frame in its "
        "scene",
        minimum=0,
    )
    last_scan: int = setting(999999, "highest scan number taken from each sequence", minimum=0)

    images: bool = setting(False, "read the camera images too")
    called: str = setting(
        "",
        "what the set is called in the names of its scans, where not as its dataset; made-up "
        "streets have SemanticKITTI's ids",
    )
    repeat: int = setting(
        1, "how often each of its scans comes in an epoch", minimum=1, maximum=1000
    )
    stream: StreamSettings = section(StreamSettings)

    partly: bool = setting(
        False,
        "of semantic_kitti: not every scan is labelled yet; those without a .label file, or with "
        "nothing but 0 in it, are left out",
    )
    all_lidars: bool = setting(
        False, "of Waymo: read the four short-range LiDARs too, whose points have no labels"
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if self.layout == STREAM and self.sequences:
            raise SettingsError("sequences: a synthetic_stream has none; leave them out")
        if self.layout != STREAM and self.stream != StreamSettings():
            raise SettingsError(f"stream: layout {self.layout} has none; say layout: {STREAM}")
        if self.partly and self.layout != "semantic_kitti":
            raise SettingsError(f"partly: layout {self.layout} is labelled whole; leave it out")
        if self.all_lidars and self.layout != "waymo":
            raise SettingsError(
                f"all_lidars: layout {self.layout} has one LiDAR a scan; leave it out"
            )

    def open(
        self, data_folder: str | Path, class_map: ClassMap, poses: bool = False
    ) -> "ScanSet | Mixture | StreetStream":
        """The scans as Frames with labels, and with `poses` where asked for; FileNotFoundError
        or ValueError where there are none.
        """
        root = Path(data_folder) / self.root
        if self.layout == STREAM:
            called = self.called or STREAM
            return StreetStream(root, self.stream, class_map, self.images, called)
        if not root.is_dir():
            raise FileNotFoundError(
                f"{root}: no such folder; docs/data.md says where each data set comes from, and "
                f"`cmdfusion world {root}` makes streets that look like SemanticKITTI's folders"
            )
        names = all_sequences(root, self.layout) if self.sequences == ("all",) else self.sequences
        scans = range(self.first_scan, self.last_scan + 1)
        options = {
            "scans": scans,
            "poses": poses,
            "images": self.images,
            "called": self.called or None,
        }
        if self.all_lidars:
            options["all_lidars"] = True
        if self.partly:
            options["partly"] = True
        return _READERS[self.layout](root, names, class_map, self.dataset, **options)


def all_sequences(root: Path, layout: str) -> tuple[str, ...]:
    """Names of all sequences of a set, sorted: folders that hold scans, bags with labels beside
    them.

    Raises:
        FileNotFoundError: there is none. ValueError: nuScenes and Waymo, which have splits instead.
    """
    if layout in _SPLITS:
        names = _SPLITS[layout]
        raise ValueError(f"{root}: sequences: [all] is not for {layout}; name {names}")
    if layout == "bags":
        names = {
            path.name
            for path in root.glob("*")
            if not path.name.endswith("_labels.npz") and labels_path(path).exists()
        }
    else:
        inside = "lidar" if layout == "pandaset" else "velodyne"
        found = [*root.glob(f"sequences/*/{inside}"), *root.glob(f"*/{inside}")]
        names = {path.parent.name for path in found}
    if not names:
        raise FileNotFoundError(f"{root}: no sequence of the layout {layout} in it")
    return tuple(sorted(names))


class Mixture:
    """The scans of several sets as one list of Frames.

    Args:
        sets: lists of Frames with `names`. repeats: how often each set comes in it.
    """

    def __init__(self, sets: Sequence[ScanSet], repeats: Sequence[int]):
        self._sets = tuple(sets)
        self._items = [
            (scans, index)
            for scans, repeat in zip(sets, repeats, strict=True)
            for _ in range(repeat)
            for index in range(len(scans))
        ]

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Frame:
        scans, row = self._items[index]
        return scans[row]

    def __iter__(self) -> Iterator[Frame]:
        return (self[index] for index in range(len(self)))

    def neighbours(self, index: int, offsets: Sequence[int]) -> tuple[Frame, ...]:
        """Other scans of the sequence of scan `index`, see `SemanticKitti.neighbours`."""
        scans, row = self._items[index]
        return scans.neighbours(row, offsets)

    def of_epoch(self, epoch: int) -> "Epoch":
        """The scans as they are in epoch `epoch`, in the same order: those of streams change."""
        return Epoch(self, epoch)

    def scan(self, epoch: int, index: int) -> Frame:
        """Scan `index` as it is in epoch `epoch`."""
        scans, row = self._items[index]
        return scans.scan(epoch, row) if isinstance(scans, StreetStream) else scans[row]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the scans, each once."""
        return tuple(name for scans in self._sets for name in scans.names)


@dataclass(frozen=True)
class Epoch:
    """The scans of a Mixture in one epoch, as a list of Frames."""

    mixture: Mixture
    epoch: int

    def __len__(self) -> int:
        return len(self.mixture)

    def __getitem__(self, index: int) -> Frame:
        return self.mixture.scan(self.epoch, index)
