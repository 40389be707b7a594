"""What docs/operate.md and the README together say of commands, options, keys and variables is what there is."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import click
import msgspec
import pytest

from migrator.cli import group
from migrator.config import FileTables, load
from migrator.core import errors
from migrator.core.logs import LEVELS, PARTS, is_log_of
from migrator.core.retention import Retention
from migrator.core.runs import WORDS
from migrator.keeping import LogsTable, RetentionTable
from migrator.runtime.runlog import RunLogs
from tests.docs.test_observing import names, section, toml
from tests.docs.test_readme import README, ROOT

OPERATE = (ROOT / "docs" / "operate.md").read_text("utf-8")
BOTH = README + OPERATE


def commands(of: click.Group = group, path: str = "migrator") -> Iterator[tuple[str, click.Command]]:
    """Yield every command with its whole name, those below others too."""
    context = click.Context(of)
    for name in of.list_commands(context):
        command = of.get_command(context, name)
        assert command is not None
        yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")


def tables(of: type[msgspec.Struct], path: str = "") -> Iterator[tuple[str, str]]:
    """Yield every key of migrator.toml with the table that it stands in."""
    for field in msgspec.structs.fields(of):
        below = [each for each in (field.type, *get_args(field.type)) if isinstance(each, type)]
        inner = [each for each in below if issubclass(each, msgspec.Struct)]
        if inner:
            yield from tables(inner[0], f"{path}{field.name}")
        else:
            yield path, field.name


def variables() -> set[str]:
    """Return the names of the environment variables that the configuration asks for."""
    sources = "".join(
        (ROOT / "migrator" / name).read_text() for name in ("config.py", "keeping.py", "observing.py", "scheduling.py")
    )
    return set(re.findall(r"\bvariables\.\w+\(env, \"([A-Z_]+)\"", sources))


@pytest.mark.parametrize(("path", "command"), [*commands()], ids=lambda value: value if isinstance(value, str) else "")
def test_every_command_and_option_is_named(path: str, command: click.Command) -> None:
    """Each command is named with its whole name, and each of its options."""
    assert re.search(rf"`{path}\b", BOTH) or re.search(rf"^\$ {path}\b", BOTH, re.MULTILINE), path
    words = [word for param in command.params if isinstance(param, click.Option) for word in param.opts]
    long = [word for word in words if word.startswith("--")]
    assert [word for word in long if not re.search(rf"(?<![\w-]){word}(?![\w-])", BOTH)] == [], path


def test_every_key_is_named() -> None:
    """Each key of migrator.toml is written or named in one of the two."""
    missing = [
        (table, key) for table, key in tables(FileTables) if not re.search(rf"(^|`){key}( =|`)", BOTH, re.MULTILINE)
    ]
    assert missing == []


def test_every_variable_is_named() -> None:
    """Each environment variable that the configuration reads is named in one of the two."""
    assert variables() >= {"DATABASE_URL", "DEBUG", "RETENTION_DAYS"}
    assert [name for name in variables() if not re.search(rf"\b{name}\b", BOTH)] == []


def test_no_option_is_invented() -> None:
    """Whatever option is shown in the sections on runs, logs and cleaning up is one of a command there."""
    known = {word for _, command in commands() for param in command.params for word in param.opts}
    for name in ("Runs", "Logs", "Cleaning up"):
        shown = set(re.findall(r"(?<![\w-])(--[a-z][a-z-]*)", section(name)))
        assert shown <= known, name


def test_logs_and_retention_are_shown_with_their_defaults(tmp_path: Path) -> None:
    """The two tables name every key and no other, and every value is the default; the README's are too."""
    shown: dict[str, Any] = {**toml("Logs"), **toml("Cleaning up")}
    assert set(shown["logs"]) == names(LogsTable)
    assert set(shown["retention"]) == names(RetentionTable)
    assert msgspec.convert(shown["logs"], LogsTable) == LogsTable()
    assert msgspec.convert(shown["retention"], RetentionTable) == RetentionTable()
    file = tmp_path / "migrator.toml"
    text = "\n".join(re.findall(r"```toml\n(.*?)```", section("Logs") + section("Cleaning up"), re.DOTALL))
    file.write_text(f'{text}\n[databases.main]\nurl = "postgresql://localhost/shop"\n', "utf-8")
    config = load(str(file), {"RETENTION_DAYS": "7"})
    assert config.retention == Retention(keep_days=7)
    assert config.logs.folder == tmp_path / "logs"


def test_words_levels_and_names() -> None:
    """All the words of a status, the levels, the number of parts and the form of a name are as they are."""
    rows = section("Runs")
    assert [word for word in WORDS if f"`{word}`" not in rows] == []
    (listed,) = re.findall(r'level = "INFO" +# .*: (.*)', section("Logs"))
    assert tuple(listed.split(", ")) == LEVELS[:-1]
    assert {9: "nine"}[PARTS] in section("Logs")
    assert "`logs/<script>-<time>-<run>.log`" in section("Logs")
    assert is_log_of("a1-20261120T103000Z-1abc.log", "1abc")
    assert hasattr(RunLogs, "named")


def test_the_readme_shows_a_part_of_the_same(tmp_path: Path) -> None:
    """What the README shows of the two tables is what the defaults are."""
    (block,) = (text for text in re.findall(r"```toml\n(.*?)```", README, re.DOTALL) if "lock_timeout" in text)
    shown = tomllib.loads(block)
    assert msgspec.convert(shown["logs"], LogsTable) == LogsTable()
    assert msgspec.convert(shown["retention"], RetentionTable) == RetentionTable()


def test_exit_codes_and_what_to_retry() -> None:
    """The table has every exit code, with whether to run the command again; a job fails at once at the others."""
    section = OPERATE.split("## Exit codes")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (\d+) \|.*\| (?:(yes|no) )?\|$", section, re.MULTILINE)
    tree: list[type[errors.MigratorError]] = [errors.MigratorError]
    for kind in tree:
        tree.extend(kind.__subclasses__())
    codes = {kind.exit_code for kind in tree}
    assert {int(code) for code, _ in rows} == codes | {0, 10, 11}
    assert {int(code) for code, again in rows if again == "yes"} == errors.RETRIED
    listed = re.search(r"values: \[([\d, ]+)\]", section)
    assert listed is not None
    assert {int(code) for code in listed[1].split(",")} == (codes | {10, 11}) - errors.RETRIED
