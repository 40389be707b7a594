"""The environment's switches and names: understood, or refused; never taken for off because of a blank or a capital."""

from pathlib import Path

import pytest

from migrator.config import load
from migrator.core.environ import FALSE, TRUE
from migrator.core.errors import ConfigError, RevisionFileError, UsageError
from migrator.core.outcome import Decision
from migrator.runtime.migrator import Migrator
from tests.acceptance._project import Project

PRODUCTION = "[environments.production]\nprotected = true\n[environments.staging]\n"


@pytest.fixture
def toml(tmp_path: Path) -> str:
    """Write a configuration with a protected environment."""
    file = tmp_path / "migrator.toml"
    file.write_text(f'[databases.main]\nurl = "postgresql://u@h/d"\n{PRODUCTION}', "utf-8")
    return str(file)


@pytest.mark.parametrize("name", ["production", "production\n", " production", "production\t", "\u00a0production\r\n"])
def test_blanks_around_the_environment(toml: str, name: str) -> None:
    """Blanks around the name of an environment do not count, so that a protected one stays protected."""
    found = load(toml, {"ENVIRONMENT": name})
    assert found.environment == "production"
    assert found.protected


@pytest.mark.parametrize(
    "name",
    ["Production", "PRODUCTION", '"production"', "pro duction", "production\u200b", "\ufeffproduction", "Staging",
     "prod", "prd-production", "producton", "production-eu", "\uff50roduction", "production\udcff"],
)  # fmt: skip
def test_lookalikes_of_the_environment(toml: str, name: str) -> None:
    """A name that may be another spelling of a configured environment is refused."""
    with pytest.raises(ConfigError) as caught:
        load(toml, {"ENVIRONMENT": name})
    assert caught.value.exit_code == 3
    assert "ENVIRONMENT" in caught.value.message


@pytest.mark.parametrize("name", ["", "  ", "ci", "staging", "development", "staging-2"])
def test_other_environments(toml: str, name: str) -> None:
    """Names of their own stay possible; an empty one is the file's."""
    found = load(toml, {"ENVIRONMENT": name})
    assert found.environment == (name.strip() or "development")
    assert not found.protected


def test_the_file_and_its_channels(tmp_path: Path) -> None:
    """The file's own `environment` is held against the tables and the channels in the same way."""
    file = tmp_path / "migrator.toml"
    file.write_text(
        f'environment = "Production"\n[databases.main]\nurl = "postgresql://u@h/d"\n{PRODUCTION}'
        '[notify.x]\nkind = "webhook"\nurl = "https://h/x"\nenvironments = ["QA"]\n',
        "utf-8",
    )
    with pytest.raises(ConfigError, match="environment is 'Production'"):
        load(str(file), {})
    with pytest.raises(ConfigError, match="'QA'"):
        load(str(file), {"ENVIRONMENT": "qa"})


@pytest.mark.parametrize("switch", ["DRY_RUN", "DEBUG"])
def test_words_of_a_switch(toml: str, switch: str) -> None:
    """A switch knows the words for on and off in any case and with blanks around them, and refuses all others."""
    for word in TRUE:
        for form in (word, word.upper(), f" {word}", f"{word}\n", f"{word}\r"):
            assert getattr(load(toml, {switch: form}), switch.lower()), form
    for word in FALSE:
        for form in (word, word.upper(), f" {word}\n"):
            assert not getattr(load(toml, {switch: form}), switch.lower()), form
    for form in ("2", "ja", "ture", '"true"', "true;", "yes!", "enabled", "on off", "tru\udcff"):
        with pytest.raises(ConfigError, match=switch) as caught:
            load(toml, {switch: form})
        assert form not in caught.value.message


def test_other_variables(toml: str) -> None:
    """The other variables are read without the blanks around them, too."""
    found = load(
        toml, {"LOG_LEVEL": " info\n", "RELEASE": "v1\n", "RETENTION_DAYS": "3\n", "CLEANUP_INTERVAL": "24h\n"}
    )
    assert (found.log_level, found.release, found.retention.keep_days) == ("INFO", "v1", 3)
    with pytest.raises(ConfigError, match="LOG_LEVEL"):
        load(toml, {"LOG_LEVEL": "loud"})


def test_addresses_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address with blanks around it is still of its own kind, and one of blanks only is not set."""
    monkeypatch.chdir(tmp_path)
    found = load(None, {"DATABASE_URL": " mongodb://h/d\n", "MONGODB_URI": "  "})
    assert {name: each.url.scheme for name, each in found.databases.items()} == {"mongo": "mongodb"}


def test_a_protected_environment_is_not_reverted(shop: Project) -> None:
    """A protected environment is not reverted, however it is written, and a dry run is one with any known word."""
    shop.toml.write_text(shop.toml.read_text("utf-8") + PRODUCTION, "utf-8")
    shop.table("main", "a1")
    shop.good("upgrade", "head")
    for name in ("production\n", "Production"):
        refused = shop.run("downgrade", "base", env={"ENVIRONMENT": name})
        assert refused.exit_code == 3, refused
    for word, code in (("y", 10), ("true ", 10), ("ja", 3)):
        assert shop.run("downgrade", "base", env={"DRY_RUN": word}).exit_code == code
    assert shop.states() == {"a1": "applied"}


async def test_commands_without_a_dry_run(shop: Project) -> None:
    """Under DRY_RUN a command that has no dry run is refused before it changes anything."""
    shop.table("main", "a1")
    async with Migrator.open(load(str(shop.toml), {"DRY_RUN": "yes"})) as migrator:
        for ask in (
            migrator.unlock("it hangs"),
            migrator.resolve("r", Decision.RETRY, "why"),
            migrator.retry_failed("r"),
            migrator.controls.pause(),
            migrator.controls.resume(),
            migrator.controls.cancel(reason="why"),
            migrator.controls.tune({}),
            migrator.past.delete([]),
        ):
            with pytest.raises(UsageError, match="DRY_RUN"):
                await ask
        assert await migrator.unlock() == {"main": None}


async def test_environments_of_a_revision(shop: Project) -> None:
    """A revision for an environment that is this one but for its case is refused, and not left out."""
    shop.table("main", "a1", environments=["Staging"])
    async with Migrator.open(load(str(shop.toml), {"ENVIRONMENT": "staging"})) as migrator:
        with pytest.raises(RevisionFileError, match="'Staging'"):
            await migrator.upgrade()
    async with Migrator.open(load(str(shop.toml), {"ENVIRONMENT": "elsewhere"})) as migrator:
        assert (await migrator.upgrade()).runs == ()
