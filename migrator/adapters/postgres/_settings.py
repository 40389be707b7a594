"""What a script may set for its whole session, and how that is taken back before anything else uses the session."""

OURSELVES = "RESET SESSION AUTHORIZATION; RESET ROLE"
"""Whoever the script was: the tracker's tables are ours, and so is what comes after the script."""

CLEAN = f"{OURSELVES}; RESET ALL; CLOSE ALL; UNLISTEN *; DISCARD TEMP; DISCARD SEQUENCES"
"""All that a session keeps, but for the lock and prepared statements."""

LOCALLY = "SET LOCAL SESSION AUTHORIZATION DEFAULT; SET LOCAL role TO DEFAULT"
"""We are ourselves up to the end of a transaction, and the script's role is there again behind it."""

_CONFIG, _SETTING = "pg_catalog.set_config", "pg_catalog.current_setting"
_ROLES = (
    f"SELECT {_CONFIG}('migrator.user', {_SETTING}('session_authorization'), true), "
    f"{_CONFIG}('migrator.role', {_SETTING}('role'), true)"
)


def _roles_back(local: str) -> str:
    return "; ".join(
        f"SELECT {_CONFIG}('{name}', kept, {local}) FROM {_SETTING}('{place}', true) AS kept "  # noqa: S608 - ours
        f"WHERE kept <> '' AND kept <> {_SETTING}('{name}')"
        for name, place in (("session_authorization", "migrator.user"), ("role", "migrator.role"))
    )


ASIDE, BACK = f"{_ROLES}; {LOCALLY}", _roles_back("true")
"""In a transaction: be ourselves for the statements between the two."""

KEEP = f"""
    {_ROLES};
    SELECT {_CONFIG}('migrator.kept', coalesce(
        (SELECT pg_catalog.json_object_agg(name, setting)::text FROM pg_catalog.pg_settings WHERE source = 'session'),
        '{{}}'), true)
"""  # noqa: S608 - our own text
"""At the beginning of a transaction through a pooler: note what its session had, which is not ours to reset."""

GIVE_BACK = f"""
    {_roles_back("false")};
    SELECT {_CONFIG}(name, coalesce(value, reset_val), false)
      FROM pg_catalog.pg_settings
      LEFT JOIN pg_catalog.json_each_text(nullif({_SETTING}('migrator.kept', true), '')::json) AS kept ON key = name
     WHERE source = 'session' AND setting IS DISTINCT FROM coalesce(value, reset_val)
       AND context IN ('user', 'superuser')
       AND name NOT IN ('transaction_isolation', 'transaction_read_only', 'transaction_deferrable')
"""  # noqa: S608 - our own text
"""Before its end: the same again, so that nothing that the script set meets the next client of the pooler."""
