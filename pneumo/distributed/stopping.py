"""The request to stop: a flag that signals set and that training checks after each step."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from pneumo.runtime.console import log
from pneumo.runtime.errors import StopRequested


def stop_signals() -> tuple[signal.Signals, ...]:
    """Return the signals that request a stop: those of batch systems, Ctrl-C, and SIGHUP of a terminal that closes.

    nohup starts a command with SIGHUP ignored, and it must stay ignored then.
    """
    always = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
    return always if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (*always, signal.SIGHUP)


@contextmanager
def exiting_on_signals() -> Iterator[None]:
    """Turn signals that would end the process at once into an exit that runs what ``with`` and ``finally`` clean up.

    A second signal must not interrupt that.
    """
    before = {number: signal.getsignal(number) for number in stop_signals()}

    def leave(number: int, frame: FrameType | None) -> None:
        for other in before:
            signal.signal(other, signal.SIG_IGN)
        log.warning("stopped by %s", signal.Signals(number).name)
        raise SystemExit(128 + number)

    for number in before:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class StopFlag:
    """True once a signal has requested a stop; a second Ctrl-C ends the process at once.

    The handler only sets the flag: after each step the ranks agree whether to stop (``Vote``), and save.
    Where there is nothing to save, it raises: within ``raising``.
    """

    def __init__(self) -> None:
        self.signal_name = ""
        self._raises_during = ""
        # Only the main thread may install handlers; elsewhere (a test, a notebook) signals keep theirs.
        if threading.current_thread() is threading.main_thread():
            for number in stop_signals():
                signal.signal(number, self._handle)

    @contextmanager
    def raising(self, what: str) -> Iterator[None]:
        """Let the first signal raise ``StopRequested`` where it arrives, in the main thread, while the block runs.

        One that came before the block raises at once; one that comes behind it finds the work done.

        Args:
            what: What it interrupts, for the message; the same command does it again.
        """
        self._raises_during = what
        try:
            if self:
                raise self._request()
            yield
        finally:
            self._raises_during = ""

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal_name and number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.raise_signal(signal.SIGINT)
        is_first, self.signal_name = not self.signal_name, signal.Signals(number).name
        if self._raises_during and is_first:
            raise self._request()

    def _request(self) -> StopRequested:
        return StopRequested(f"during {self._raises_during}; received {self.signal_name}")

    def __bool__(self) -> bool:
        return bool(self.signal_name)
