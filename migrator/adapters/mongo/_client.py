"""The driver's client, database and collection, for which a bound session counts as if it were given by `session=`.

pymongo sends a command without `session=` in the session that is bound (`AsyncClientSession.bind`), but chooses the
write concern and the read preference of the command before it looks for that session. Inside a transaction the server
refuses both. So these classes look for the session first: read and write concerns belong to the transaction there,
wherever they come from: the address, `with_options`, `get_collection`. And an error about a collection names it.

The overridden names are private in pymongo, which has no public ones. Should they change, the refusals return, which
tests notice.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pymongo.asynchronous.client_session import _SESSION, AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.asynchronous.mongo_client import AsyncMongoClient
from pymongo.errors import OperationFailure
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference, _ServerMode
from pymongo.results import ClientBulkWriteResult
from pymongo.server_type import SERVER_TYPE
from pymongo.topology_description import TOPOLOGY_TYPE
from pymongo.write_concern import WriteConcern

from migrator.core.errors import UsageError

Row = dict[str, Any]
INDIRECT = "Remove directConnection from the address, or name the primary in it."
"""What to do if the address leads to a secondary alone."""

_ENDS_TRANSACTION = ("abortTransaction", "commitTransaction")


class Client(AsyncMongoClient[Row]):
    """A client that may be used while a session of another client is bound.

    pymongo refuses every command of a client while another's session is bound, so a transactional step could not use
    `ctx.database("another")`.
    """

    def _get_bound_session(self) -> AsyncClientSession | None:
        bound = _SESSION.get()
        return bound if bound is not None and bound.client is self else None

    def __getitem__(self, name: str) -> "Database":
        """Return a database."""
        return Database(self, name)

    def get_database(self, *args: Any, **options: Any) -> "Database":
        """Return a database with options of its own."""
        return _database(super().get_database(*args, **options))

    def get_default_database(self, *args: Any, **options: Any) -> "Database":
        """Return the database of the address."""
        return _database(super().get_default_database(*args, **options))

    async def bulk_write(
        self, models: Any, session: AsyncClientSession | None = None, *args: Any, **options: Any
    ) -> ClientBulkWriteResult:
        """Write to several collections at once."""
        session = session or self._get_bound_session()
        if session is not None and session.in_transaction:
            options.pop("write_concern", None)
        return await super().bulk_write(models, session, *args, **options)


class Database(AsyncDatabase[Row]):
    """A database of such a client."""

    async def command(self, command: Any, value: Any = 1, *args: Any, **options: Any) -> Any:
        """Run a command. UsageError where it would end the bound transaction, which is the step's, not the script's."""
        name = command if isinstance(command, str) else next(iter(command), "")
        if name in _ENDS_TRANSACTION and (options.get("session") or _bound(self)) is not None:
            raise UsageError(
                f"a script cannot send {name}: the transaction is ended by its step, together with the tracker's entry",
                hint="Remove the command; `transaction = False` runs the revision without a transaction.",
            )
        return await super().command(command, value, *args, **options)

    async def _command(self, conn: Any, command: Any, value: Any = 1, *args: Any, **options: Any) -> Any:
        first = value if isinstance(command, str) else next(iter(command.values()), None)
        with _named(f"{self.name}.{first}" if isinstance(first, str) else ""):
            return await super()._command(conn, command, value, *args, **options)

    def _write_concern_for(self, session: Any) -> WriteConcern:
        return _acknowledged(super()._write_concern_for(session or _bound(self)))

    def _read_preference_for(self, session: Any) -> _ServerMode:
        return super()._read_preference_for(session or _bound(self))

    def __getitem__(self, name: str) -> "Collection":
        """Return a collection."""
        return Collection(self, name)

    def with_options(self, *args: Any, **options: Any) -> "Database":  # type: ignore[override] # the same, untyped
        """Return this database with other options."""
        return _database(super().with_options(*args, **options))

    def get_collection(self, *args: Any, **options: Any) -> "Collection":
        """Return a collection with options of its own."""
        return _collection(super().get_collection(*args, **options))

    async def create_collection(self, *args: Any, **options: Any) -> "Collection":
        """Create a collection and return it."""
        return _collection(await super().create_collection(*args, **options))


class Collection(AsyncCollection[Row]):
    """A collection of such a database."""

    async def _command(self, *args: Any, **options: Any) -> Any:
        with _named(self.full_name):
            return await super()._command(*args, **options)

    def _write_concern_for(self, session: Any) -> WriteConcern:
        return _acknowledged(super()._write_concern_for(session or _bound(self.database)))

    def _read_preference_for(self, session: Any) -> _ServerMode:
        return super()._read_preference_for(session or _bound(self.database))

    def __getitem__(self, name: str) -> "Collection":
        """Return the collection `<this>.<name>`."""
        return _collection(super().__getitem__(name))

    def with_options(self, *args: Any, **options: Any) -> "Collection":  # type: ignore[override] # the same, untyped
        """Return this collection with other options."""
        return _collection(super().with_options(*args, **options))


@contextmanager
def _named(namespace: str) -> Iterator[None]:
    """Note in the server's answer which collection a command was about: its text often does not name it."""
    try:
        yield
    except OperationFailure as error:
        if namespace and isinstance(error.details, dict):
            error.details.setdefault("ns", namespace)
        raise


def admin(db: AsyncDatabase[Row]) -> AsyncDatabase[Row]:
    """Return the database for questions about the server: of the primary, without a read concern of the address."""
    return db.client.get_database("admin", read_preference=ReadPreference.PRIMARY, read_concern=ReadConcern())


def followed(client: AsyncMongoClient[Row]) -> bool:
    """Return whether the only server that the client talks to is a secondary, as far as the driver knows."""
    topology = client.topology_description
    single = topology.topology_type == TOPOLOGY_TYPE.Single
    servers = topology.server_descriptions().values()
    return single and any(each.server_type == SERVER_TYPE.RSSecondary for each in servers)


def _bound(database: AsyncDatabase[Row]) -> AsyncClientSession | None:
    return database.client._get_bound_session()  # noqa: SLF001 - see the module


def _acknowledged(concern: WriteConcern) -> WriteConcern:
    if not concern.acknowledged:
        raise UsageError(
            "a write with w=0 is not answered by the server, so nobody knows whether it was done",
            hint="Use another write concern in the revision.",
        )
    return concern


def _database(made: AsyncDatabase[Row]) -> Database:
    options = made.codec_options, made.read_preference, made.write_concern, made.read_concern
    return Database(made.client, made.name, *options)


def _collection(made: AsyncCollection[Row]) -> Collection:
    options = made.codec_options, made.read_preference, made.write_concern, made.read_concern
    return Collection(made.database, made.name, False, *options)
