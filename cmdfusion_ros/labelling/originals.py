"""The messages of a bag beside the labels that were made of it, in one bag and in order of
recording.
"""

from cmdfusion_ros.data.bags.bag import Bag, BagWriter
from cmdfusion_ros.data.bags.bag_layout import OWN_TOPICS


class Originals:
    """Copies the messages of a bag into another, byte for byte, as far as it is told to. What an
    earlier run of ours said (`OWN_TOPICS`) is left out: its labels are not those that come now.

    Args:
        bag: open Bag, which nobody else reads. writer: open BagWriter.

    Attributes:
        left_out: topics of an earlier run, sorted.
        undefined: {topic: why} of those that cannot be written, as nothing defines their types.
    """

    def __init__(self, bag: Bag, writer: BagWriter) -> None:
        self._bag, self._writer = bag, writer
        self.left_out = sorted(topic for topic in bag.topics if topic.startswith(OWN_TOPICS))
        self.undefined: dict[str, str] = {}
        kept = set(bag.topics) - set(self.left_out)
        self._messages = bag.messages(kept)
        self._next = next(self._messages, None)

    def copy_until(self, time: int | None) -> None:
        """Copy what was recorded up to `time` (ns; None: all) and is not copied yet."""
        while self._next is not None and (time is None or self._next.time <= time):
            try:
                self._writer.copy(self._next, self._bag)
            except ValueError as error:
                self.undefined.setdefault(self._next.topic, str(error))
            self._next = next(self._messages, None)
