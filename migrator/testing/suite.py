"""All tests of the suite, and its fixtures: `from migrator.testing.suite import *`."""

# ruff: noqa: F403

import pytest

from migrator.testing import adapter_factory, nothing_left, session
from migrator.testing.adapter import *
from migrator.testing.asked import *
from migrator.testing.journal import *
from migrator.testing.lock import *
from migrator.testing.past import *
from migrator.testing.rules import *
from migrator.testing.step import *
from migrator.testing.tracker import *

__all__ = [name for name in dir() if name.startswith("test_")]
__all__ += ["adapter_factory", "nothing_left", "pytestmark", "session"]

pytestmark = pytest.mark.asyncio
