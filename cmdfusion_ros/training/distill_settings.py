"""The settings of distillation: which teacher, shown what, and what is learnt from it."""

from dataclasses import dataclass
from typing import Any

from cmdfusion_ros.config import SettingsError, check_settings, section, setting
from cmdfusion_ros.data.augment.scan_context import ViewSettings


def weight(description: str, default: float = 0.0) -> Any:
    """The setting of a loss's weight: 0 leaves the loss out."""
    return setting(default, description, minimum=0.0, maximum=100.0)


@dataclass(frozen=True)
class DistillSettings:
    """One teacher, and what is learnt from it."""

    teacher: str = setting(
        "own_images",
        "own_images: the network's own image encoder; checkpoint: another network, frozen; "
        "published_images: a frozen ResNet; shared: the same weights on "
        "another view; average: the running average of the weights",
        choices=("own_images", "checkpoint", "published_images", "shared", "average"),
    )
    path: str = setting(
        "", "file of a frozen teacher, relative to the data folder, or to where training starts"
    )
    match: str = setting(
        "pixel",
        "what is compared: points that an image sees, points of one raw row, or voxels of one "
        "place",
        choices=("pixel", "point", "voxel"),
    )
    view: ViewSettings = section(ViewSettings)
    features: float = weight("weight of the squared difference of features")
    feature_unit: str = setting(
        "absolute",
        "the squared difference itself, or as a part of the teacher's variance",
        choices=("absolute", "variance"),
    )
    feature_place: str = setting(
        "deep",
        "of U-Nets: deep, the coarsest stage; ends, the first stage of the encoder and the last of "
        "the decoder (M2SKD)",
        choices=("deep", "ends"),
    )
    feature_rows: str = setting(
        "pairs",
        "all pairs; completed: those of things that the teacher's view added points to (M2SKD); "
        "voxels: of pixels, each voxel once, against the mean over its seen points, which is what "
        "imputed features take the place of",
        choices=("pairs", "completed", "voxels"),
    )
    feature_floor: float = setting(0.0, "leave out features that differ by no more", minimum=0.0)
    logits: float = weight("weight of the divergence of class probabilities")
    logit_kind: str = setting(
        "kl", "kl, or M2SKD's mean of absolute log ratios", choices=("kl", "absolute")
    )
    logit_floor: float = setting(0.0, "leave out rows that diverge by no more", minimum=0.0)
    temperature: float = setting(1.0, "divides logits before the softmax", above=0.0, maximum=100.0)
    affinity: float = weight("weight of the difference of cosines between the logits of one group")
    affinity_group: str = setting(
        "class", "a group is a class, or a thing", choices=("class", "instance")
    )
    affinity_classes: tuple[str, ...] = setting((), "classes whose groups are compared; none = all")
    affinity_points: int = setting(
        500, "rows of a group that are compared", minimum=2, maximum=10000
    )
    labels: float = weight(
        "weight of the cross-entropy of a shared teacher on the points that its view added, as a "
        "mean over all labelled points of that view"
    )

    def __post_init__(self) -> None:
        check_settings(self)
        name, of_images = (
            f"teacher {self.teacher}",
            self.teacher in ("own_images", "published_images"),
        )
        if (self.teacher in ("checkpoint", "published_images")) != bool(self.path):
            raise SettingsError(
                f"distill: {name} with path {self.path!r}: checkpoint and published_images need "
                "one, others take none"
            )
        if of_images and (self.match != "pixel" or self.logits or self.affinity):
            raise SettingsError(f"distill: {name} has features of pixels and nothing else")
        if self.match == "pixel" and self.view.kind != "single":
            raise SettingsError(
                f"distill: match pixel with view {self.view.kind}: images see the scan alone"
            )
        if self.labels and (self.teacher != "shared" or self.view.kind != "instance_fused"):
            raise SettingsError(
                f"distill: labels with {name} and view {self.view.kind}: shared weights learn "
                "from points that instance_fused adds"
            )
        if self.feature_rows == "voxels" and self.match != "pixel":
            raise SettingsError(f"distill: feature_rows voxels with match {self.match}: of pixels")
        if self.feature_rows == "completed" and self.view.kind != "instance_fused":
            raise SettingsError(
                f"distill: feature_rows completed with view {self.view.kind}: instance_fused alone "
                "completes things"
            )
        for weight, dependent in _DEPENDENT.items():
            for key in dependent if not getattr(self, weight) else ():
                if getattr(self, key) != DistillSettings.__dataclass_fields__[key].default:
                    raise SettingsError(
                        f"distill: {key} with {weight} 0 would do nothing; give {weight} a weight "
                        f"or leave {key} out"
                    )


_DEPENDENT = {  # weight: settings that mean nothing where it is 0
    "features": ("feature_unit", "feature_place", "feature_rows", "feature_floor"),
    "logits": ("logit_kind", "logit_floor", "temperature"),
    "affinity": ("affinity_group", "affinity_classes", "affinity_points"),
}
