"""Signalbox as `signalbox serve` starts it, with a thread beside it that counts objects when it is asked.

`python -m benchmarks.soak.observed PATH serve ...` listens on the socket at PATH: each connection gets one
`Census` as JSON. Nothing is measured between two questions, so the gateway runs as it does everywhere else.
"""

import asyncio
import ctypes
import gc
import runpy
import socket
import sys
import threading
from collections import Counter

import msgspec


class Census(msgspec.Struct):
    """What the collector sees after a collection, but for what was there before the first call."""

    tasks: dict[str, int]
    """Unfinished asyncio tasks by what they run."""
    objects: dict[str, int]
    """By type."""
    garbage: int
    """Objects that only collections could free since the start: they were part of cycles."""
    blocks: int
    """Python's small blocks in use, of objects that the collector does not follow too."""
    heap_bytes: int
    """What malloc has given out and was not freed; 0 where it does not say."""


_HEAP = (
    "arena",
    "ordblks",
    "smblks",
    "hblks",
    "hblkhd",
    "usmblks",
    "fsmblks",
    "uordblks",
    "fordblks",
    "keepcost",
)


class _Heap(ctypes.Structure):
    """glibc's `struct mallinfo2`."""

    _fields_ = [(name, ctypes.c_size_t) for name in _HEAP]


_ask_malloc = getattr(ctypes.CDLL(None), "mallinfo2", None)
if _ask_malloc is not None:
    _ask_malloc.restype = _Heap


def heap_bytes() -> int:
    if _ask_malloc is None:
        return 0
    heap = _ask_malloc()
    return int(heap.uordblks + heap.hblkhd)


class Garbage:
    """Adds up what each collection of the gateway's own finds."""

    def __init__(self) -> None:
        self.total = 0

    def __call__(self, phase: str, info: dict[str, int]) -> None:
        if phase == "stop":
            self.total += info["collected"]


garbage = Garbage()


def census() -> Census:
    gc.collect()
    objects = gc.get_objects()
    tasks = [each for each in objects if isinstance(each, asyncio.Task) and not each.done()]
    return Census(
        Counter(getattr(each.get_coro(), "__qualname__", "") for each in tasks),
        Counter(f"{type(each).__module__}.{type(each).__qualname__}" for each in objects),
        garbage.total,
        sys.getallocatedblocks(),
        heap_bytes(),
    )


def answer(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(msgspec.json.encode(census()))


if __name__ == "__main__":
    _, path, *arguments = sys.argv
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    door.bind(path)
    door.listen()
    gc.callbacks.append(garbage)
    threading.Thread(target=answer, args=(door,), name="census", daemon=True).start()
    sys.argv = ["signalbox", *arguments]
    runpy.run_module("app", run_name="__main__")
