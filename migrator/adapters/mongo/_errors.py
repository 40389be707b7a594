"""pymongo's errors as ours, most specific first; no value of a document and no secret gets into a message.

The server's own text is kept where it speaks of names, and blotted out where it may quote a document.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from bson.errors import BSONError, InvalidBSON
from pymongo import errors as driver

from migrator.core import errors as core

NOT_IN_TRANSACTION = (
    "Inside a transaction MongoDB allows reading, inserting, updating and deleting documents, creating a collection, "
    "and an index on a collection that is new in the same transaction and still empty. It does not allow an index on "
    "a collection that exists, collMod, drop, dropIndexes, renameCollection, listCollections, listIndexes, count, "
    "time-series or capped collections, $out and $merge"
)


CLASSES: Mapping[type[Exception], type[core.MigratorError]] = {
    driver.PyMongoError: core.StatementFailed,
    driver.ProtocolError: core.ConnectionLost,
    driver.ConnectionFailure: core.ConnectionLost,
    driver.WaitQueueTimeoutError: core.StatementTimeout,
    driver.AutoReconnect: core.ConnectionLost,
    driver.NetworkTimeout: core.ConnectionLost,
    driver.NotPrimaryError: core.ConnectionLost,
    driver.ServerSelectionTimeoutError: core.ConnectionLost,
    driver.ConfigurationError: core.ConfigError,
    driver.InvalidURI: core.ConfigError,
    driver.OperationFailure: core.StatementFailed,
    driver.CursorNotFound: core.StatementFailed,
    driver.ExecutionTimeout: core.StatementTimeout,
    driver.WriteConcernError: core.OutcomeUnknown,
    driver.WriteError: core.StatementFailed,
    driver.WTimeoutError: core.OutcomeUnknown,
    driver.DuplicateKeyError: core.StatementFailed,
    driver.BulkWriteError: core.StatementFailed,
    driver.ClientBulkWriteException: core.StatementFailed,
    driver.InvalidOperation: core.StatementFailed,
    driver.InvalidName: core.StatementFailed,
    driver.CollectionInvalid: core.StatementFailed,
    driver.DocumentTooLarge: core.StatementFailed,
    driver.EncryptionError: core.StatementFailed,
    driver.EncryptedCollectionError: core.StatementFailed,
    BSONError: core.StatementFailed,
}
"""Every class of the driver, named one by one, so that a new one is noticed by the test and not by a user."""

_AUTHENTICATION, _STEPPED_DOWN, _TIMES = (18, 8000), (91, 189, 10107, 11600, 11602, 13435, 13436), (50, 262)
_RETRYABLE, _USED_UP = (24, 112, 251), (146, 257, 292, 388, 14031)  # 257, 388: a transaction that is too large
CODES: Mapping[int, type[core.DatabaseError]] = {
    **dict.fromkeys(_AUTHENTICATION, core.AuthenticationFailed),
    **dict.fromkeys(_STEPPED_DOWN, core.ConnectionLost),
    **dict.fromkeys(_TIMES, core.StatementTimeout),
    **dict.fromkeys(_RETRYABLE, core.TransactionAborted),
    **dict.fromkeys(_USED_UP, core.ResourcesExhausted),
    13: core.PermissionDenied,
    **dict.fromkeys((79, 100), core.StatementFailed),  # a write concern that this set never satisfies
    263: core.StatementFailed,
}
"""What the server's numbers mean where they say more than the driver's class."""

_HINTS: Mapping[type[core.MigratorError], str] = {
    core.ConnectionFailed: "Check that the server runs, the host and the port, and the network between.",
    core.ConnectionLost: "Run the command again; it first reads what the tracker says.",
    core.AuthenticationFailed: "Check user and password, and authSource where the user lives in another database.",
    core.PermissionDenied: "Grant the user readWrite on this database, and dbAdmin for collMod and validators.",
    core.StatementTimeout: "Raise `timeout` in the revision, or do the work in smaller parts.",
    core.OutcomeUnknown: "Run the command again; it first reads what the tracker says.",
    core.ResourcesExhausted: "Make room on the server (its disk, or its memory), then run the command again.",
    core.ConfigError: "Check the address of the database.",
    core.TransactionAborted: "Run the command again; by default a transaction may last 60 seconds.",
}
_NAME_CODES = frozenset({13, 20, 26, 27, 48, 59, 67, 73, 79, 85, 86, 263, 40324})
"""Server errors whose quoted words are names, not values."""

_UNNAMED = frozenset({26, 27, 48, 67, 85, 86})
"""Server errors about a collection or its indexes, whose text often does not name the collection."""

_SILENT_CODES = frozenset({241, 121})
"""Server errors that quote values without quotation marks."""

_BRACES = re.compile(r"\{[^{}]*\}")
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_DOUBLE = re.compile(r"\"[^\"]*\"")
_DUPLICATE = re.compile(r"collection: (?P<collection>\S+) index: (?P<index>\S+)")
_DATE = re.compile(r"\byear\b|datetime")
_TECHNICAL = re.compile(r", Timeout:| \(configured timeouts:|, full error:")
"""Where the driver's text stops being for people."""

_INDEX = re.compile(r"(Requested|existing) index: \{[^{}]*key: \{[^{}]*\}, name: \"(?P<name>[^\"]*)\"")
_INDEX_CONFLICTS = (85, 86)
_TYPE = re.compile(r"of type: (<class '[\w.]+'>)")


@contextmanager
def translated(
    what: str,
    *,
    opening: bool = False,
    own: bool = False,
    writing: bool = False,
    again: bool = False,
    secrets: Iterable[str] = (),
) -> Iterator[None]:
    """Raise a driver's error as ours; `what` is what was being tried, as the beginning of the sentence.

    `opening`: nobody has answered yet. `own`: a command of ours, so that a time limit means a server that is too slow,
    not a step (ConnectionLost). `writing`: a write outside a transaction, so that a lost answer says nothing
    about it (OutcomeUnknown). `again`: a transaction that is begun again where the server says that nothing of it took
    effect (TransactionAborted, whatever ended it).
    """
    try:
        yield
    except (driver.PyMongoError, BSONError) as error:
        ours = explain(error, what, opening=opening, own=own, writing=writing, again=again)
        for secret in secrets:
            ours.message = ours.message.replace(secret, "***")
        ours.args = (ours.message,)
        raise ours from error


def explain(
    error: Exception,
    what: str,
    *,
    opening: bool = False,
    own: bool = False,
    writing: bool = False,
    again: bool = False,
) -> core.MigratorError:
    """Return our error for a driver's."""
    code, text = _said(error)
    kind = CODES.get(code) or _by_class(error)
    if kind is core.ConnectionLost and opening:
        kind = core.ConnectionFailed
    if kind is core.StatementTimeout and own:
        kind = core.ConnectionLost
    if kind in (core.ConnectionLost, core.StatementTimeout) and writing:
        kind = core.OutcomeUnknown
    aborted = again and transient(error)
    if aborted and kind is core.OutcomeUnknown:
        kind = core.TransactionAborted
    message, hint = f"{what}: {text}", _HINTS.get(kind, "")
    if code == 263 or (code == 20 and "transaction" in text):  # noqa: PLR2004 - not supported in a transaction
        message = f"{what}: {text.rstrip('.')}. {NOT_IN_TRANSACTION}."
        hint = "Do it in a revision with `transaction = False`, outside of batches, which are transactions too."
    if code in _INDEX_CONFLICTS:
        hint = "Drop the existing index first, or give the new one another name."
    if code in (79, 100):
        message = f"{what}: the write was done, but this replica set never satisfies its write concern ({text})"
        hint = "Correct `w` in the address of the database, or in the revision."
    if kind is core.ConnectionLost and (code in _STEPPED_DOWN or isinstance(error, driver.NotPrimaryError)):
        message = f"{what}: the server is not the primary, or not any more ({text})"
    if issubclass(kind, core.DatabaseError):
        ours = (core.TransactionAborted if aborted else kind)(message, code=str(code or ""), hint=hint)
        ours.exit_code = kind.exit_code
        return ours
    state = "It may or may not have taken effect." if kind is core.OutcomeUnknown else ""
    return kind(message, state=state, hint=hint)


def unknown(what: str) -> core.OutcomeUnknown:
    """Return the error for a commit that was never answered."""
    return core.OutcomeUnknown(
        f"{what}: the commit was sent and never answered for certain",
        state="It may or may not have taken effect.",
        hint=_HINTS[core.OutcomeUnknown],
    )


def deposed(what: str, error: BaseException) -> core.TransactionAborted:
    """Return the error for a transaction that ended with the term of its primary. Exit code 4, as for a lost one."""
    aborted = core.TransactionAborted(
        f"{what}: the replica set elected a primary in the middle of it, and that ended the transaction",
        code=str(getattr(error, "code", None) or ""),
        hint="Run the command again.",
    )
    aborted.exit_code = core.ConnectionLost.exit_code
    return aborted


def transient(error: BaseException) -> bool:
    """Say whether the server promises that the transaction did not take effect and may be tried again."""
    return isinstance(error, driver.PyMongoError) and error.has_error_label("TransientTransactionError")


def _by_class(error: Exception) -> type[core.MigratorError]:
    return next(CLASSES[each] for each in type(error).__mro__ if each in CLASSES)


def _said(error: Exception) -> tuple[int, str]:
    """Return the server's number (0 for none) and what may be shown of its text."""
    if isinstance(error, BSONError):
        return 0, _unstorable(error)
    if isinstance(error, driver.EncryptionError):
        return 0, "client-side encryption failed"
    if not isinstance(error, driver.OperationFailure):
        return 0, _TECHNICAL.split(str(error))[0]
    first = _first(error)
    code = int(first.get("code") or error.code or 0)
    return code, _shown(code, first)


def _first(error: driver.OperationFailure) -> Mapping[str, Any]:
    """Return the server's own document about the failure; of a bulk write that about its first failed part."""
    if isinstance(error, driver.ClientBulkWriteException):
        found = error.write_errors or error.write_concern_errors or ()
        return next((each for each in found if isinstance(each, Mapping)), {})
    details = error.details or {}
    for name in ("writeErrors", "writeConcernErrors"):
        if details.get(name):
            return dict(details[name][0])
    return details


def _shown(code: int, said: Mapping[str, Any]) -> str:
    text, name = str(said.get("errmsg") or ""), str(said.get("codeName") or f"error {code}")
    if code == 11000:  # noqa: PLR2004 - DuplicateKey; its text holds the key
        return _duplicate(text)
    if code in _SILENT_CODES or not text:
        return name if code != 121 else "a document does not satisfy the validator"  # noqa: PLR2004
    if code in _INDEX_CONFLICTS:
        text = _INDEX.sub(r"\1 index: \g<name>{", text)
    before = ""
    while before != text:
        before, text = text, _BRACES.sub("(…)", text)
    text = (_DOUBLE if code in _NAME_CODES else _QUOTED).sub("…", text)
    namespace = str(said.get("ns") or "")
    return f"{text} (collection {namespace})" if namespace and code in _UNNAMED and namespace not in text else text


def _duplicate(text: str) -> str:
    found = _DUPLICATE.search(text)
    where = f" {found['index']} of {found['collection']}" if found else ""
    return f"two documents would have the same key in the unique index{where}"


def _unstorable(error: Exception) -> str:
    if isinstance(error, driver.DocumentTooLarge):
        return "a document is larger than 16 MB"
    if isinstance(error, InvalidBSON):
        odd = "a date outside the years 1 to 9999" if _DATE.search(str(error)) else "a value"
        return f"a document has {odd} that Python cannot represent; read it with $toString or leave the field out"
    found = _TYPE.search(str(error))
    return f"a value cannot be stored as BSON{f' ({found[1]})' if found else ''}"
