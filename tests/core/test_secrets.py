"""Texts without secrets."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from migrator.core.secrets import SHOWN_INSTEAD, Mask, of_environment
from migrator.core.utf8 import readable, visible

SECRETS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="*"), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("secrets", "text", "expected"),
    [
        pytest.param(["hunter2"], "password hunter2!", "password ***!", id="a word"),
        pytest.param(["app"], "app applied (app)", "*** applied (***)", id="a word is not a part of one"),
        pytest.param(["a.b"], "xa.by", "x***y", id="with a sign it counts anywhere"),
        pytest.param(["a.b"], "aXb", "aXb", id="signs are no pattern"),
        pytest.param(["p@s", "p@ss@word"], "p@ss@word p@s", "*** ***", id="the longest wins"),
        pytest.param(["x"], "x=x", "***=***", id="every time"),
        pytest.param(["", "pw"], "no pw here", "no *** here", id="the empty text is no secret"),
        pytest.param([], "nothing", "nothing", id="no secrets"),
        pytest.param([""], "", "", id="nothing at all"),
    ],
)
def test_mask(secrets: list[str], text: str, expected: str) -> None:
    """Each row's text without its secrets."""
    assert expected == Mask(secrets)(text)


DRIVERS = {
    "asyncpg": ("duplicate key\nDETAIL:  Key (email)=(ann\n@x) already exists.", "duplicate key\nDETAIL:  ***"),
    "with a hint": ("no\nDETAIL:  Key (a)=(ann).\nHINT:  do", "no\nDETAIL:  ***\nHINT:  do"),
    "in a traceback": ("E: no\nDETAIL:  Row (ann)\n\nThe above", "E: no\nDETAIL:  ***\n\nThe above"),
    "a type": ('invalid input syntax for type integer: "ann"', "invalid input syntax for type integer: ***"),
    "an enum": ('invalid input value for enum mood: "an"n"\nx', "invalid input value for enum mood: ***\nx"),
    "a range": ('value "99" is out of range for type integer', "value *** is out of range for type integer"),
    "an argument": ("for query argument $2: 'ann' (expected int)", "for query argument $2: *** (expected int)"),
    "an argument's type": (
        "query argument $1: 7 (expected str, got int)",
        "query argument $1: *** (expected str, got int)",
    ),
    "an argument with parentheses": (
        "query argument $1: 'ann (bob) (an x)' ('str' object cannot be interpreted as an integer)",
        "query argument $1: *** ('str' object cannot be interpreted as an integer)",
    ),
    "an argument in its reason": (
        "query argument $1: 'ann' (invalid UUID 'ann': length must be between 32..36 characters, got 3)",
        "query argument $1: *** (invalid UUID ***: length must be between 32..36 characters, got ***)",
    ),
    "an argument after got": (
        "query argument $1: 77 (a bytes or str object expected, got 77)",
        "query argument $1: *** (a bytes or str object expected, got ***)",
    ),
    "an argument of many": (
        "query argument $1 in element #3 of executemany() sequence: 'ann' (an integer is required)",
        "query argument $1 in element #3 of executemany() sequence: *** (an integer is required)",
    ),
    "an argument out of range": (
        "query argument $1: 99999999999 (value out of int32 range)",
        "query argument $1: *** (value out of int32 range)",
    ),
    "a range of bytes": (
        "query argument $1: 'ann' (a bytes-like object is required, not 'str')",
        "query argument $1: *** (a bytes-like object is required, not 'str')",
    ),
    "an argument without a reason": ("for query argument $2: 'ann (bob)'", "for query argument $2: ***"),
    "sqlalchemy": ("[SQL: S $1]\n[parameters: ('ann',)]\n(See", "[SQL: S $1]\n[parameters: ***]\n(See"),
    "pymongo": ('index: e_1 dup key: { e: "ann" }, full error: {}', "index: e_1 dup key: ***"),
    "in bulk": ("batch op errors occurred, full error: {'a': 'ann'}", "batch op errors occurred, full error: ***"),
}


@pytest.mark.parametrize("name", DRIVERS)
def test_values_that_drivers_quote(name: str) -> None:
    """What a driver tells of a row or a document is taken out; what it names stays."""
    text, expected = DRIVERS[name]
    assert Mask([])(text) == expected


@given(secret=SECRETS, others=st.lists(SECRETS, max_size=3))
def test_any_secret(secret: str, others: list[str]) -> None:
    """A secret that stands between brackets is gone, whichever others there are."""
    assume(not any(set("[]") & set(each) for each in [secret, *others]))
    assume(not any(secret in other for other in others))
    assert secret not in Mask([secret, *others])(f"[{secret}]").strip("[]").replace(SHOWN_INSTEAD, "")
    assert f"[{SHOWN_INSTEAD}]" == Mask([secret])(f"[{secret}]")


@given(secrets=st.lists(SECRETS, max_size=3), text=st.text(max_size=30))
def test_other_texts_stay(secrets: list[str], text: str) -> None:
    """A text without any of the secrets is not touched, as long as it can be shown as it is."""
    assume(not any(secret in text for secret in secrets) and visible(readable(text)) == text)
    assert text == Mask(secrets)(text)


FORMS = {
    "an address": ("cannot use postgresql://u:pw@x@h/d?x=1", "cannot use postgresql://u:***@h/d?x=1"),
    "an address without a user": ("redis://:pw@h:6379/0", "redis://:***@h:6379/0"),
    "an address without a password": ("postgresql://u@h:5432/d", "postgresql://u@h:5432/d"),
    "a port": ("http://h:8080/path@x", "http://h:8080/path@x"),
    "a pair": ("host=h password=pw port=5", "host=h password=*** port=5"),
    "a quoted pair": ("password = 'a b' x", "password = *** x"),
    "a parameter": ("?sslpassword=pw&x=1", "?sslpassword=***&x=1"),
    "a field": ("Server=x;Pwd=pw;AccountKey=a1==;", "Server=x;Pwd=***;AccountKey=***;"),
    "a document": ("{'token': 'abc', 'n': 1}", "{'token': ***, 'n': 1}"),
    "an item": ("os.environ['PGPASSWORD']='pw'", "os.environ['PGPASSWORD']=***"),
    "a statement": ("CREATE ROLE x PASSWORD 'a''b' LOGIN", "CREATE ROLE x PASSWORD *** LOGIN"),
    "a header": ("Authorization: Bearer abcdefghi", "Authorization: Bearer ***"),
    "a key": (
        "x -----BEGIN RSA PRIVATE KEY-----\nMIIB\n-----END RSA PRIVATE KEY-----",
        "x -----BEGIN RSA PRIVATE KEY-----***-----END RSA PRIVATE KEY-----",
    ),
    "no secret": ("token: invalid, max_tokens=5, secret=None", "token: invalid, max_tokens=5, secret=None"),
    "masked already": ("password=*** postgresql://u:***@h", "password=*** postgresql://u:***@h"),
}


@pytest.mark.parametrize("name", FORMS)
def test_secrets_by_their_form(name: str) -> None:
    """A secret that nobody configured is known by where it stands; the words around it stay."""
    text, expected = FORMS[name]
    assert expected == Mask(())(text)
    assert expected == Mask(())(expected)


def test_secrets_of_the_environment() -> None:
    """Values of variables named as secrets, and the passwords in addresses of others, are secrets."""
    env = {"API_TOKEN": "abcdefg", "CACHE": "redis://:p%40w@h/1", "HOME": "/root", "PWD": "/a/b/c/d", "X_SECRET": "1"}
    assert of_environment(env) == {"abcdefg", "p%40w", "p@w"}


def test_literals_of_a_traceback() -> None:
    """A traceback keeps its lines of code; where something was taken from it, the literals in them go, too."""
    lines = ["Traceback (most recent call last):", '  File "a.py", line 3, in upgrade', '    raise ValueError("ann")']
    quiet = "\n".join([*lines, "ValueError: ann"])
    assert Mask(())(quiet) == quiet
    loud = quiet.replace("ValueError: ann", "E: no\nDETAIL:  Key (email)=(ann) exists.")
    shown = Mask(())(loud)
    assert 'raise ValueError("***")' in shown
    assert 'File "a.py", line 3, in upgrade' in shown
    assert "ann" not in shown
    grouped = "\n".join(f"    | {line}" for line in loud.splitlines())
    assert "ann" not in Mask(())(grouped)
