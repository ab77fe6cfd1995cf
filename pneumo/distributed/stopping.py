"""Being asked to stop: a flag that signals set and that training looks at between two steps."""

import signal
import threading
from types import FrameType


class StopFlag:
    """Set by SIGTERM, SIGUSR1 or Ctrl-C, and looked at between two steps; a second Ctrl-C leaves at once.

    The handler only sets a flag: ranks agree on stopping at a step's border (``Group.any``), and save there.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)

    def __init__(self) -> None:
        self.signal_name = ""
        # Only the main thread may install handlers; elsewhere (a test, a notebook) signals keep their meaning.
        if threading.current_thread() is threading.main_thread():
            for number in self.SIGNALS:
                signal.signal(number, self._handle)

    def release(self) -> None:
        """Give the signals their plain meaning back: they end the process."""
        if threading.current_thread() is threading.main_thread():
            for number in self.SIGNALS:
                signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal_name and number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.raise_signal(signal.SIGINT)
        self.signal_name = signal.Signals(number).name

    def __bool__(self) -> bool:
        return bool(self.signal_name)
