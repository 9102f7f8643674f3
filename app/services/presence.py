"""Whether somebody still waits for a call's answer."""

import asyncio


class Presence:
    """The caller of one call, and whoever shares its answer.

    When the caller leaves, the call's task is cancelled, unless others hold on to the answer: then it goes on until the
    last of them has let go.
    """

    __slots__ = ("_held", "left", "task")

    def __init__(self, task: asyncio.Task) -> None:
        self.left = False
        self.task = task
        self._held = 0

    def leave(self) -> None:
        self.left = True
        self._cancel_if_alone()

    def hold(self) -> None:
        self._held += 1

    def let_go(self) -> None:
        self._held -= 1
        if self.left:
            self._cancel_if_alone()

    def _cancel_if_alone(self) -> None:
        if not self._held:
            self.task.cancel()
