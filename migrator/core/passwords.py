"""Passwords as they are kept: hashed with scrypt, which costs whoever tries many of them memory and time."""

import hashlib
import re
from base64 import b64decode, b64encode
from hmac import compare_digest
from secrets import token_bytes

FORM = re.compile(r"scrypt\$(\d{1,8})\$(\d{1,3})\$(\d{1,3})\$([A-Za-z0-9+/=]{8,200})\$([A-Za-z0-9+/=]{8,200})")
"""`scrypt$N$r$p$salt$hash`, the last two in Base64."""

COST = (2**15, 8, 3)
"""N, r and p: 32 MiB and a fifth of a second, as OWASP's "Password Storage Cheat Sheet" has it."""

_DEAREST = 2**23
"""N·r·p of a gibibyte, or of some seconds: dearer ones would stop the server."""

NOBODY = "$".join(["scrypt", *map(str, COST), b64encode(bytes(16)).decode(), b64encode(bytes(32)).decode()])
"""What no password is known to match: whoever does not exist is looked for as long as whoever does."""


def hashed(password: str) -> str:
    """Return what is kept of a password, with a salt of its own."""
    salt = token_bytes(16)
    found = _scrypt(password, salt, *COST, 32)
    return "$".join(["scrypt", *map(str, COST), b64encode(salt).decode(), b64encode(found).decode()])


def matches(password: str, kept: str) -> bool:
    """Say whether this is the password. Takes a fifth of a second. Raises ValueError for what is no hash."""
    match = FORM.fullmatch(kept)
    if match is None:
        raise ValueError("this is no hashed password")
    n, r, p, salt, wanted = int(match[1]), int(match[2]), int(match[3]), b64decode(match[4]), b64decode(match[5])
    return compare_digest(_scrypt(password, salt, n, r, p, len(wanted)), wanted)


def is_hash(text: str) -> bool:
    """Say whether `matches` can be asked about this."""
    match = FORM.fullmatch(text)
    if match is None:
        return False
    n, r, p = (int(match[place]) for place in (1, 2, 3))
    whole = all(len(match[place]) % 4 == 0 and "=" not in match[place].rstrip("=") for place in (4, 5))
    return whole and n > 1 and n & (n - 1) == 0 and 0 < n * r * p <= _DEAREST


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int, length: int) -> bytes:
    room = 128 * r * (n + p + 2)  # the least that OpenSSL asks for
    return hashlib.scrypt(
        password.encode("utf-8", "surrogatepass"), salt=salt, n=n, r=r, p=p, maxmem=room, dklen=length
    )
