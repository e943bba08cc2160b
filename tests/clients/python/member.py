"""What members of groups share: their options, their stop, what they tell; see the README."""

import json
import sys
import threading
import traceback

OPTIONS = json.loads(sys.argv[2])
STOPPING = threading.Event()


def tell(event, **content):
    """One event, as a line."""
    print(json.dumps({"event": event, **content}), flush=True)


def failed(error):
    """Tells of an error that the library showed to its user."""
    traceback.print_exception(error)
    tell("failed", **{"class": type(error).__name__, "message": str(error)})


def places(partitions):
    """Partitions as the language writes them."""
    return [[p.topic, p.partition] for p in partitions]


def position(first, last):
    """What to commit after the records from first to last; None where the options forbid it."""
    below = OPTIONS.get("commit_below")
    if below is None:
        return last + 1
    return min(last + 1, below) if first < below else None


def _stop_at_the_end_of_input():
    sys.stdin.read()
    STOPPING.set()


threading.Thread(target=_stop_at_the_end_of_input, daemon=True).start()
