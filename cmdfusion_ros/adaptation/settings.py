"""Everything that decides what `cmdfusion adapt` learns but the drive itself."""

from dataclasses import dataclass

from cmdfusion_ros.config import check_settings, section, setting
from cmdfusion_ros.image_teachers.point_labels import PointLabelSettings


@dataclass(frozen=True)
class LessonSettings:
    """Which labels the points of a drive get."""

    voxel_size: float = setting(0.2, "edge of the cubes that carry labels", "m", above=0.0)
    carried_share: float = setting(
        0.75, "least probability of a cube's class that is carried", minimum=0.0, maximum=1.0
    )
    standing: float = setting(
        2.0, "a car is carried only where its cube was one for this long", "s", minimum=0.0
    )
    own_agreement: float = setting(
        0.9,
        "the network's own answers count where, as sure, they agree with the teacher so often",
        minimum=0.0,
        maximum=1.0,
    )
    seldom_found: tuple[str, ...] = setting(
        ("sidewalk", "barrier", "pole_sign", "object"),
        "classes that 2D teachers often miss: where the network sees one, the teacher's other "
        "class says nothing",
    )
    seldom_confidence: float = setting(
        0.5, "how sure the network must be to see one", minimum=0.0, maximum=1.0
    )

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class AdaptSettings:
    """How a network learns from drives."""

    teaching: PointLabelSettings = section(PointLabelSettings)
    lessons: LessonSettings = section(LessonSettings)
    held_out: float = setting(
        0.2, "share of each drive that judges and is not learnt", minimum=0.05, maximum=0.8
    )
    gap: float = setting(1.0, "left out between what is learnt and what judges", "s", minimum=0.0)
    steps: int = setting(600, "optimiser steps", minimum=1)
    batch_size: int = setting(2, "parts of scans a step", minimum=1, maximum=64)
    learning_rate: float = setting(0.002, "highest learning rate", above=0.0, maximum=1.0)
    sector: float = setting(
        120.0, "part of a scan that a step sees, around a labelled point", "degrees", above=0.0
    )
    streets: int = setting(
        40, "made-up streets that are learnt again, so that nothing is forgotten", minimum=5
    )
    street_share: float = setting(0.4, "share of the steps that those get", above=0.0, maximum=0.95)
    least_gain: float = setting(
        0.005, "mean agreement must rise by this to be called better", minimum=0.0, maximum=1.0
    )
    most_forgotten: float = setting(
        0.05, "mean IoU on held-out streets may fall by this", minimum=0.0, maximum=1.0
    )
    seed: int = setting(0, "seed of the streets, the order and the changes", minimum=0)

    def __post_init__(self) -> None:
        check_settings(self)
