"""A password is nowhere: not in what is printed, logged, recorded, or raised, whatever it is made of."""

import json
from collections.abc import Iterator
from urllib.parse import quote, unquote
from uuid import uuid4

import pytest

from tests._servers import sql, with_user
from tests.acceptance import _receivers as receivers
from tests.acceptance._cases import CASES, Case, script
from tests.acceptance._look import documents, runs
from tests.acceptance._project import Project, Result

PASSWORD = "s3cr3t/p@ss#w:rd%41 '\"é"
WRITINGS = {"escaped": quote(PASSWORD, safe=""), "partly": "s3cr3t%2fp@ss%23w:rd%2541 '%22é", "plain": PASSWORD}
"""How the password stands in the address. What stands there unescaped is read as an escape where it looks like one."""

TRACES = ("s3cr3t", "p@ss#w", "p%40ss", "ss%23w", "w:rd")
"""Parts of the password, in any writing, that occur in nothing else."""

TELLS = """
import os
url, password = os.environ["DATABASE_URL"], os.environ["PGSECRET"]
ctx.log.warning("connecting to %s", url)
ctx.log.error("with %r", password)
raise RuntimeError(f"cannot use {url} with {password} which is {password!r}")
"""

CALLS = """
import os
word, key = "f0reign" + "pw", os.environ["SHOP_API_KEY"]
url = f"https://app:{word}@elsewhere/x"
ctx.log.info("calling %s with %s", url, key)
ctx.log.error("refused", extra={"token": f"token={word}"})
"""

LOUD = {"DEBUG": "1", "LOG_LEVEL": "DEBUG"}


def clean(text: str) -> None:
    """Assert that no part of the password is in a text."""
    for trace in TRACES:
        assert trace not in text, (trace, text)


def clean_result(result: Result) -> None:
    """Assert it of all that a command printed, as it is and as a program reads it."""
    clean(result.text)
    if result.stdout.startswith("{"):
        clean(str(result.json()))


@pytest.fixture
def owner(postgres_url: str) -> Iterator[str]:
    """Give a role without a password, who may do anything in the test's database."""
    name = f"owner_{uuid4().hex[:12]}"
    sql(postgres_url, f"CREATE ROLE {name} LOGIN SUPERUSER")
    yield name
    sql(postgres_url, f"REASSIGN OWNED BY {name} TO postgres", f"DROP OWNED BY {name}", f"DROP ROLE {name}")


@pytest.fixture
def guarded(project: Project, postgres_url: str, owner: str) -> Project:
    """Give a project with a1 applied and b2 pending, whose address holds the password, escaped."""
    return _guard(project, postgres_url, owner, WRITINGS["escaped"])


def _guard(project: Project, url: str, owner: str, writing: str) -> Project:
    password = unquote(writing)
    literal = password.replace("'", "''")
    sql(url, f"ALTER ROLE {owner} PASSWORD '{literal}'")
    project.configure(main=with_user(url, f"{owner}:{writing}"))
    project.env = {"DATABASE_URL": project.urls["main"], "PGSECRET": password}
    project.tables("main", "a1")
    clean_result(project.good("upgrade"))
    project.table("main", "b2", "a1")
    return project


@pytest.mark.parametrize("case", [case for case in CASES if case.connects], ids=lambda case: case.name)
def test_no_error_shows_it(guarded: Project, case: Case) -> None:
    """Every error that knows an address keeps the password to itself, with a traceback and as JSON too."""
    case.arrange(guarded)
    result = guarded.run(*case.args.split(), env=LOUD)
    assert result.exit_code == case.code, result
    assert "Traceback" in result.stderr
    clean_result(result)
    result = guarded.run(*case.args.split(), "--json")
    assert result.error()["type"] == case.kind
    clean_result(result)


def test_no_command_shows_it(guarded: Project) -> None:
    """No command prints the password, for a person or for a program, with everything logged."""
    for words in (
        "status",
        "history",
        "heads",
        "show a1",
        "doctor",
        "upgrade",
        "verify",
        "downgrade base",
        "stamp head",
    ):
        for more in ((), ("--json",)):
            result = guarded.good(*words.split(), *more, env=LOUD)
            assert result.text
            clean_result(result)


@pytest.mark.parametrize("writing", WRITINGS)
@pytest.mark.parametrize("form", ["text", "json"])
def test_a_script_that_tells(project: Project, postgres_url: str, owner: str, writing: str, form: str) -> None:
    """What a script logs and raises is masked in every writing: on stderr, in a traceback, in JSON, in the tracker."""
    _guard(project, postgres_url, owner, WRITINGS[writing])
    project.toml.write_text(f'{project.toml.read_text()}[log]\nformat = "{form}"\n')
    script(TELLS)(project)
    for args, env in (((), {}), (("--json",), {}), ((), LOUD), (("--quiet",), LOUD)):
        result = project.run("upgrade", *args, env=env)
        assert result.exit_code == 1
        assert "cannot use" in result.text
        clean_result(result)
    rows = runs(postgres_url, "revision = 'b2'")
    assert "***" in rows[0]["error"]
    clean(str([{**row, "source": ""} for row in rows]))


def test_a_field_of_a_log_line_does_not_show_it(guarded: Project) -> None:
    """What a script adds to a JSON log line with `extra` is masked as well."""
    guarded.toml.write_text(f'{guarded.toml.read_text()}[log]\nformat = "json"\n')
    script('import os\nctx.log.error("connecting", extra={"url": os.environ["DATABASE_URL"]})')(guarded)
    result = guarded.good("upgrade")
    assert '"url"' in result.stderr
    clean_result(result)


TOLD = """
[notify.hook]
kind = "webhook"
url = "{hook}/s3cr3t-hook-0123456789"
secret = "s3cr3t of the signature"
on = ["success", "failure", "interrupted", "lock_wait", "throttled"]
[notify.slack]
kind = "slack"
url = "${{SLACK}}"
template = "$what $state $next"
[notify.mail]
kind = "email"
url = "smtp://{mail}"
sender = "a@example.org"
to = ["b@example.org"]
[notify.dead]
kind = "slack"
url = "http://127.0.0.1:1/services/s3cr3t/x"
[notify.lost]
kind = "apprise"
url = "json://robot:s3cr3t@127.0.0.1:1/s3cr3t?-x=s3cr3t"
[metrics]
textfile = "migrator.prom"
push = "{hook}"
"""


@pytest.mark.parametrize("form", ["text", "json"])
def test_nobody_who_is_told_is_told_it(guarded: Project, form: str) -> None:
    """No message, metric, log or warning holds a password, be it of the database, of a channel or of a gateway."""
    script(TELLS)(guarded)
    with receivers.receiving() as receiver, receivers.mail_server() as box:
        guarded.env |= {"SLACK": f"{receiver.url}/services/T01/B02/s3cr3t%2Fslack", "PYTHONWARNINGS": "ignore"}
        told = TOLD.format(hook=receiver.url, mail=box.address).replace(
            f'push = "{receiver.url}', f'push = "{receiver.url.replace("//", "//robot:s3cr3t%2Fx@")}'
        )
        guarded.toml.write_text(f'{guarded.toml.read_text()}{told}[log]\nformat = "{form}"\n')
        result = guarded.run("upgrade", env=LOUD)
    assert result.exit_code == 1
    assert "notify.dead failed" in result.stderr
    assert "notify.lost failed" in result.stderr
    clean_result(result)
    bodies = [post.body.decode() for post in receiver.posts]
    assert len(bodies) == 3, result  # the webhook, Slack, the gateway
    assert sum("cannot use" in body and "***" in body for body in bodies) == 2
    for text in (*bodies, *(str(mail) for mail in box.mails)):
        clean(text)
    clean(" ".join(json.dumps(dict(post.headers)) for post in receiver.posts))
    clean((guarded.folder / "migrator.prom").read_text())
    for file in guarded.folder.rglob("*.log"):
        clean(file.read_text())


@pytest.mark.parametrize("args", [("status",), ("upgrade",), ("doctor",), ("upgrade", "--json"), ("doctor", "--json")])
def test_mongodb_does_not_show_it(project: Project, args: tuple[str, ...]) -> None:
    """An address of MongoDB that cannot be reached, or whose options are wrong, is shown without its password."""
    ends = {"plain": "127.0.0.1:1/shop?", "escaped": "127.0.0.1:1/shop?replicaSet=r&w=wrong&maxPoolSize=none"}
    for writing, end in ends.items():
        project.configure(events=f"mongodb://app:{WRITINGS[writing]}@{end}")
        project.toml.write_text(project.toml.read_text() + 'connect_timeout = "500ms"\n')
        result = project.run(*args, env=LOUD)
        assert result.exit_code in (1, 3, 4), result
        clean_result(result)


@pytest.mark.parametrize("wrong", ["pool = 1", 'url2 = "x"', 'connect_timeout = "5"', "pool = [", 'pool = "x"'])
def test_no_complaint_about_the_file_shows_it(project: Project, wrong: str) -> None:
    """What is wrong beside an address is said without the address."""
    project.configure(main="")
    url = json.dumps(f"postgresql://app:{WRITINGS['escaped']}@127.0.0.1:1/shop")
    project.toml.write_text(f"[databases.main]\nurl = {url}\n{wrong}\n")
    result = project.run("status", env=LOUD)
    assert result.exit_code == 3
    clean_result(result)


@pytest.mark.parametrize("host", ["127.0.0.1:port", "127.0.0.1:99999", "[::1", "a b:1:2"])
@pytest.mark.parametrize("scheme", ["postgresql", "mongodb"])
def test_an_address_that_cannot_be_read_does_not_show_it(project: Project, scheme: str, host: str) -> None:
    """An address that cannot be taken apart is not shown at all, however the password stands in it."""
    for writing in WRITINGS.values():
        project.configure(main=f"{scheme}://app:{writing}@{host}/shop")
        result = project.run("status", env=LOUD)
        assert result.exit_code in (3, 4)
        clean_result(result)


@pytest.mark.parametrize("kind", ["main", "events"])
@pytest.mark.parametrize("raised", ["raise RuntimeError(f'cannot use {url}, password={word}')", "raise KeyError(key)"])
def test_secrets_of_a_script(both: Project, kind: str, raised: str) -> None:
    """Passwords that a script uses for other services are on no screen, in no log and not in the tracker."""
    body = f"{CALLS}{raised}"
    both.revision(kind, "a1", upgrade=body)
    failed = both.run("upgrade", f"{kind}:head", "-vv", env={"SHOP_API_KEY": "k3y-of-the-shop", "DEBUG": "1"})
    assert failed.exit_code == 1
    log = "".join(file.read_text("utf-8") for file in (both.folder / "logs").iterdir())
    kept = runs(both.urls["main"]) if kind == "main" else documents(both.urls["events"], "script_run_tracker")
    for text in (failed.text, log, kept[-1]["error"]):
        assert "***" in text
        assert "f0reignpw" not in text
        assert "k3y-of-the-shop" not in text
