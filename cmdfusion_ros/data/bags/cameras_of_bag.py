"""Which pictures of a bag are a camera's, which CameraInfo is theirs, and whether the two fit."""

import itertools
import re
from collections import Counter

import numpy as np

from cmdfusion_ros.data.bags.bag_survey import COMPRESSED, IMAGE, INFO, BagSurvey
from cmdfusion_ros.messages.camera_info import read_camera_info
from cmdfusion_ros.messages.clouds import MessageError
from cmdfusion_ros.messages.images import decode_image

# Last parts of image topics that name the picture, not the camera.
_PICTURE_WORDS = frozenset(
    (
        "image image_raw image_color image_mono image_rect image_rect_color image_compressed raw "
        "color rgb compressed compressed_image jpeg jpg"
    ).split()
)
# of several pictures of one camera: the one that the CameraInfo's distortion belongs to
_PREFERRED = ("image_raw", "raw", "image_color", "image")
# names that a camera of the node cannot have: its parameters' groups; see `labelling/settings.py`
RESERVED = frozenset(
    (
        "autostart executor cameras model points sync tf output filter scan markers overlay "
        "diagnostics use_sim_time qos_overrides start_type_description_service"
    ).split()
)
_DEPTH = ("16UC1", "32FC1")
_FAR_NS = 1_000_000_000  # clocks that lie farther apart are not the same clock


def camera_topics(survey: BagSurvey, notes: list[str]) -> dict[str, str]:
    """{camera name: image topic}; of several pictures of one camera the raw, compressed one
    (least to send, lens as calibrated). What was left out is added to `notes`.
    """
    groups = {}
    for topic in survey.topics(IMAGE, COMPRESSED):
        parts = [part for part in topic.split("/") if part]
        if holds_depth(topic, survey.first[topic]):
            notes.append(f"{topic} holds depth, not a picture: left out")
            continue
        camera = list(parts)
        while len(camera) > 1 and camera[-1] in _PICTURE_WORDS:
            camera.pop()
        groups.setdefault(tuple(camera), []).append(topic)

    def rank(topic):
        words = topic.split("/")
        liked = [index for index, word in enumerate(_PREFERRED) if word in words]
        return (
            min(liked, default=len(_PREFERRED)),
            survey.bag.topics[topic].msgtype != COMPRESSED,
            topic,
        )

    chosen = {}
    for camera, topics in groups.items():
        best = min(topics, key=rank)
        chosen[camera] = best
        if len(topics) > 1:
            others = ", ".join(t for t in sorted(topics) if t != best)
            notes.append(f"{best} was taken; {others}: the same camera")
    return _short_names(chosen)


def holds_depth(topic: str, message: object) -> bool:
    """Whether an Image or CompressedImage holds distances: by its encoding, by the `format` of
    compressed_image_transport ("16UC1; png compressed"), or by the transport's name.
    """
    told = getattr(message, "encoding", "") or getattr(message, "format", "")
    return "compressedDepth" in (*topic.split("/"), *told.split()) or told.startswith(_DEPTH)


def _short_names(cameras):
    """{the shortest tail of each topic's parts that no other camera shares, as a ROS name: topic}
    of {parts: topic}: ("robot", "front", "camera") -> "front_camera". Where two names are spelt
    alike to ROS (/a-b and /a_b), the later ones are numbered.
    """
    shared = Counter(parts[-length:] for parts in cameras for length in range(1, len(parts) + 1))
    named = {}
    for parts, topic in sorted(cameras.items()):
        lengths = range(1, len(parts) + 1)
        length = next((each for each in lengths if shared[parts[-each:]] == 1), len(parts))
        name = re.sub(r"\W", "_", "_".join(parts[-length:]), flags=re.ASCII)
        name = name if re.match("[a-zA-Z]", name) else f"camera_{name}"
        name = f"{name}_camera" if name in RESERVED else name
        spellings = (f"{name}_{number}" if number > 1 else name for number in itertools.count(1))
        named[next(each for each in spellings if each not in named)] = topic
    return dict(sorted(named.items()))


def info_topic(survey: BagSurvey, image_topic: str, frame: str) -> str | None:
    """The CameraInfo of an image: of those nearest above it in the tree of names the one with its
    frame, then the one whose name fits (left_image, left_camera_info; raw with raw); where there is
    none above, one with its frame; else None.
    """
    infos = survey.topics(INFO)

    def has_frame(topic):
        return bool(frame) and survey.first[topic].header.frame_id.lstrip("/") == frame

    namespace = image_topic
    while "/" in namespace:
        namespace = namespace.rsplit("/", 1)[0]
        beside = [topic for topic in infos if topic.rsplit("/", 1)[0] == namespace]
        if beside and namespace:
            wanted = _words(image_topic)
            return max(beside, key=lambda t: (has_frame(t), len(wanted & _words(t)), -len(t), t))
    same_frame = [topic for topic in infos if has_frame(topic)]
    return same_frame[0] if same_frame else None


def _words(topic):
    """The parts of a topic's names that tell one camera from another."""
    return set(re.split(r"[/_]", topic.lower())) - {"image", "camera", "info", "compressed", ""}


def is_rectified(image_topic: str) -> bool:
    """Whether a topic's name says that its pictures are undistorted, as image_proc names them."""
    return any(part.startswith("image_rect") for part in image_topic.split("/"))


def fit_problem(info: object, image: object, rectified: bool) -> str:
    """Why pictures such as `image` cannot be used with a CameraInfo; "" where they can. The
    sentence is the node's own.
    """
    try:
        size = read_camera_info(info, rectified)[2]
        picture = decode_image(image)
    except MessageError as error:
        return str(error)
    seen = picture.shape[1], picture.shape[0]
    if seen != tuple(size):
        return f"calibrated for {tuple(size)}, its images are {seen}; is this the right CameraInfo?"
    return ""


def clock_problem(images: np.ndarray, clouds: np.ndarray) -> str:
    """Why stamps (I,) int ns of a camera are of no use beside the clouds' (M,); "" where they are
    of one clock.
    """
    if not len(images) or not len(clouds):
        return ""
    apart = max(clouds.min() - images.max(), images.min() - clouds.max(), 0)
    if apart <= _FAR_NS:
        return ""
    return (
        f"its stamps are {apart / 1e9:.0f} s from the clouds': two clocks that are not synchronised"
        " (a LiDAR that counts from its boot?)"
    )
