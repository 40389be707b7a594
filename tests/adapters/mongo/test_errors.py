"""Every error of the driver is one of ours, and none of them tells a value."""

import inspect

import pytest
from bson.errors import BSONError, InvalidDocument
from pymongo import errors as driver

from migrator.adapters.mongo._errors import CLASSES, explain, translated
from migrator.core import errors as core

PUBLIC = [
    each
    for name, each in vars(driver).items()
    if inspect.isclass(each) and issubclass(each, (driver.PyMongoError, BSONError)) and not name.startswith("_")
]


@pytest.mark.parametrize("kind", [each for each in PUBLIC if each is not InvalidDocument])
def test_no_class_of_the_driver_is_forgotten(kind: type[core.MigratorError]) -> None:
    """Each is named in the table, so that a new release cannot add one unseen."""
    assert kind in CLASSES


def test_private_classes_fall_under_a_named_one() -> None:
    """What the driver raises from within is at least a lost connection, a refused statement or the like."""
    for each in vars(driver).values():
        if inspect.isclass(each) and issubclass(each, driver.PyMongoError) and each not in CLASSES:
            assert any(base in CLASSES for base in each.__mro__[1:-3])


def _failure(code: int, text: str = "no", **more: object) -> driver.OperationFailure:
    return driver.OperationFailure(text, code, {"errmsg": text, "code": code, **more})


@pytest.mark.parametrize(
    ("error", "kind", "exit_code"),
    [
        (_failure(18), core.AuthenticationFailed, 5),
        (_failure(13), core.PermissionDenied, 5),
        (_failure(50), core.StatementTimeout, 1),
        (_failure(263), core.StatementFailed, 1),
        (_failure(11602), core.ConnectionLost, 4),
        (_failure(14031), core.ResourcesExhausted, 1),
        (_failure(251), core.StatementFailed, 1),
        (driver.ExecutionTimeout("x", 50, {}), core.StatementTimeout, 1),
        (driver.WTimeoutError("x", 64, {}), core.OutcomeUnknown, 14),
        (driver.WriteConcernError("x", 64, {}), core.OutcomeUnknown, 14),
        (driver.WriteConcernError("x", 79, {}), core.StatementFailed, 1),
        (driver.WriteConcernError("x", 11602, {}), core.ConnectionLost, 4),
        (driver.NotPrimaryError("x"), core.ConnectionLost, 4),
        (driver.NetworkTimeout("x"), core.ConnectionLost, 4),
        (driver.ServerSelectionTimeoutError("x"), core.ConnectionLost, 4),
        (driver._OperationCancelled("x"), core.ConnectionLost, 4),
        (driver.InvalidURI("x"), core.ConfigError, 3),
        (driver.BulkWriteError({"writeErrors": [{"code": 13, "errmsg": "x"}]}), core.PermissionDenied, 5),
    ],
)
def test_the_most_specific_meaning_wins(error: Exception, kind: type[core.MigratorError], exit_code: int) -> None:
    """The server's number says more than the driver's class, and the cause is kept."""
    with pytest.raises(kind) as caught, translated("main"):
        raise error
    assert (caught.value.exit_code, caught.value.__cause__) == (exit_code, error)
    assert caught.value.message.startswith("main: ")


def test_opening_and_writing_change_the_meaning() -> None:
    """Nobody answering is not the same as going away, and neither is a write whose answer was lost."""
    error = driver.AutoReconnect("x")
    assert isinstance(explain(error, "m", opening=True), core.ConnectionFailed)
    assert isinstance(explain(error, "m", writing=True), core.OutcomeUnknown)


SECRET = "hunter2"


@pytest.mark.parametrize(
    "error",
    [
        driver.DuplicateKeyError(
            "E11000",
            11000,
            {
                "code": 11000,
                "errmsg": f'E11000 duplicate key error collection: a.b index: c_1 dup key: {{ c: "{SECRET}" }}',
            },
        ),
        driver.BulkWriteError(
            {
                "writeErrors": [
                    {
                        "code": 11000,
                        "errmsg": f'collection: a.b index: c_1 dup key: {{ c: "{SECRET}" }}',
                        "op": {"c": SECRET},
                    }
                ]
            }
        ),
        _failure(14, f"Cannot apply $inc to a value of non-numeric type. {{_id: {{a: '{SECRET}'}}}} has the field"),
        _failure(241, f"Failed to parse number {SECRET} in $convert"),
        _failure(9, f"Failed to parse '{SECRET}'"),
        _failure(121, f"Document failed validation {SECRET}"),
        InvalidDocument(f"cannot encode object: {SECRET}, of type: <class 'set'>"),
        driver.EncryptionError(ValueError(SECRET)),
    ],
)
def test_no_value_of_a_document_is_told(error: Exception) -> None:
    """Indexes and collections are named, values are not."""
    told = explain(error, "main")
    assert SECRET not in str(told.as_dict())
    if getattr(error, "code", 0) in (11000, 65):
        assert "c_1 of a.b" in told.message


def test_names_stay_readable() -> None:
    """Where the server quotes a name, it is shown."""
    assert "'things'" in explain(_failure(26, "ns 'things' does not exist"), "main").message


def test_secrets_are_blotted_out() -> None:
    """Whatever the driver quotes of an address."""
    with pytest.raises(core.ConfigError) as caught, translated("main", secrets={SECRET}):
        raise driver.ConfigurationError(f"bad option {SECRET}")
    assert SECRET not in str(caught.value) + caught.value.message
