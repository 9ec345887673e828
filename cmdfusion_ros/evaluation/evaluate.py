"""How good a network is: near and far, in view and out of it, with each number of live cameras,
with and without averaging over changed scans.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np

from cmdfusion_ros.data.augment.scans import flip, rotate
from cmdfusion_ros.evaluation.image_gain import ImageGain
from cmdfusion_ros.evaluation.metrics import ConfusionMatrix, Scores
from cmdfusion_ros.frame import Frame, Prediction
from cmdfusion_ros.inference import Segmenter

# name -> changes of a scan, over whose answers the probabilities are averaged
TEST_TIME_CHANGES = {
    "none": (lambda frame: frame,),
    "flip4": (
        lambda frame: frame,
        lambda frame: flip(frame, 0),
        lambda frame: flip(frame, 1),
        lambda frame: flip(flip(frame, 0), 1),
    ),
    "yaw12": tuple(
        (lambda frame, turn=turn: rotate(frame, turn * np.pi / 6)) for turn in range(12)
    ),
}


def segment_with(segmenter: Segmenter, tta: str) -> Callable[[Frame], Prediction]:
    """A function Frame -> Prediction that answers with the mean over the changes named `tta`."""
    if len(TEST_TIME_CHANGES[tta]) == 1:
        return segmenter.segment
    answer = answer_with(segmenter, tta)
    return lambda frame: answer(frame)[0]


def answer_with(segmenter: Segmenter, tta: str) -> Callable[[Frame], tuple[Prediction, np.ndarray]]:
    """A function Frame -> (Prediction, (N,) float32 confidence before the temperatures), as
    `segment_with`.

    Probabilities are averaged first and the temperatures applied to the mean: so they change no
    label here either. No change moves a point nearer or farther.
    """
    changes = TEST_TIME_CHANGES[tta]
    if len(changes) == 1:
        return segmenter.segment_with_raw

    def answer(frame):
        answers = [segmenter.probabilities(change(frame), calibrated=False) for change in changes]
        mean = np.mean([probabilities for probabilities, _ in answers], axis=0)
        tempered = (
            mean
            if segmenter.temperatures is None
            else segmenter.temperatures.applied_to(mean, frame.points)
        )
        confidence, raw = (rows.max(1).astype(np.float32) for rows in (tempered, mean))
        return Prediction(mean.argmax(1).astype(np.uint8), confidence, answers[0][1]), raw

    return answer


def evaluate(
    segmenter: Segmenter,
    frames: Iterable[Frame],
    tta: str = "none",
    max_subsets: int = 6,
    watch: Callable[[Frame, int, int, np.ndarray], None] | None = None,
) -> dict[str, Any]:
    """Score a Segmenter.

    Args:
        frames: labelled Frames.
        tta: one of TEST_TIME_CHANGES.
        max_subsets: of the cameras of a scan, for each number of live ones; more are drawn from,
            with the scan's name as the seed.
        watch: is called with every frame, its number of live cameras, that of all, and the labels.

    Returns:
        what Scores.to_dict says; `by_live_cameras`: {"0": {miou, miou_of_present, points,
        subsets}, ...}, all points of all subsets of this size counted together (of a network that
        does not look at images it has the one entry "0"); and `image_gain`, what ImageGain says of
        the scans that have images.
    """
    segment, answer = segment_with(segmenter, tta), answer_with(segmenter, tta)
    class_map = segmenter.class_map
    scores, by_number, gain = Scores.empty(class_map), {}, ImageGain(class_map)
    for frame in frames:
        prediction, raw_confidence = answer(frame)
        scores.add(frame, prediction, raw_confidence)
        number_of_views = len(frame.views) if segmenter.uses_images else 0
        for number in range(number_of_views + 1):
            matrix, count = by_number.setdefault(
                number, [ConfusionMatrix(class_map.num_classes), 0]
            )
            subsets = _subsets(frame, number, max_subsets) if number < number_of_views else [frame]
            for subset in subsets:
                labels = prediction.labels if subset is frame else segment(subset).labels
                matrix.add(frame.labels, labels)
                if number == 0 < number_of_views:
                    gain.add(frame.labels, prediction.labels, labels)
                if watch is not None:
                    watch(frame, number, number_of_views, labels)
            by_number[number][1] = count + len(subsets)
    live = {
        str(number): {
            "miou": _rounded(matrix.miou),
            "miou_of_present": _rounded(matrix.miou_of_present),
            "points": int(matrix.counts.sum()),
            "subsets": subsets,
        }
        for number, (matrix, subsets) in sorted(by_number.items())
    }
    return {
        **scores.to_dict(),
        "by_live_cameras": live,
        "image_gain": gain.to_dict(),
        "tta": tta,
    }


def _rounded(value):
    return None if np.isnan(value) else round(value, 6)


def _subsets(frame, number, most):
    """Frames with `number` of the views of `frame`; at most `most` of all such, drawn by the
    frame's name.
    """
    choices = list(combinations(range(len(frame.views)), number))
    if len(choices) > most:
        rng = np.random.default_rng([*frame.name.encode()])
        choices = [choices[row] for row in np.sort(rng.choice(len(choices), most, replace=False))]
    known = frame.points if frame.measured_points is None else frame.measured_points
    return [
        replace(frame, views=tuple(frame.views[row] for row in rows), measured_points=known)
        for rows in choices
    ]


def spread(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What several results (of networks that differ in their seed) say together: the mean of each
    figure, and under `spread` how far they lie apart.

    Points and names are those of the first, numbers of live cameras those that all have. A scan
    that one was trained or calibrated on counts as such. A class that some result has no IoU of has
    no mean.
    """
    first = results[0]
    if len(results) == 1:
        return first
    mious = [result["miou"] for result in results]
    ious = {name: [result["iou"][name] for result in results] for name in first["iou"]}
    merged = {
        **first,
        **{
            key: _mean([result[key] for result in results])
            for key in ("miou", "accuracy", "ece", "ece_uncalibrated")
        },
        "image_gain": None,  # of one network's scans
    }
    merged["iou"] = {name: _mean(values) for name, values in ious.items()}
    for table, figures in (
        ("by_distance", ("miou", "ece", "ece_uncalibrated")),
        ("by_live_cameras", ("miou", "miou_of_present")),
    ):
        merged[table] = {
            key: {
                **entry,
                **{
                    figure: _mean([result[table][key][figure] for result in results])
                    for figure in figures
                },
            }
            for key, entry in first[table].items()
            if all(key in result[table] for result in results)
        }
    merged["confusion"] = np.sum([result["confusion"] for result in results], 0).tolist()
    for key in ("trained_on", "calibrated_on"):
        if key in first:
            merged[key] = sorted(set().union(*(result[key] for result in results)))
    bins = {
        when: zip(*(result["reliability"][when] for result in results), strict=True)
        for when in first["reliability"]
    }
    merged["reliability"] = {when: [_pooled(same) for same in rows] for when, rows in bins.items()}
    for key in ("in_view", "out_of_view"):
        merged[key] = {**first[key], "miou": _mean([result[key]["miou"] for result in results])}
    deviations = {
        "miou": _deviation(mious),
        "iou": {name: _deviation(values) for name, values in ious.items()},
    }
    merged["spread"] = {
        "checkpoints": len(results),
        "mious": mious,
        "standard_deviation": deviations,
    }
    return merged


def _pooled(bins):
    """One bin of a reliability diagram of what several counted in it."""
    points = sum(each["points"] for each in bins)
    shares = {
        key: sum(each["points"] * each[key] for each in bins if each["points"]) / points
        if points
        else None
        for key in ("confidence", "accuracy")
    }
    return {
        "points": points,
        **{key: None if value is None else round(value, 6) for key, value in shares.items()},
    }


def _mean(values):
    return None if None in values else round(float(np.mean(values)), 6)


def _deviation(values):
    """Sample standard deviation."""
    return None if None in values else round(float(np.std(values, ddof=1)), 6)
