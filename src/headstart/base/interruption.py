"""Ctrl-C and SIGTERM: the first ends what is done in an orderly way, a second one at once."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """The process was asked to end; `number` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def orderly() -> Iterator[None]:
    """Raise `Interrupted` at the first signal, and leave the next to the system, which ends the process.

    A signal that is ignored, as Ctrl-C is in the background of a shell, stays ignored. Outside the main
    thread, where Python lets nobody ask for signals, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    heard = [number for number, handler in before.items() if handler is not signal.SIG_IGN]

    def end(number: int, frame: FrameType | None) -> None:
        for one in heard:
            signal.signal(one, signal.SIG_DFL)
        raise Interrupted(number)

    for number in heard:
        signal.signal(number, end)
    try:
        yield
    except Interrupted:
        raise  # the process ends, and a second signal must not wait for it
    except BaseException:
        _restore(before)
        raise
    else:
        _restore(before)


def _restore(before: "dict[signal.Signals, signal._HANDLER]") -> None:
    for number, handler in before.items():
        signal.signal(number, handler)
