"""Which scenes of nuScenes are for training and which for validation, by their numbers (a fact
of the benchmark).
"""

from collections.abc import Sequence
from pathlib import Path

# of v1.0-trainval, first and last number of each run of numbers; every other of its scenes is for
# training
_VALIDATION = (
    (3, 3),
    (12, 18),
    (35, 36),
    (38, 39),
    (92, 110),
    (221, 221),
    (268, 278),
    (329, 332),
    (344, 346),
    (519, 524),
    (552, 565),
    (625, 627),
    (629, 630),
    (632, 638),
    (770, 771),
    (775, 775),
    (777, 778),
    (780, 784),
    (794, 800),
    (802, 802),
    (904, 917),
    (919, 931),
    (962, 963),
    (966, 969),
    (971, 972),
    (1059, 1073),
)
_MINI_VALIDATION = (103, 916)  # of v1.0-mini

# split: its folder of tables
SPLITS = {
    "train": "v1.0-trainval",
    "val": "v1.0-trainval",
    "mini_train": "v1.0-mini",
    "mini_val": "v1.0-mini",
    "test": "v1.0-test",
}


def scenes_of_split(split: str, folder: Path, scenes: Sequence[str]) -> tuple[str, ...]:
    """The names among the `scenes` ("scene-0061") of a folder of tables (a Path) that belong to a
    split; "test" is all of them, for v1.0-test holds no others.

    Raises:
        ValueError: the split is one of other tables.
    """
    if folder.name != SPLITS[split]:
        others = " or ".join(name for name, home in SPLITS.items() if home == folder.name)
        raise ValueError(
            f"{folder}: split {split} is one of {SPLITS[split]}; take "
            f"{f'{others}, or ' if others else ''}names of scenes"
        )
    if split == "test":
        return tuple(scenes)
    for_validation = (
        {number for low, high in _VALIDATION for number in range(low, high + 1)}
        if split in ("train", "val")
        else set(_MINI_VALIDATION)
    )
    return tuple(
        name
        for name in scenes
        if (int(name.split("-")[1]) in for_validation) == split.endswith("val")
    )
