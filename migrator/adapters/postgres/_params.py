"""The parameters that libpq documents: which of them asyncpg honours, which may be ignored, which are refused.

A name that is not here is taken for a setting of the server, as asyncpg does; the server refuses what it does not know.
"""

from collections.abc import Mapping

_OWN_NAME = "migrator has a name of its own, by which its sessions are found on the server"
_ITS_SERVER = "migrator sets the keepalives of the server's side, and limits of its own"
_OTHER = "it is for another driver"

ALIASES: Mapping[str, str] = {"database": "dbname", "ssl": "sslmode", "requiressl": "sslmode"}
"""Other names of a parameter: asyncpg's, JDBC's, and the one of old servers."""

ALIAS_VALUES: Mapping[str, Mapping[str, str]] = {
    "ssl": {"true": "require", "false": "disable", "1": "require", "0": "disable"},
    "requiressl": {"1": "require", "0": "prefer"},
}

TLS = frozenset(
    {
        "sslmode",
        "sslnegotiation",
        "sslcert",
        "sslkey",
        "sslpassword",
        "sslrootcert",
        "sslcrl",
        "ssl_min_protocol_version",
        "ssl_max_protocol_version",
    }
)
"""Parameters that asyncpg takes from the address only."""

HONOURED = TLS | {
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "passfile",
    "service",
    "servicefile",
    "connect_timeout",
    "options",
    "target_session_attrs",
    "load_balance_hosts",
    "krbsrvname",
    "gsslib",
}

IGNORED: Mapping[str, str] = {
    **dict.fromkeys(("application_name", "fallback_application_name"), _OWN_NAME),
    **dict.fromkeys(("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count"), _ITS_SERVER),
    "tcp_user_timeout": _ITS_SERVER,
    "sslcompression": "no current server compresses TLS",
    "sslkeylogfile": "it is for debugging; set SSLKEYLOGFILE",
    "max_protocol_version": "asyncpg speaks version 3.0",
    **dict.fromkeys(
        (
            "prepared_statement_cache_size",
            "prepared_statement_name_func",
            "statement_cache_size",
            "max_cached_statement_lifetime",
            "max_cacheable_statement_size",
            "command_timeout",
            "timeout",
            "async_fallback",
        ),
        "it is for the application; migrator caches no statements and has limits of its own",
    ),
}
"""Parameters without an effect, and why."""

WARNED: Mapping[str, str] = {
    "channel_binding": "asyncpg has no channel binding; sslmode=verify-full makes sure of the server",
}
"""Parameters without an effect whose absence is worth a warning, unless their value asks for nothing."""

HARMLESS: Mapping[str, tuple[str, ...]] = {
    "channel_binding": ("disable", "prefer"),
    "client_encoding": ("auto", "utf8", "utf-8", "unicode"),
    "gssencmode": ("disable", "prefer", "allow"),
    "gssdelegation": ("0",),
    "min_protocol_version": ("", "3.0"),
    "oauth_client_id": ("",),
    "oauth_client_secret": ("",),
    "oauth_issuer": ("",),
    "oauth_scope": ("",),
    "replication": ("", "false", "off", "no", "0"),
    "require_auth": ("",),
    "requirepeer": ("",),
    "scram_client_key": ("",),
    "scram_server_key": ("",),
    "sslcertmode": ("allow",),
    "sslcrldir": ("",),
    "sslsni": ("1",),
}
"""Parameters that asyncpg does not have, and the values for which that makes no difference. Others are refused."""

CHOICES: Mapping[str, tuple[str, ...]] = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "sslnegotiation": ("postgres", "direct"),
    "target_session_attrs": ("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
    "load_balance_hosts": ("disable", "random"),
    "gsslib": ("gssapi", "sspi"),
}

ENVIRONMENT: Mapping[str, str] = {
    "PGHOST": "host",
    "PGHOSTADDR": "hostaddr",
    "PGPORT": "port",
    "PGDATABASE": "dbname",
    "PGUSER": "user",
    "PGPASSWORD": "password",
    "PGPASSFILE": "passfile",
    "PGSERVICE": "service",
    "PGSERVICEFILE": "servicefile",
    "PGREQUIREAUTH": "require_auth",
    "PGCHANNELBINDING": "channel_binding",
    "PGOPTIONS": "options",
    "PGSSLMODE": "sslmode",
    "PGSSLNEGOTIATION": "sslnegotiation",
    "PGSSLCERT": "sslcert",
    "PGSSLKEY": "sslkey",
    "PGSSLROOTCERT": "sslrootcert",
    "PGSSLCRL": "sslcrl",
    "PGSSLCRLDIR": "sslcrldir",
    "PGSSLSNI": "sslsni",
    "PGSSLCERTMODE": "sslcertmode",
    "PGSSLMINPROTOCOLVERSION": "ssl_min_protocol_version",
    "PGSSLMAXPROTOCOLVERSION": "ssl_max_protocol_version",
    "PGREQUIREPEER": "requirepeer",
    "PGKRBSRVNAME": "krbsrvname",
    "PGGSSLIB": "gsslib",
    "PGGSSENCMODE": "gssencmode",
    "PGGSSDELEGATION": "gssdelegation",
    "PGCONNECT_TIMEOUT": "connect_timeout",
    "PGCLIENTENCODING": "client_encoding",
    "PGTARGETSESSIONATTRS": "target_session_attrs",
    "PGLOADBALANCEHOSTS": "load_balance_hosts",
    "PGMINPROTOCOLVERSION": "min_protocol_version",
    "PGMAXPROTOCOLVERSION": "max_protocol_version",
}
"""Environment variables of libpq, each with its parameter; they count where neither address nor service has it."""
