"""How good a network is: near and far, in view and out of it, with each number of live cameras, with and without averaging over changed scans."""

from dataclasses import replace
from itertools import combinations

import numpy as np

from cmdfusion_ros.data.augment import flip, rotate
from cmdfusion_ros.frame import Prediction
from cmdfusion_ros.training.metrics import ConfusionMatrix, Scores

TEST_TIME_CHANGES = {  # name -> changes of a scan, over whose answers the probabilities are averaged
    "none": (lambda frame: frame,),
    "flip4": (lambda frame: frame, lambda frame: flip(frame, 0), lambda frame: flip(frame, 1), lambda frame: flip(flip(frame, 0), 1)),
    "yaw12": tuple((lambda frame, turn=turn: rotate(frame, turn * np.pi / 6)) for turn in range(12)),
}


def segment_with(segmenter, tta):
    """A function Frame -> Prediction that answers with the mean over the changes named `tta`."""
    changes = TEST_TIME_CHANGES[tta]
    if len(changes) == 1:
        return segmenter.segment

    def segment(frame):
        answers = [segmenter.probabilities(change(frame)) for change in changes]
        mean = np.mean([probabilities for probabilities, _ in answers], axis=0)
        return Prediction(mean.argmax(1).astype(np.uint8), mean.max(1).astype(np.float32), answers[0][1])

    return segment


def evaluate(segmenter, frames, tta="none", max_subsets=6):
    """Score a Segmenter.

    Args:
        frames: labelled Frames.
        tta: one of TEST_TIME_CHANGES.
        max_subsets: of the cameras of a scan, for each number of live ones; more are drawn from, with the scan's name as the seed.

    Returns:
        what Scores.to_dict says, and `by_live_cameras`: {"0": {miou, points, subsets}, ...}, all points of all subsets of this size counted together. Of a
        network that does not look at images it has the one entry "0".
    """
    segment = segment_with(segmenter, tta)
    class_map = segmenter.class_map
    scores, by_number = Scores.empty(class_map), {}
    for frame in frames:
        prediction = segment(frame)
        scores.add(frame, prediction)
        number_of_views = len(frame.views) if segmenter.uses_images else 0
        for number in range(number_of_views + 1):
            matrix, count = by_number.setdefault(number, [ConfusionMatrix(class_map.num_classes), 0])
            subsets = _subsets(frame, number, max_subsets) if number < number_of_views else [frame]
            for subset in subsets:
                matrix.add(frame.labels, prediction.labels if subset is frame else segment(subset).labels)
            by_number[number][1] = count + len(subsets)
    live = {
        str(number): {"miou": None if np.isnan(matrix.miou) else round(matrix.miou, 6), "points": int(matrix.counts.sum()), "subsets": subsets}
        for number, (matrix, subsets) in sorted(by_number.items())
    }
    return {**scores.to_dict(), "by_live_cameras": live, "tta": tta}


def _subsets(frame, number, most):
    """Frames with `number` of the views of `frame`; at most `most` of all such, drawn by the frame's name."""
    choices = list(combinations(range(len(frame.views)), number))
    if len(choices) > most:
        rng = np.random.default_rng([*frame.name.encode()])
        choices = [choices[row] for row in np.sort(rng.choice(len(choices), most, replace=False))]
    known = frame.points if frame.measured_points is None else frame.measured_points
    return [replace(frame, views=tuple(frame.views[row] for row in rows), measured_points=known) for rows in choices]


def spread(results):
    """What several results (of networks that differ in their seed) say together: the mean of each figure, and under `spread` how far they lie apart.

    Points and names are those of the first. A class that some result has no IoU of has no mean.
    """
    first = results[0]
    if len(results) == 1:
        return first
    mious = [result["miou"] for result in results]
    ious = {name: [result["iou"][name] for result in results] for name in first["iou"]}
    merged = {**first, "miou": _mean(mious), "ece": _mean([result["ece"] for result in results])}
    merged["accuracy"] = _mean([result["accuracy"] for result in results])
    merged["iou"] = {name: _mean(values) for name, values in ious.items()}
    for table in ("by_distance", "by_live_cameras"):
        merged[table] = {key: {**first[table][key], "miou": _mean([result[table][key]["miou"] for result in results])} for key in first[table]}
    for key in ("in_view", "out_of_view"):
        merged[key] = {**first[key], "miou": _mean([result[key]["miou"] for result in results])}
    deviations = {"miou": _deviation(mious), "iou": {name: _deviation(values) for name, values in ious.items()}}
    merged["spread"] = {"checkpoints": len(results), "mious": mious, "standard_deviation": deviations}
    return merged


def _mean(values):
    return None if None in values else round(float(np.mean(values)), 6)


def _deviation(values):
    """Sample standard deviation."""
    return None if None in values else round(float(np.std(values, ddof=1)), 6)
