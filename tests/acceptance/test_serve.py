"""`migrator serve`: where it listens, who may ask, and how it ends; tokens and passwords."""

import json
import os
import pty
import re
import signal
import socket
import subprocess
from contextlib import closing

import httpx2
import pytest

from migrator.core.passwords import matches
from tests.acceptance._project import Child, Project, until

UP = httpx2.Timeout(20)


def address(project: Project, child: Child, number: int = 0) -> str:
    """Return the address that a server prints, once it does."""
    file = project.folder / f".child{number}.stdout"
    until(lambda: file.read_text("utf-8").endswith("\n") or not child.runs(), "the address is printed")
    assert child.runs(), child.wait()
    return file.read_text("utf-8").strip().rstrip("/")


def test_it_ends_with_a_signal(shop: Project) -> None:
    """It prints its address when it answers; SIGTERM and Ctrl-C end it, whoever still listens to a stream."""
    shop.tables("main", "aa11")
    run = shop.good("upgrade", "--json").json()["runs"][0]["run_id"]
    shop.revision("main", "bb22", "aa11", upgrade='await ctx.execute("SELECT pg_sleep(60)")')
    for number, ending in enumerate((signal.SIGTERM, signal.SIGINT)):
        child = shop.start("serve", "--port", "0")
        url = address(shop, child, number)
        assert httpx2.get(f"{url}/healthz", timeout=UP).json() == {"status": "ok"}
        assert httpx2.get(f"{url}/scripts/runs/{run}", timeout=UP).status_code == 200
        httpx2.post(f"{url}/api/upgrade", json={}, timeout=UP).raise_for_status()
        with httpx2.stream("GET", f"{url}/scripts/runs/{started(url)}/events", timeout=UP) as stream:
            lines = stream.iter_lines()  # kept: with it the stream would end
            assert next(lines)
            child.send(ending)
            result = child.wait(20)
        assert result.exit_code == 0, result
        assert "Cancel" not in result.stderr, "the stream ended by itself"
    assert shop.states()["bb22"] == "failed"


def started(url: str) -> str:
    """Return the id of a run that goes on, once there is one."""
    found: list[str] = []

    def there() -> bool:
        runs = httpx2.get(f"{url}/scripts/runs", params={"status": "running"}, timeout=UP).json()["runs"]
        found[:] = [each["run_id"] for each in runs]
        return bool(found)

    until(there, "it runs")
    return found[0]


def test_only_this_machine_without_authentication(shop: Project) -> None:
    """No other address is listened at before there is a token or a user; the error says what to type."""
    for host in ("0.0.0.0", "example.invalid"):
        error = shop.run("serve", "--host", host, "--port", "0", "--json").error()
        assert (error["type"], error["exit_code"]) == ("ConfigError", 3), error
        assert "no authentication is set up" in error["message"]
        assert "migrator serve token add NAME --role admin" in error["hint"]
    shop.good("serve", "token", "add", "old", "--role", "admin", "--days", "0.0000001")
    assert shop.run("serve", "--host", "0.0.0.0", "--port", "0").exit_code == 3, "it expired"
    text = shop.good("serve", "token", "add", "ann", "--role", "admin", "-q").stdout.strip()
    child = shop.start("serve", "--host", "0.0.0.0", "--port", "0", "--json")
    url = re.sub(r".*?(http://)0\.0\.0\.0(:\d+).*", r"\g<1>127.0.0.1\2", address(shop, child))
    assert httpx2.get(f"{url}/api/health", timeout=UP).status_code == 401
    assert httpx2.get(f"{url}/api/health", headers={"authorization": f"Bearer {text}"}, timeout=UP).status_code == 200
    child.send(signal.SIGTERM)
    assert child.wait(20).exit_code == 0
    assert text not in child.wait().text


def test_a_port_in_use(shop: Project) -> None:
    """It is told which port it is, and what to do."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        error = shop.run("serve", "--port", str(port), "--json").error()
    assert (error["type"], error["exit_code"]) == ("ConfigError", 3)
    assert f"127.0.0.1 port {port} cannot be listened at: Address already in use" in error["message"]
    assert "--port" in error["hint"]


def test_tokens(shop: Project) -> None:
    """One is made once for a name, listed without its secret, and ended by its name or its id."""
    assert "No token was made" in shop.good("serve", "token", "list").stdout
    made = shop.good("serve", "token", "add", "ci", "--role", "operator", "-d", "main", "--days", "3", "--json").json()
    token = made["token"]
    assert re.fullmatch(rf"mgr_{token['token_id']}_[\w-]{{43}}", made["secret"])
    assert (token["name"], token["role"], token["databases"], token["revoked_at"]) == ("ci", "operator", ["main"], "")
    assert token["state"] == f"until {token['expires_at']}"
    assert token["made_by"]
    error = shop.run("serve", "token", "add", "ci", "--role", "viewer", "--json").error()
    assert error["message"] == "there is a token 'ci' already"
    for wrong in (
        ("x",),
        ("x", "--role", "king"),
        ("x", "--role", "viewer", "--days", "-1"),
        (" ", "--role", "viewer"),
    ):
        assert shop.run("serve", "token", "add", *wrong).exit_code == 3, wrong
    shop.good("serve", "token", "add", "for ever", "--role", "viewer")
    shop.good("serve", "token", "revoke", token["token_id"])
    listed = shop.good("serve", "token", "list").stdout
    assert re.search(r"^ci +operator +revoked at 20\S+ +main ", listed, re.MULTILINE)
    assert re.search(r"^for ever +viewer +for ever +all ", listed, re.MULTILINE)
    assert "sha256" not in shop.good("serve", "token", "list", "--json").stdout
    error = shop.run("serve", "token", "revoke", "ci", "--json").error()
    assert (error["type"], error["hint"]) == ("TargetNotFound", "`migrator serve token list` lists them.")
    shop.good("serve", "token", "add", "ci", "--role", "viewer")


def test_a_password_from_a_file(project: Project) -> None:
    """The first line that comes in is hashed; needs no configuration."""
    done = subprocess.run(
        project.command("serve", "password"),
        check=True,
        cwd=project.folder,
        env=project.environ(),
        input=b"s3cret: w\xc3\xb6rd\nmore\n",
        capture_output=True,
        timeout=60,
    )
    (line,) = done.stdout.decode().splitlines()
    found = re.fullmatch(r'password = "(scrypt\$.*)"', line)
    assert found
    assert matches("s3cret: wörd", found[1])
    assert b"s3cret" not in done.stdout + done.stderr
    result = project.run("serve", "password")
    assert (result.exit_code, result.stdout) == (3, ""), result
    project.configure(top=f"[web.users.ann]\n{line.replace('scrypt', 'plain')}", main="postgresql://localhost/shop")
    result = project.run("serve")
    assert result.exit_code == 3
    assert "web.users.ann.password is no hashed password" in result.stderr
    assert found[1].removeprefix("scrypt") not in result.text


@pytest.mark.parametrize(("again", "code"), [("geheim", 0), ("gehiem", 130)])
def test_a_password_at_a_terminal(project: Project, again: str, code: int) -> None:
    """It is asked for twice, and never shown."""
    ours, theirs = pty.openpty()
    try:
        program = subprocess.Popen(
            project.command("serve", "password"),
            cwd=project.folder,
            env=project.environ(),
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=theirs,
            start_new_session=True,
        )
        shown = b""
        for asked, text in ((b"Password: ", "geheim"), (b"Once more: ", again)):
            while not shown.endswith(asked):
                shown += os.read(ours, 1000)
            os.write(ours, f"{text}\n".encode())
        if code:
            while b"do not match" not in shown:
                shown += os.read(ours, 1000)
            program.send_signal(signal.SIGINT)
        stdout, _ = program.communicate(timeout=60)
    finally:
        os.close(ours)
        os.close(theirs)
    assert program.returncode == code
    assert bool(re.fullmatch(rb'password = "scrypt\$[^"]+"\n', stdout)) is (code == 0)
    assert b"geheim" not in shown + stdout


def test_quiet_is_quiet(shop: Project) -> None:
    """With --quiet there is no line of log for a call; without, one on stderr."""
    for number, words in enumerate((("--json",), ("--json", "--quiet"))):
        child = shop.start("serve", "--port", "0", *words)
        url = json.loads(address(shop, child, number))["address"]
        httpx2.get(f"{url}healthz", timeout=UP).raise_for_status()
        child.send(signal.SIGTERM)
        assert child.wait(20).stderr.count("GET /healthz 200") == 1 - number


def test_what_a_killed_server_did(shop: Project) -> None:
    """The entry of a change whose server was killed is ended by the next one, and the change by the next upgrade."""
    shop.revision("main", "aa11", upgrade='await ctx.execute("SELECT pg_sleep(60)")')
    first = shop.start("serve", "--port", "0")
    url = address(shop, first)
    entry = httpx2.post(f"{url}/api/upgrade", json={}, timeout=UP).raise_for_status().json()
    started(url)
    first.send(signal.SIGKILL)
    first.wait(20)
    second = shop.start("serve", "--port", "0")
    url = address(shop, second, 1)

    def told() -> dict[str, str]:
        found: dict[str, str] = httpx2.get(f"{url}/api/audit/{entry['entry_id']}", timeout=UP).raise_for_status().json()
        return found

    until(lambda: told()["word"] == "failed", "the entry is ended")
    assert told()["message"] == "its server ended before it did"
