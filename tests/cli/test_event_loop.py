"""What the event loop of a command reports that no task received."""

import asyncio
import gc

import pytest

from migrator.cli._command import _complete

LOST = ConnectionError("unexpected connection_lost() call")
DEFECT = ValueError("a defect")


@pytest.mark.parametrize(("error", "is_reported"), [(LOST, False), (OSError(5, "input/output"), False), (DEFECT, True)])
def test_an_error_that_no_task_received(caplog: pytest.LogCaptureFixture, error: Exception, is_reported: bool) -> None:
    """The loss of a connection that a cancelled attempt to connect left behind prints no traceback; a defect does."""

    async def command() -> int:
        asyncio.get_running_loop().create_future().set_exception(error)
        gc.collect()
        return 0

    assert _complete(command) == 0
    assert ("never retrieved" in caplog.text) is is_reported
