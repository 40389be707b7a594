"""What docs/operate.md says of who may ask the HTTP API is what there is."""

import re
from pathlib import Path

import msgspec

from migrator.config import load
from migrator.core.journal import Role
from migrator.core.passwords import hashed
from migrator.dashboard import _attempts, _identities, security
from migrator.serving import UserTable, WebTable
from tests.docs.test_observing import first_words, names, section, toml

NAME = "The dashboard and the HTTP API"


def test_the_keys_and_their_defaults(tmp_path: Path) -> None:
    """The example names every key and no other, what it shows of `[web]` are the defaults, and it loads."""
    shown = toml(NAME)["web"]
    assert set(shown) == names(WebTable)
    assert set(shown["users"]["ann"]) == names(UserTable)
    plain = {key: value for key, value in shown.items() if key not in ("groups", "users")}
    assert msgspec.convert(plain, WebTable) == WebTable()
    (text,) = re.findall(r"```toml\n(.*?)```", section(NAME), re.DOTALL)
    file = tmp_path / "migrator.toml"
    file.write_text(f'{text}\n[databases.main]\nurl = "postgresql://localhost/shop"\n', "utf-8")
    kept = hashed("geheim")
    web = load(str(file), {"ANN_PASSWORD": kept}).web
    assert (web.users["ann"].password, web.users["ann"].identity.role) == (kept, Role.VIEWER)
    assert web.groups == {"platform-team": Role.OPERATOR}


def test_the_roles_and_the_figures() -> None:
    """Every role is there in its order, and each figure is the one that holds."""
    assert first_words(NAME) == [role.value for role in Role]
    text = section(NAME)
    for figure in (
        f"keeps it for {_identities.SESSION // 3600} hours",
        f"every server within {_identities.FRESH:g} seconds",
        f"failed to log in {_attempts.MOST} times within a minute",
        f"more than {security.BODY // 1024**2} MiB (413)",
    ):
        assert figure in " ".join(text.split()), figure
    assert _attempts.SECONDS == 60
