"""Signals that ask a run to stop: a handler notes them, and training checks for them between steps.

Nothing is saved or sent inside a handler: it runs wherever Python happens to be, and on several ranks never at the same
place, so that whatever waits there for the other ranks waits for ever.
"""

from __future__ import annotations

import atexit
import signal
import threading
from typing import Any

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))
"""Signals by their number as a request: 1 is SIGTERM, sent to get the machine back; 2 is SIGUSR1, the warning
before a time limit, which alone asks to be queued again."""

_state: dict[str, int] = {"request": 0}
_installed = False


def install() -> None:
    """Install the handlers that note signals; call again if other code may have replaced them.

    Only the main thread can; elsewhere nothing happens.
    """
    global _installed
    if threading.current_thread() is not threading.main_thread():
        return
    for number in SIGNALS:
        signal.signal(number, _note)
    if not _installed:
        # Python gives handlers back before it has taken itself apart: a signal in its last moments would kill a process
        # that has done its work, and its exit status would say that it failed.
        atexit.register(_ignore)
    _installed = True
    if hasattr(signal, "pthread_sigmask"):
        # Whoever starts ranks holds signals back until there is a handler.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def installed() -> bool:
    """Whether ``install`` was called in this process."""
    return _installed


def request() -> int:
    """Return the strongest request so far: 0 if none, else 1 + its index in ``SIGNALS``."""
    return _state["request"]


def ask(number: int) -> None:
    """Note a signal as if it had been received."""
    _state["request"] = max(_state["request"], 1 + SIGNALS.index(signal.Signals(number)))


def clear() -> None:
    """Forget every request, once it is answered."""
    _state["request"] = 0


def _ignore() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _note(number: int, frame: Any) -> None:
    del frame
    ask(number)
