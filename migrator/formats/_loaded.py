"""The parent of every revision module, so that another process can import one by its name.

A process pool that spawns its workers sends a function as the name of its module and its own. So the name of a
revision module says where its text is: the path of its file with a checksum, or, where there is no such file here (the
text came from the tracker, or another folder is the current one), the text itself.
"""

import sys
from base64 import b32decode, b32encode
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from urllib.parse import quote, unquote
from zlib import compress, crc32, decompress

from migrator.formats._text import decode, unix_lines

__path__: list[str] = []  # makes submodules of this module possible; none is in a folder

_OURS = f"{__name__}."


def name_of(text: str, path: str) -> str:
    """Return the name of the module of a revision; a dot would begin the name of a submodule."""
    kept = "" if Path(path).is_file() else b32encode(compress(text.encode("utf-8", "surrogatepass"))).decode()
    return f"{_OURS}{quote(path).replace('.', '%2E')}:{_checksum(text)}:{kept.rstrip('=')}"


def execute(module: ModuleType, text: str, path: str) -> None:
    """Execute the text of a revision as this module."""
    if Path(path).is_file():
        module.__file__ = str(Path(path).absolute())
    else:
        _remember_lines(text, path)
    module.__package__ = ""  # a revision is in no package: a relative import is refused
    exec(compile(text, path, "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - this is what a script is


class _Finder(MetaPathFinder, Loader):
    """Answers for our own submodules and for no other name."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how a revision module is loaded, None for every other name."""
        del path, target
        return ModuleSpec(fullname, self) if fullname.startswith(_OURS) else None

    def exec_module(self, module: ModuleType) -> None:
        """Execute the text to which the name leads. Raises ImportError where the file is gone or has changed."""
        quoted, checksum, kept = module.__name__.removeprefix(_OURS).rsplit(":", 2)
        path = unquote(quoted)
        try:
            text = _kept(kept) if kept else decode(Path(path).read_bytes(), path)
        except OSError as error:
            raise ImportError(f"{path} cannot be read: {error.strerror}") from error
        if _checksum(text) != checksum:
            raise ImportError(f"{path} has changed since the function was sent to this process")
        execute(module, text, path)


def _kept(text: str) -> str:
    return decompress(b32decode(text + "=" * (-len(text) % 8))).decode("utf-8", "surrogatepass")


def _checksum(text: str) -> str:
    return f"{crc32(unix_lines(text).encode('utf-8', 'surrogatepass')):08x}"


def _remember_lines(text: str, path: str) -> None:
    """Let tracebacks show the lines of a file that is only in the tracker."""
    import linecache

    linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)


sys.meta_path.append(_Finder())
