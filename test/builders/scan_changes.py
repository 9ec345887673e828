"""A random change of a scan as training makes it, in one call."""

from cmdfusion_ros.data.augment.random_changes import change_scene, change_view


def augment(frame, settings, rng, class_map, another=None):
    """`change_scene`, then `change_view`, of a labelled Frame as AugmentSettings say."""
    return change_view(change_scene(frame, settings, rng, class_map, another), settings, rng)
