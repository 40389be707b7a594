"""The log of a run does not depend on what a script, or a library that it calls, does to the program's logging."""

import logging
from collections.abc import Iterator

import pytest

from migrator import BlockingMigrator
from migrator.config import load
from migrator.core.errors import RunFailed
from tests.acceptance._project import Project

DICT = 'import logging.config; logging.config.dictConfig({"version": 1, "disable_existing_loggers": True'
SWITCHES = {
    "existing": f"{DICT}}})",
    "root": f'{DICT}, "root": {{"level": "ERROR", "handlers": []}}}})',
    "ours": f'{DICT}, "loggers": {{"migrator": {{"level": "CRITICAL", "propagate": False}}}}}})',
    "disable": "import logging; logging.disable(logging.CRITICAL)",
    "file": "import io, logging.config; logging.config.fileConfig(io.StringIO("
    "'[loggers]\\nkeys=root\\n[handlers]\\nkeys=\\n[formatters]\\nkeys=\\n[logger_root]\\nhandlers=\\n'))",
}


@pytest.fixture
def _logging() -> Iterator[None]:
    """Put the logging of the tests' own process back."""
    root, manager = logging.getLogger(), logging.Logger.manager
    loggers = [root, *(each for each in manager.loggerDict.values() if isinstance(each, logging.Logger))]
    kept = [(each, each.level, each.propagate, each.disabled, list(each.handlers)) for each in loggers]
    yield
    logging.disable(logging.NOTSET)
    for each in manager.loggerDict.values():
        if isinstance(each, logging.Logger):
            each.disabled = False
    for logger, level, propagate, disabled, handlers in kept:
        logger.setLevel(level)
        logger.propagate, logger.disabled, logger.handlers[:] = propagate, disabled, handlers


@pytest.mark.usefixtures("_logging")
@pytest.mark.parametrize("switch", SWITCHES.values(), ids=SWITCHES)
def test_switches(both: Project, switch: str) -> None:
    """Lines after the switch are in the log of the run, of a later run, and of a cleanup; on both databases."""
    for database in both.urls:
        body = f"{switch}\nctx.log.info('in the script')\nctx.log.getChild('part').error('in a part')"
        path = both.revision(database, "a1", upgrade=body)
        path.write_text(f"{path.read_text()}async def cleanup(ctx):\n    ctx.log.warning('in the cleanup')\n", "utf-8")
        both.revision(database, "a2", "a1", upgrade="ctx.log.error('in the next')\nraise ValueError('wrong')")
        with BlockingMigrator(load(str(both.toml))) as migrator, pytest.raises(RunFailed, match="wrong") as failed:
            migrator.upgrade(f"{database}:head")
        first, second = (both.folder / "logs" / each.log_file for each in (*failed.value.done, failed.value.failed))
        for words in ("in the script", "in a part", "in the cleanup"):
            assert words in first.read_text("utf-8")
        assert "in the next" in second.read_text("utf-8")
        assert failed.value.failed.result is not None
        assert "[ERROR] in the next" in failed.value.failed.result["log"]
