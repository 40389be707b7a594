"""Lengths of time."""

import pytest

from migrator.core.duration import seconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("500ms", 0.5),
        ("90s", 90),
        ("10m", 600),
        ("2h", 7200),
        ("1h30m", 5400),
        ("1.5h", 5400),
        (" 1d ", 86400),
    ],
)
def test_good(text: str, expected: float) -> None:
    """Units add up."""
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", " ", "90", "1.5", "10 min", "-5s", "1m1h", "1s1s", "m", "1e3s", "٣s", "s5", "²"])
def test_bad(text: str) -> None:
    """Whatever is not clear is refused with an example of what is."""
    with pytest.raises(ValueError, match="is no length of time; write"):
        seconds(text)
