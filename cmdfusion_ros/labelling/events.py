"""How the processes of a run tell the command line what happens: one JSON object a line on
standard output, with its kind under "event".
"""

import json
import sys


def emit(event, **values):
    """Write one event. Plain values only; stamps and wall times are int nanoseconds (wall: the
    monotonic clock, which all processes of a machine share).
    """
    sys.stdout.write(json.dumps({"event": event, **values}) + "\n")
    sys.stdout.flush()
