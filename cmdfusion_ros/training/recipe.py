"""What a training run is made of: one YAML file, `config/train/*.yaml`."""

from dataclasses import dataclass
from pathlib import Path

from cmdfusion_ros.checkpoint.file import load_checkpoint
from cmdfusion_ros.class_map import ClassMap, load_class_map
from cmdfusion_ros.config import (
    ModelConfig,
    SettingsError,
    check_settings,
    load_yaml,
    section,
    setting,
    settings_from_dict,
    settings_to_dict,
)
from cmdfusion_ros.data.augment.random_changes import AugmentSettings
from cmdfusion_ros.data.augment.scan_context import ViewSettings
from cmdfusion_ros.data.readers.data_settings import DataSettings, Mixture
from cmdfusion_ros.inference import default_checkpoint_path
from cmdfusion_ros.training.distill_settings import DistillSettings, weight

SHIPPED = "shipped"  # as `start_from`


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights but the data itself."""

    name: str = setting("network", "name of what is trained")
    class_map: str = setting(
        "street",
        "whose classes are learnt: a class map that ships, or a .yaml file of your own, relative "
        "to the recipe",
    )
    model: ModelConfig = section(ModelConfig)
    train: DataSettings = section(DataSettings)
    train_too: tuple[DataSettings, ...] = setting((), "further sets that are trained on")
    validation: DataSettings = section(DataSettings)
    augment: AugmentSettings = section(AugmentSettings)
    view: ViewSettings = section(ViewSettings)
    distill: tuple[DistillSettings, ...] = setting((), "teachers, and what is learnt from each")
    start_from: str = setting(
        "",
        "checkpoint whose weights training starts from, relative to the data folder; shipped = the "
        "weights that ship, whose model is then the default; empty = from scratch",
    )
    start_partly: bool = setting(
        False,
        "start_from may hold another network, or one of other classes: what fits by name and shape "
        "is taken, of a head the rows of the classes that fold onto each; log and card say what",
    )
    frozen: tuple[str, ...] = setting(
        (), "parts of the network that keep what they start from, statistics too"
    )
    image_weights: str = setting(
        "",
        "what the image encoder starts from, relative to the data folder: a published ResNet or "
        "EfficientNet-lite0, or a checkpoint that looks at images; empty = from scratch",
    )
    steps: int = setting(1000, "optimiser steps", minimum=1)
    batch_size: int = setting(1, "scans a step", minimum=1, maximum=256)
    parts: int = setting(
        1,
        "parts of a batch that are computed one after the other, or by as many processes; their "
        "gradients are averaged",
        minimum=1,
    )
    precision: str = setting(
        "float32",
        "numbers that layers compute with; bfloat16 pays on GPUs",
        choices=("float32", "bfloat16"),
    )
    optimizer: str = setting(
        "adamw",
        "how gradients become steps; sgd has Nesterov momentum 0.9",
        choices=("adamw", "sgd"),
    )
    learning_rate: float = setting(0.005, "highest learning rate", above=0.0, maximum=10.0)
    weight_decay: float = setting(0.01, "weight decay", minimum=0.0, maximum=1.0)
    warm_up: float = setting(
        0.1,
        "fraction of the steps in which the learning rate rises; it then falls along a cosine to 0",
        minimum=0.0,
        maximum=0.9,
    )
    gradient_clip: float = setting(1.0, "largest norm of the gradient", above=0.0)
    ema_decay: float = setting(
        0.99,
        "decay of the running average of the weights, which is what is saved and scored",
        minimum=0.0,
        maximum=0.99999,
    )
    class_weight_power: float = setting(
        1 / 3,
        "cross-entropy weighs a class by (largest count / its count) to this power",
        minimum=0.0,
        maximum=1.0,
    )
    lovasz_weight: float = weight("weight of the Lovasz loss beside the cross-entropy", 1.0)
    answer_weight: float = weight("weight of the losses of the network's answer on labels", 1.0)
    auxiliary_weight: float = weight(
        "weight of the losses of a network's other heads, where it has any", 1.0
    )
    validate_every: int = setting(
        0, "steps between scores on the validation scans; 0 = only at the end", minimum=0
    )
    no_harm: float = weight(
        "weight of what a seen point's cross-entropy is higher with images than without; of "
        "networks that answer without them too (unet_flagship)"
    )
    halved: bool = setting(False, "keep matrices in 16 bits in the checkpoint")
    save_every: int = setting(100, "steps between saves from which training can resume", minimum=1)
    seed: int = setting(0, "seed of weights, order and augmentation", minimum=0)
    licence: str = setting("", "licence of the weights, written into the checkpoint")
    attribution: str = setting("", "whom the licence asks to be named, written into the checkpoint")

    def __post_init__(self) -> None:
        check_settings(self)
        try:
            datasets = load_class_map(self.class_map).datasets
        except ValueError as error:
            raise SettingsError(f"class_map: {error}") from error
        further = [(f"train_too[{number}]", data) for number, data in enumerate(self.train_too)]
        for what, data in (("train", self.train), *further, ("validation", self.validation)):
            if data.sequences and data.dataset not in datasets:
                raise SettingsError(
                    f"{what}.dataset: class map {self.class_map} reads {', '.join(datasets)}, not "
                    f"{data.dataset!r}"
                )
        if self.validation.repeat != 1:
            raise SettingsError("validation.repeat: every scan is scored once; leave it out")
        if self.start_from and self.image_weights and not self.start_partly:
            raise SettingsError(
                "image_weights: start_from gives every weight, those of the image encoder too; "
                "leave one of them out"
            )
        if self.model.network == "image" and self.validation.sequences:
            raise SettingsError(
                "validation: a network of images alone answers seen points only and is not scored "
                "on scans; leave validation out"
            )
        if self.batch_size % self.parts:
            raise SettingsError(
                f"parts: expected a divisor of batch_size {self.batch_size}, got {self.parts}"
            )
        if self.view.kind == "instance_fused" and self.distill:
            raise SettingsError(
                "view: instance_fused needs the labels that a network shall find, so such a "
                "network is good for a teacher alone; leave distill out"
            )
        by_voxel = [each for each in self.distill if each.match == "voxel"]
        if len(by_voxel) > 1 or (by_voxel and self.view.kind != "single"):
            raise SettingsError(
                "distill: one teacher may be matched by voxel, of a student that sees single scans"
            )

    @property
    def needs_poses(self) -> bool:
        """Whether anything is shown more than single scans."""
        return any(
            view.kind != "single" for view in (self.view, *(each.view for each in self.distill))
        )

    def open_training(self, data_folder: str | Path, class_map: ClassMap) -> Mixture:
        """The scans of all sets that are trained on; errors as of `DataSettings.open`."""
        sets = (self.train, *self.train_too)
        return Mixture(
            [data.open(data_folder, class_map, self.needs_poses) for data in sets],
            [data.repeat for data in sets],
        )

    def start_path(self, data_folder: str | Path) -> Path:
        """The file of `start_from`."""
        shipped = self.start_from == SHIPPED
        return default_checkpoint_path() if shipped else Path(data_folder) / self.start_from


def load_recipe(path: str | Path) -> Recipe:
    """The Recipe in a YAML file: a class map of its own is looked for beside the file, and what
    starts from the weights that ship is such a network unless it says otherwise.

    Raises:
        OSError, SettingsError: as of `load_settings`.
    """
    values = load_yaml(path)
    if isinstance(values, dict):
        values = dict(values)
        class_map = values.get("class_map")
        if isinstance(class_map, str) and class_map.endswith((".yaml", ".yml")):
            values["class_map"] = str((Path(path).parent / class_map).absolute())
        if values.get("start_from") == SHIPPED and "model" not in values:
            shipped = load_checkpoint(default_checkpoint_path())
            values["model"] = settings_to_dict(shipped.model_config, only_changed=True)
    return settings_from_dict(Recipe, values, where=f"{path}: ")
