"""The suite that every adapter passes; `place` is each of ours in turn."""

from migrator.testing.suite import *  # noqa: F403
