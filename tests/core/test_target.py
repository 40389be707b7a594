"""Targets as a person types them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.core.errors import UsageError
from migrator.core.target import FORMS, Target

GOOD = {
    "head": Target("head", anchor="head"),
    "heads": Target("heads", anchor="heads"),
    "base": Target("base", anchor="base"),
    "+2": Target("+2", offset=2),
    "-1": Target("-1", offset=-1),
    "3f2a": Target("3f2a", anchor="3f2a"),
    "3f2a+1": Target("3f2a+1", anchor="3f2a", offset=1),
    "label@head": Target("label@head", label="label", anchor="head"),
    "events:3f2a": Target("events:3f2a", database="events", anchor="3f2a"),
    "3f2a-2": Target("3f2a-2", anchor="3f2a", offset=-2),
    "events:-1": Target("events:-1", database="events", offset=-1),
    "events:base": Target("events:base", database="events", anchor="base"),
    "label@-1": Target("label@-1", label="label", offset=-1),
    "label@3f2a": Target("label@3f2a", label="label", anchor="3f2a"),
    "my-db_2:label@3f2a+10": Target("my-db_2:label@3f2a+10", "my-db_2", "label", "3f2a", 10),
    "7": Target("7", anchor="7"),
}
BAD = [
    "", " ", "@", ":", "events:", "label@", "events:label@", "head+1", "heads-1", "base+1", "label@head-1",
    "+", "-", "++1", "+1+1", "a b", "a:b:c", "a@b@c", "label@events:head", "3f2a+", "3f2a~1", "1db:head",
    "head\n", "a/b", "+1x", "3f2a+x", "-1.5", "+" + "9" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("text", GOOD)
def test_forms(text: str) -> None:
    """Every form is read into its parts."""
    assert GOOD[text] == Target.parse(text)


def test_promised_forms() -> None:
    """Every form that the hint promises is in the table above."""
    assert set() == set(FORMS.split(", ")) - GOOD.keys()


@pytest.mark.parametrize("text", BAD, ids=lambda text: repr(text[:20]))
def test_no_form(text: str) -> None:
    """Whatever has no known form is a UsageError that says what was typed and what to do."""
    with pytest.raises(UsageError) as caught:
        Target.parse(text)
    assert caught.value.exit_code == 3
    assert repr(text) in caught.value.message
    assert caught.value.state == "Nothing was changed."
    assert re.search(f"{re.escape(FORMS)}|Write [+-]1 alone", caught.value.hint)


@pytest.mark.parametrize(("text", "expected"), [("-1", True), ("events:+2", True), ("a@+1", True), ("3f2a+1", False)])
def test_relative(text: str, expected: bool) -> None:
    """Only an offset without an anchor counts from where the database stands."""
    assert expected is Target.parse(text).relative


@given(text=st.text(max_size=12) | st.from_regex(r"(\w{1,3}:)?(\w{1,3}@)?\w{0,4}([+-]\d{0,3})?", fullmatch=True))
def test_any_text(text: str) -> None:
    """Any text is read so that its parts make the same text again, or is a UsageError."""
    try:
        target = Target.parse(text)
    except UsageError:
        return
    spelled = f"{target.database}:" * bool(target.database) + f"{target.label}@" * bool(target.label) + target.anchor
    offset = text.removeprefix(spelled)
    assert text == spelled + offset
    assert target.offset == int(offset or 0)
