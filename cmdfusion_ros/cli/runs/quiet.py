"""--quiet: whether a verb says how far it is; one switch for the process, as for its terminal."""

_asked = False


def keep_quiet(quiet: bool) -> None:
    """Say nothing of progress from now on, or say it."""
    global _asked
    _asked = quiet


def is_quiet() -> bool:
    return _asked


def say_step(words: str) -> None:
    """Print what is being done now, unless --quiet was given."""
    if not _asked:
        print(words, flush=True)
