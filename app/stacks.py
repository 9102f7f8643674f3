"""What every thread is doing, on demand: for a process that does not answer any more."""

import faulthandler
import signal
import sys
from contextlib import suppress


def tell_stacks() -> None:
    """SIGUSR1 and SIGQUIT write all stacks to standard error, and so does a crash: places in files, never a value.

    SIGQUIT would else leave a core file, with every secret in it.
    """
    with suppress(OSError, ValueError, AttributeError, RuntimeError):  # no standard error, or none with a descriptor
        faulthandler.enable(sys.stderr, all_threads=True)
        for name in ("SIGUSR1", "SIGQUIT"):
            if (number := getattr(signal, name, None)) is not None:
                faulthandler.register(number, sys.stderr, all_threads=True)
