"""Coroutines that a script made and never awaited: what they were to do was not done.

Python reports one when its last reference goes, by `warnings._warn_unawaited_coroutine`, and then by the filters for
warnings, which may hide it or turn it into an error that nobody can catch. So it is heard before the filters.
"""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from typing import TYPE_CHECKING, Any

from migrator.core.errors import AwaitForgotten

if TYPE_CHECKING:
    from types import CoroutineType

_HOOK = "_warn_unawaited_coroutine"
_WATCH: ContextVar["Watch | None"] = ContextVar("what the running script forgot to await", default=None)


class Watch:
    """The coroutines of one file that were dropped without an await, as texts."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lost: list[str] = []

    def hear(self, coroutine: "CoroutineType[Any, Any, Any]", dropped: tuple[str, int]) -> bool:
        """Take in a coroutine that was made, dropped, or written in our file; False for any other."""
        made = [(name, line) for name, line, _ in getattr(coroutine, "cr_origin", None) or ()]
        code = coroutine.cr_code
        places = [*made, dropped, (code.co_filename, code.co_firstlineno)]
        line = next((line for name, line in places if name == self._path), None)
        if line is not None:
            self._lost.append(f"{self._path}:{line}: {coroutine.__qualname__}(...) was never awaited")
        return line is not None

    def check(self) -> None:
        """Raise AwaitForgotten for the first of them, once."""
        if self._lost:
            first, self._lost = self._lost[0], []
            raise AwaitForgotten(first, hint="Write `await` before the call.")


@contextmanager
def watching(path: str) -> Iterator[Watch]:
    """Watch for the coroutines of one file, in the order in which the blocks were entered."""
    watch = Watch(path)
    token = _WATCH.set(watch)
    try:
        with _EAR.listening(watch):
            yield watch
    finally:
        _WATCH.reset(token)


def check_awaited() -> None:
    """Raise AwaitForgotten where the script that runs here has dropped a coroutine so far."""
    watch = _WATCH.get()
    if watch is not None:
        watch.check()


class _Ear:
    """Hears of every dropped coroutine of the program while somebody watches; what is nobody's is passed on."""

    def __init__(self) -> None:
        self._watches: list[Watch] = []
        self._turn = Lock()
        self._pass_on: Any = None

    @contextmanager
    def listening(self, watch: Watch) -> Iterator[None]:
        depth = sys.get_coroutine_origin_tracking_depth()
        sys.set_coroutine_origin_tracking_depth(max(depth, 1))
        with self._turn:
            if not self._watches:
                self._pass_on = getattr(warnings, _HOOK, None)
                setattr(warnings, _HOOK, self.hear)
            self._watches.append(watch)
        try:
            yield
        finally:
            with self._turn:
                self._watches.remove(watch)
                if not self._watches:
                    setattr(warnings, _HOOK, self._pass_on)
                    sys.set_coroutine_origin_tracking_depth(depth)

    def hear(self, coroutine: "CoroutineType[Any, Any, Any]") -> None:
        """Give a coroutine to whoever watches its file, else to Python's own warning."""
        frame = sys._getframe(1)  # noqa: SLF001 - the frame that dropped it; there is no other way to it
        dropped = (frame.f_code.co_filename, frame.f_lineno)
        for watch in tuple(self._watches):
            if watch.hear(coroutine, dropped):
                return
        if self._pass_on is not None:
            self._pass_on(coroutine)


_EAR = _Ear()
