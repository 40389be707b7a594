"""The files that an address names: certificates and keys. What is wrong with them is a matter of configuration."""

import os
from pathlib import Path

from migrator.core.errors import ConfigError

_ENCRYPTED = b"ENCRYPTED"
"""In the first line of a key in PEM form with a password (PKCS#8), or in its second (the older form)."""


def need_readable(what: str, path: str) -> None:
    """Raise ConfigError with the path and the system's reason if a file cannot be read. `what` names the option."""
    try:
        with Path(path).open("rb"):
            pass
    except OSError as error:
        raise ConfigError(
            f"{what} cannot be read: {path}: {error.strerror}",
            state="Nothing was changed.",
            hint=f"Correct the path, or let this user (uid {os.getuid()}) read the file.",
        ) from error


def need_plain_key(what: str, path: str, option: str) -> None:
    """Raise ConfigError if a private key has a password: OpenSSL would ask for it at the terminal, for ever.

    `option` is what gives the password.
    """
    with Path(path).open("rb") as file:
        encrypted = any(_ENCRYPTED in line for line in file if line.startswith((b"-----BEGIN", b"Proc-Type:")))
    if encrypted:
        raise ConfigError(
            f"{what} is a private key with a password: {path}",
            state="Nothing was changed.",
            hint=f"Give the password as {option} in the address, or use a key without one.",
        )
