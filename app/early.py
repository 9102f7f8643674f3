"""Signals to a gateway that is still starting: half a second goes by in imports before a server could hear them.

This module and what it needs are imported first, and so must be light.
"""

import os
import signal
from types import FrameType

STOPPED = b"signalbox: stopped before it had started\n"

_began = False


def listen() -> None:
    """Until the server has handlers of its own SIGTERM and SIGINT end the process, with exit status 0 and a line.

    SIGHUP is ignored, unless the terminal it was started on is gone: then it ends the process, too. The configuration
    is read anyway, and what changes meanwhile is seen by who watches the file.
    """
    had_terminal = os.isatty(0)

    def hung_up(sig: int, frame: FrameType | None) -> None:
        if had_terminal and not os.isatty(0):
            _stop(sig, frame)

    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, hung_up)


def began() -> None:
    """The server has taken over; what comes when it has put its handlers back finds a process that is ending."""
    global _began  # noqa: PLW0603 - of the process, as signals are
    _began = True


def _stop(_signal: int, _frame: FrameType | None) -> None:
    if _began:
        return
    try:
        os.write(2, STOPPED)
    finally:
        os._exit(0)  # an exception could be caught by whatever is being imported
