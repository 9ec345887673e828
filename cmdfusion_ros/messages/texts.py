"""Texts that came with messages, made fit for a terminal, a log and /diagnostics."""

MOST_LETTERS = 1000


def printable(text: object, most: int = MOST_LETTERS, lines: bool = False) -> str:
    """`text` with everything escaped that a terminal would obey (colours, cursor moves, line
    ends, reversed writing), and cut to `most` letters. With `lines`, line ends stay.

    Names of coordinate frames and the like are whatever a publisher wrote.
    """
    text = str(text)
    cut = text[:most] + (f"... ({len(text)} letters)" if len(text) > most else "")
    if cut.isprintable():
        return cut
    return "".join(
        letter
        if letter.isprintable() or (lines and letter == "\n")
        else letter.encode("unicode_escape").decode("ascii")
        if not "\ud800" <= letter <= "\udfff"
        else "\ufffd"
        for letter in cut
    )
