"""Lengths of time as people write them: `500ms`, `90s`, `10m`, `1h30m`."""

import re

_NUMBER = r"([0-9]{1,9}(?:\.[0-9]{1,9})?)"
_DURATION = re.compile(rf"(?:{_NUMBER}d)?(?:{_NUMBER}h)?(?:{_NUMBER}m(?!s))?(?:{_NUMBER}s)?(?:{_NUMBER}ms)?")
_SECONDS = (86_400.0, 3_600.0, 60.0, 1.0, 0.001)


def seconds(text: str) -> float:
    """Return the number of seconds that a text such as `1h30m` means; `0` is the only number without a unit.

    Units are d, h, m, s and ms, from the longest to the shortest, each at most once. Raises ValueError with a
    sentence that can be shown to the person who wrote the text.
    """
    plain = text.strip()
    if plain == "0":
        return 0.0
    found = _DURATION.fullmatch(plain)
    if not plain or found is None:
        unitless = plain.replace(".", "", 1).isdigit()
        advice = f"write {plain}s for seconds" if unitless else "write for example 500ms, 90s, 10m or 1h30m"
        raise ValueError(f'"{text}" is no length of time; {advice}')
    return sum(float(number) * unit for number, unit in zip(found.groups(), _SECONDS, strict=True) if number)
