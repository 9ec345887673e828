"""What to do about a topic that nobody publishes, told from what is published. No ROS in here."""

from collections.abc import Mapping, Sequence

from cmdfusion_ros.messages.foreign import remedy_for

_IMAGE, _COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
_NAMED = 3  # topics of a type that are named


def hint(topic: str, wanted: str, published: Mapping[str, Sequence[str]], setting: str) -> str:
    """Why nothing comes on a topic to which nobody publishes what is wanted, and what to do.

    Args:
        topic: as it resolves, "/cam/image_raw". wanted: its type, "sensor_msgs/msg/Image".
        published: {topic: types} of all that is published. setting: the parameter that names it.

    Returns:
        One sentence.
    """
    for msgtype in published.get(topic, ()):
        if msgtype != wanted:
            remedy = remedy_for(msgtype)
            return f"{topic} is a {msgtype}, not a {wanted}" + (f": {remedy}" if remedy else "")
    nobody = f"nobody publishes {topic}"
    camera = setting.split(".")[0]
    raw = topic.removesuffix("/compressed")
    if wanted == _IMAGE and _COMPRESSED in published.get(f"{topic}/compressed", ()):
        return f"{nobody}; {topic}/compressed is published: set {camera}.transport: compressed"
    if wanted == _COMPRESSED and raw != topic and _IMAGE in published.get(raw, ()):
        return f"{nobody}; {raw} is published: set {camera}.transport: raw"
    others = [
        (name, msgtype)
        for name in sorted(published)
        for msgtype in published[name]
        if name.startswith(f"{raw}/") and (remedy_for(msgtype) or remedy_for(name))
    ]
    if others:
        name, msgtype = others[0]
        return f"{nobody}; {name} ({msgtype}) is: {remedy_for(msgtype) or remedy_for(name)}"
    same = sorted(name for name, types in published.items() if wanted in types)
    if same:
        shown = ", ".join(same[:_NAMED]) + (", ..." if len(same) > _NAMED else "")
        kind = wanted.rsplit("/", 1)[1]
        return f"{nobody}; published as {kind}: {shown}; set {setting}, or remap"
    foreign = [(n, t) for n in sorted(published) for t in published[n] if remedy_for(t)]
    if foreign and wanted.endswith("PointCloud2"):
        return f"{nobody}; {foreign[0][0]} is a {foreign[0][1]}: {remedy_for(foreign[0][1])}"
    return f"{nobody}; is its driver running, in this ROS_DOMAIN_ID?"
