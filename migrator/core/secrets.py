"""What must never be shown, and text without it."""

import re
from collections.abc import Iterable

SHOWN_INSTEAD = "***"


class Mask:
    """Replaces secrets in texts. A secret of letters and digits only counts where it stands as a word."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets: frozenset[str] = frozenset()
        self.learn(secrets)

    def learn(self, secrets: Iterable[str]) -> None:
        """Replace these, too, from now on, wherever this mask is in use: a script's parameters come late."""
        self._secrets |= {secret for secret in secrets if secret}
        forms = sorted(self._secrets, key=len, reverse=True)
        parts = [rf"(?<!\w){re.escape(form)}(?!\w)" if form.isalnum() else re.escape(form) for form in forms]
        self._pattern = re.compile("|".join(parts)) if parts else None

    def __call__(self, text: str) -> str:
        """Return the text with every secret replaced."""
        return self._pattern.sub(SHOWN_INSTEAD, text) if self._pattern else text
