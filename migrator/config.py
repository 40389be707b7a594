"""migrator.toml, the environment and the options, made into one frozen Config. The only reader of the environment."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from migrator import keeping, observing, scheduling, serving
from migrator.core import environ as variables
from migrator.core.arguments import listed
from migrator.core.channel import Channel
from migrator.core.duration import seconds
from migrator.core.errors import ConfigError, UsageError
from migrator.core.files import explained
from migrator.core.retention import Retention
from migrator.core.schedule import Schedule
from migrator.core.secrets import Mask, of_environment
from migrator.core.url import Url

FILE_NAME = "migrator.toml"
EMBEDDED = "embedded"
_ENVIRONMENT = "the environment"
_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::-(?P<default>[^}]*))?\}")
_NAME = re.compile(r"[A-Za-z][\w-]{0,62}")
_WRITTEN = re.compile(r"\s*[^:/@]+://[^:@]*:(.+)@[^@]*", re.DOTALL)


class DatabaseTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[databases.NAME]`: `url`, the folder of `revisions`, the `pool` size, and `connect_timeout`.

    `direct_url` goes around a connection pooler; where it is given, it is used in place of `url`. `throttle` is what
    holds long changes back: see `core.throttle.Throttle`. `tracker_schema` (PostgreSQL) or `tracker_database` (MongoDB)
    says where a new tracker is made, and which one is meant where there are several.
    """

    url: str
    direct_url: str = ""
    revisions: str = ""
    pool: int = 2
    connect_timeout: str = "5s"
    throttle: dict[str, Any] = {}
    tracker_schema: str = ""
    tracker_database: str = ""


class LogTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[log]`: the `level` and the `format` of the log lines on stderr."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "WARNING"
    format: Literal["text", "json"] = "text"


class ExecutionTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[execution]`: the `engine` that runs the slices of long changes: "local", or "dask" with its `address`."""

    engine: Literal["local", "dask"] = "local"
    address: str = ""


class EnvironmentTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[environments.NAME]`: in a `protected` one destructive commands ask for its name."""

    protected: bool = False


class FileTables(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole of migrator.toml. `timeout` is for one step, `lock_timeout` for waiting for the lock; `path` are the
    folders in which revisions find modules of the project.
    """

    databases: dict[str, DatabaseTable] = {}
    environment: str = "development"
    environments: dict[str, EnvironmentTable] = {}
    execution: ExecutionTable = ExecutionTable()
    timeout: str = "5m"
    lock_timeout: str = "10m"
    path: tuple[str, ...] = (".",)
    log: LogTable = LogTable()
    logs: keeping.LogsTable = keeping.LogsTable()
    retention: keeping.RetentionTable = keeping.RetentionTable()
    schedule: dict[str, scheduling.ScheduleTable] = {}
    notify: dict[str, observing.NotifyTable] = {}
    metrics: observing.MetricsTable = observing.MetricsTable()
    tracing: observing.TracingTable = observing.TracingTable()
    web: serving.WebTable = serving.WebTable()


_TABLES: Mapping[str, type[msgspec.Struct]] = {
    "log": LogTable,
    "logs": keeping.LogsTable,
    "execution": ExecutionTable,
    "retention": keeping.RetentionTable,
    "metrics": observing.MetricsTable,
    "tracing": observing.TracingTable,
    "web": serving.WebTable,
}
_NAMED_TABLES: Mapping[str, type[msgspec.Struct]] = {
    "databases": DatabaseTable,
    "environments": EnvironmentTable,
    "notify": observing.NotifyTable,
    "schedule": scheduling.ScheduleTable,
}


class Database(msgspec.Struct, frozen=True):
    """One configured database. `connect_timeout` is in seconds; `embedded` names a server to start, "" for none.

    `tracker` is the key that says where the tracker is, with its value; ("", "") for none. `pooled` is the address that
    `url` goes around, where there is a `direct_url`.
    """

    name: str
    url: Url
    revisions: Path
    pool: int
    connect_timeout: float
    embedded: str = ""
    throttle: Mapping[str, Any] = {}
    tracker: tuple[str, str] = ("", "")
    pooled: Url | None = None


class Config(msgspec.Struct, frozen=True):
    """Everything that a command may want to know. Times are in seconds; `root` is where relative paths start."""

    root: Path
    source: str
    databases: Mapping[str, Database]
    environment: str
    timeout: float
    lock_timeout: float
    log_level: str
    log_format: str
    dry_run: bool
    debug: bool
    release: str = ""
    hidden: Mask = msgspec.field(default_factory=lambda: Mask(()))
    logs: keeping.Logs = keeping.Logs()
    retention: Retention = Retention()
    notify: tuple[Channel, ...] = ()
    metrics: observing.Metrics = observing.Metrics()
    tracing: bool = False
    protected: bool = False
    execution: ExecutionTable = ExecutionTable()
    schedules: tuple[Schedule, ...] = ()
    web: serving.Web = serving.Web()
    path: tuple[Path, ...] = ()

    def mask(self) -> Mask:
        """Return what hides the secrets of this configuration in a text, as it is now: a program may have made it, or
        changed a part of it.
        """
        urls = [url for each in self.databases.values() for url in (each.url, each.pooled) if url is not None]
        found = {secret for url in urls for secret in url.secrets()}
        probes = [str(database.throttle.get("http", "")) for database in self.databases.values()]
        found |= observing.secrets(self.notify, self.metrics, probes)
        self.hidden.learn({*found, *(repr(secret)[1:-1] for secret in found)})
        return self.hidden

    @property
    def file(self) -> str | None:
        """Return the path of migrator.toml, None where the environment stands in for it."""
        return str(self.root / Path(self.source).name) if self.source != _ENVIRONMENT else None

    def refuse_dry_run(self, command: str) -> None:
        """Raise UsageError under DRY_RUN, for a command that has no dry run and would change something."""
        if self.dry_run:
            raise UsageError(
                f"DRY_RUN is on, and `migrator {command}` has no dry run",
                state="Nothing was changed.",
                hint="To do it: run it again with DRY_RUN=0.",
            )

    def find_modules(self) -> None:
        """Put the folders of `path` before all others on the import path, unless they are on it."""
        import sys

        sys.path[:0] = [folder for each in self.path if (folder := str(each)) not in sys.path]

    @property
    def observed(self) -> bool:
        """Say whether anybody is to hear of what the commands do: a channel, metrics, or tracing."""
        return bool(self.notify or self.metrics.textfile or self.metrics.push or self.tracing)

    def named(self, databases: Sequence[str]) -> tuple[str, ...]:
        """Return the names of the databases that are meant, () as all. Raises ConfigError, UsageError."""
        return tuple(self.database(name).name for name in listed("databases", databases)) or tuple(self.databases)

    def database(self, name: str) -> Database:
        """Return one database. ConfigError with the nearest name where there is none."""
        if name not in self.databases:
            raise ConfigError(
                f"there is no database {name!r} in {self.source}",
                state="Nothing was changed.",
                hint=_nearest(name, self.databases) or "Known: " + ", ".join(self.databases),
            )
        return self.databases[name]


def is_set(name: str) -> bool:
    """Return whether an environment variable has a value; blanks are none."""
    return bool(os.environ.get(name, "").strip())


def load(path: str | None = None, environ: Mapping[str, str] | None = None) -> Config:
    """Read the configuration: the file (or, without one, DATABASE_URL and MONGODB_URI), then the environment.

    `path` is the file to read instead of migrator.toml here. Raises ConfigError; the message never holds a value.
    """
    env = os.environ if environ is None else environ
    file = Path(path or FILE_NAME)
    with explained():
        root, exists = file.parent.resolve(), os.path.lexists(file)
    if exists:
        with explained():
            tables = _read(file, env)
        source = str(file)
    elif path:
        raise ConfigError(f"there is no file {path}", hint="`migrator init` writes one.")
    else:
        tables, source = _from_environment(env)
    return _config(tables, source, root, env)


def configured(config: Config | None, url: str = "", revisions: str | os.PathLike[str] = "revisions") -> Config:
    """Return the configuration that a program means: its own, that of one address, or migrator.toml's.

    Raises ConfigError, UsageError where it is none or both.
    """
    if config is None and not url:
        return load()
    if config is not None and not isinstance(config, Config):
        hint = "An address is `url=...`; a file is read with `migrator.config.load(path)`."  # type: ignore[unreachable]
        raise UsageError("the configuration is not a migrator.Config", state="Nothing was changed.", hint=hint)
    if config is not None and url:
        raise UsageError("there are a configuration and a url", state="Nothing was changed.", hint="Give one of them.")
    if config is not None:
        return config
    tables = FileTables(databases={"main": DatabaseTable(url=url, revisions=os.fspath(revisions))})
    return _config(tables, _ENVIRONMENT, Path.cwd(), os.environ)


def _read(file: Path, env: Mapping[str, str]) -> FileTables:
    import tomllib

    try:
        raw = tomllib.loads(file.read_text("utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: {error}", state="Nothing was changed.", hint="Correct the line.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{file} is not UTF-8 text", hint="Write it as UTF-8.") from None
    _check_names(raw, file)
    expanded = _expanded(raw, "", file, env)
    try:
        return msgspec.convert(expanded, FileTables)
    except msgspec.ValidationError as error:
        raise ConfigError(
            f"{file}: {_without_values(str(error))}",
            state="Nothing was changed.",
            hint='Texts and times stand in quotes, numbers do not: pool = 4, timeout = "5m".',
        ) from None


def _from_environment(env: Mapping[str, str]) -> tuple[FileTables, str]:
    urls = [
        variables.text(env, "DATABASE_URL"),
        variables.text(env, "MONGODB_URI") or variables.text(env, "MONGO_URI"),
    ]
    tables = {"mongo" if url.startswith("mongodb") else "postgres": DatabaseTable(url=url) for url in urls if url}
    if not tables:
        raise ConfigError(
            f"there is no {FILE_NAME} here, and neither DATABASE_URL nor MONGODB_URI is set",
            hint="`migrator init` writes a migrator.toml; or set DATABASE_URL=postgresql://user@host/name.",
        )
    return FileTables(databases=tables), _ENVIRONMENT


def _config(tables: FileTables, source: str, root: Path, env: Mapping[str, str]) -> Config:
    if not tables.databases:
        raise ConfigError(f"{source} names no database", hint='Add: [databases.main] and url = "postgresql://..."')
    alone = len(tables.databases) == 1
    databases = {name: _database(name, table, root, alone=alone) for name, table in tables.databases.items()}
    debug = variables.flag(env, "DEBUG")
    level = variables.text(env, "LOG_LEVEL").upper() or ("DEBUG" if debug else tables.log.level)
    if level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise ConfigError(f"LOG_LEVEL is {level!r}", hint="Use DEBUG, INFO, WARNING or ERROR.")
    environment = _environment(tables, source, env)
    return Config(
        root=root,
        source=source,
        databases=databases,
        environment=environment,
        protected=environment in tables.environments and tables.environments[environment].protected,
        timeout=_seconds(tables.timeout, "timeout"),
        lock_timeout=_seconds(tables.lock_timeout, "lock_timeout"),
        log_level=level,
        log_format=tables.log.format,
        dry_run=variables.flag(env, "DRY_RUN"),
        debug=debug,
        release=variables.text(env, "RELEASE"),
        hidden=_written(tables.databases.values(), env),
        logs=keeping.logs(tables.logs, root),
        retention=keeping.retention(tables.retention, env),
        execution=_execution(tables.execution),
        schedules=scheduling.schedules(tables.schedule, env),
        notify=observing.channels(tables.notify),
        metrics=observing.metrics(tables.metrics, root),
        tracing=tables.tracing.enabled,
        web=serving.web(tables.web),
        path=tuple(Path(os.path.normpath(root / each)) for each in tables.path),
    )


def _environment(tables: FileTables, source: str, env: Mapping[str, str]) -> str:
    """Return the name of the environment. ConfigError if it may be another spelling of one in the file.

    Otherwise a slip would switch off what protects an environment, or what is kept for it.
    """
    given = variables.text(env, "ENVIRONMENT")
    name, where = (given, "ENVIRONMENT") if given else (tables.environment.strip(), "environment")
    if name in tables.environments:
        return name
    elsewhere = [each for table in tables.notify.values() for each in table.environments]
    twin = variables.lookalike(name, [*tables.environments, tables.environment, *elsewhere])
    guarded = [each for each, table in tables.environments.items() if table.protected]
    meant = twin or variables.slip_for(name, guarded)
    if meant:
        raise ConfigError(
            f"{where} is {name!r}, and {source} has {meant!r}",
            state="Nothing was changed.",
            hint=f"Write {meant!r}" + ("." if twin else f"; or, for another environment, add [environments.{name}]."),
        )
    return name


def _written(tables: Iterable[DatabaseTable], env: Mapping[str, str]) -> Mask:
    """Return what hides the secrets of the environment, and the passwords as they are written in the addresses.

    `Config.mask` adds their other forms.
    """
    written = [address for table in tables for address in (table.url, table.direct_url)]
    found = {match[1] for address in written if (match := _WRITTEN.fullmatch(address))}
    return Mask({*found, *(repr(secret)[1:-1] for secret in found), *of_environment(env)})


def _database(name: str, table: DatabaseTable, root: Path, *, alone: bool) -> Database:
    where = f"databases.{name}"
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{where}: the name may hold letters, digits, _ and -, and begins with a letter")
    if table.pool < 2:  # noqa: PLR2004 - the run's own connection, and one for whatever looks on
        raise ConfigError(f"{where}.pool is {table.pool}, and at least 2 are needed")
    address, key = (table.direct_url, "direct_url") if table.direct_url else (table.url, "url")
    scheme, colon, server = address.strip().partition(":")
    embedded = server if scheme == EMBEDDED and colon else ""
    url = Url(scheme=EMBEDDED, database=name) if embedded else Url.parse(address, f"{where}.{key}")
    return Database(
        name=name,
        url=url,
        revisions=root / (table.revisions or ("revisions" if alone else f"revisions/{name}")),
        pool=table.pool,
        connect_timeout=_seconds(table.connect_timeout, f"{where}.connect_timeout"),
        embedded=embedded,
        throttle=_throttle(table.throttle, where) if table.throttle else {},
        tracker=_tracker(table, where),
        pooled=_pooled(table, where),
    )


def _pooled(table: DatabaseTable, where: str) -> Url | None:
    around = table.direct_url and not table.url.strip().startswith(f"{EMBEDDED}:")
    return Url.parse(table.url, f"{where}.url") if around else None


def _tracker(table: DatabaseTable, where: str) -> tuple[str, str]:
    keys = {"tracker_schema": table.tracker_schema, "tracker_database": table.tracker_database}
    given = [(key, value) for key, value in keys.items() if value]
    if len(given) > 1:
        raise ConfigError(
            f"{where} has tracker_schema and tracker_database",
            state="Nothing was changed.",
            hint="tracker_schema is for PostgreSQL, tracker_database for MongoDB.",
        )
    return given[0] if given else ("", "")


def _throttle(table: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    from migrator.core.throttle import checked

    return checked(table, f"{where}.throttle")


def _execution(table: ExecutionTable) -> ExecutionTable:
    if (table.engine == "dask") != bool(table.address):
        raise ConfigError(
            "execution.engine and execution.address go together",
            hint='For example: engine = "dask" and address = "tcp://scheduler:8786".',
        )
    return table


def _seconds(text: str, where: str) -> float:
    try:
        return seconds(text)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}", state="Nothing was changed.") from None


def _check_names(raw: Mapping[str, Any], file: Path) -> None:
    """Refuse unknown keys, each with its path and the nearest known one."""
    _check_table(raw, FileTables, "", file)
    for name, table in _TABLES.items():
        if isinstance(found := raw.get(name), dict):
            _check_table(found, table, f"{name}.", file)
    for name, table in _NAMED_TABLES.items():
        named = raw.get(name)
        for each, found in named.items() if isinstance(named, dict) else ():
            if isinstance(found, dict):
                _check_table(found, table, f"{name}.{each}.", file)


def _check_table(raw: Mapping[str, Any], table: type[msgspec.Struct], path: str, file: Path) -> None:
    known = dict.fromkeys(table.__struct_fields__)
    for key in raw:
        if key not in known:
            raise ConfigError(
                f"{file}: unknown key {path}{key}",
                state="Nothing was changed.",
                hint=_nearest(key, known) or "Known here: " + ", ".join(known),
            )


def _expanded(value: Any, path: str, file: Path, env: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _expanded(each, f"{path}.{key}" if path else key, file, env) for key, each in value.items()}
    if isinstance(value, list):
        return [_expanded(each, path, file, env) for each in value]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        variables.refuse_odd(env, match["name"])
        found = env.get(match["name"]) or match["default"]
        if found is None:
            raise ConfigError(
                f"{file}: {path} needs the environment variable {match['name']}, which is not set",
                state="Nothing was changed.",
                hint=f"Set it, or give a default: ${{{match['name']}:-...}}",
            )
        return found

    return _VARIABLE.sub(replace, value)


def _nearest(word: str, known: Mapping[str, object]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"Did you mean {near[0]}?" if near else ""


def _without_values(message: str) -> str:
    """Return msgspec's message; it names types and paths, and enum values that may hold a secret are cut."""
    return re.sub(r"Invalid enum value '[^']*'", "a value that is not allowed", message).replace("`$.", "`")
