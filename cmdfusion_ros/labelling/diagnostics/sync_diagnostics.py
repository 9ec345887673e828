"""What the node says of its synchroniser on /diagnostics."""

from collections import Counter

from cmdfusion_ros.labelling.diagnostics.facts import ERROR, OK, WARN, NodeFacts, Part
from cmdfusion_ros.labelling.diagnostics.windows import SPAN, Window

_MANY_RESETS = 3  # within ten seconds: a bag that loops gives one in as long as it lasts


class SyncDiagnostics:
    """Remembers when time began anew. Not locked: its owner does that."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget what was, as at an activation."""
        self._epoch: int | None = None
        self._resets = Window()  # of epochs

    def part(self, facts: NodeFacts, now: float, modes: list[str]) -> Part:
        """The Part `sync` for NodeFacts at `now` (seconds of a steady clock). `modes`: names of
        the Mode of the last clouds labelled.
        """
        sync = facts.sync
        if sync is None:
            return Part("sync", OK, facts.state)
        if self._epoch is not None and sync.epoch != self._epoch:
            self._resets.add(now, sync.epoch)
        self._epoch = sync.epoch
        resets = self._resets.count_since(now - SPAN)
        counts = Counter(modes)
        values = {
            **{
                f"{name.lower()}_ratio": counts[name] / max(1, len(modes))
                for name in ("FUSED", "PARTIAL", "LIDAR_ONLY")
            },
            **{f"released.{name}": count for name, count in sync.modes.items()},
            "released": sync.released,
            "pending": sync.pending,
            "deadline_hits": sync.deadline_hits,
            **{f"reason.{name}": count for name, count in sync.reasons.items()},
            "mean_wait_ms": sync.mean_wait_ms,
            "p95_wait_ms": sync.p95_wait_ms,
            "suggested_max_wait_ms": sync.suggested_max_wait_ms,
            "epoch": sync.epoch,
            "clock_publishers": facts.graph.clock_publishers,
        }
        warnings = list(sync.warnings)
        if resets >= _MANY_RESETS:
            warnings.append(
                f"time began anew in {resets} of the last looks ({SPAN:g} s), and each time clouds "
                "are lost; do two play at once, on /clock or on the cloud topic?"
            )
        if facts.graph.clock_publishers > 1:
            warnings.append(
                f"/clock has {facts.graph.clock_publishers} publishers, and time jumps between them"
            )
        level = ERROR if resets >= _MANY_RESETS else WARN if warnings else OK
        return Part("sync", level, "; ".join(warnings) or "pairing", values)
