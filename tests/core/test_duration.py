"""Lengths of time: what tests/formats/test_duration.py says in rows, for any numbers."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.core.duration import seconds

UNITS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}


@given(parts=st.dictionaries(st.sampled_from(list(UNITS)), st.integers(0, 999_999_999), min_size=1))
def test_sum(parts: dict[str, int]) -> None:
    """From the longest unit to the shortest, each at most once, a length is the sum of its parts."""
    text = "".join(f"{parts[unit]}{unit}" for unit in UNITS if unit in parts)
    assert pytest.approx(sum(UNITS[unit] * number for unit, number in parts.items()) / 1000) == seconds(text)


@given(text=st.text("0123456789.dhms -+e", max_size=8))
def test_any_text(text: str) -> None:
    """Any text is a length of time that is not negative, or a ValueError that repeats it."""
    if re.fullmatch(r" *(0|(\d+(\.\d+)?d)?(\d+(\.\d+)?h)?(\d+(\.\d+)?m)?(\d+(\.\d+)?s)?(\d+(\.\d+)?ms)?) *", text):
        text = text.strip() or "0"
        assert (seconds(text) > 0) is any(digit in text for digit in "123456789")
    else:
        with pytest.raises(ValueError, match=re.escape(f'"{text}" is no length of time')):
            seconds(text)


@pytest.mark.parametrize(
    ("text", "advice"),
    [("90", "write 90s for seconds"), (" 1.5", "write 1.5s for seconds"), ("soon", "write for example 500ms, 90s")],
)
def test_advice(text: str, advice: str) -> None:
    """A number without a unit is shown with one; anything else is shown examples."""
    with pytest.raises(ValueError, match=advice):
        seconds(text)
