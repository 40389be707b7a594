"""Messages to people: who gets which, what they say, and that no receiver, however bad, harms a run."""

import hashlib
import hmac
import json
import os
import signal
import ssl
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests._servers import sql
from tests.acceptance import _receivers as receivers
from tests.acceptance._project import Project, until
from tests.acceptance.test_concurrency import SLOW, slow_step, unlocked

SECRET = "key-of-the-webhook"
BROKEN = 'await ctx.execute("SELECT 1/0")'


PIGEON = """
from pathlib import Path


def connect(channel):
    def send(message):
        Path(channel.url).write_text(f"{message.kind}: {message.title}", "utf-8")

    return send
"""


def notify(project: Project, name: str = "oncall", *, top: str = "", **keys: Any) -> None:
    """Add `[notify.NAME]` to the project's migrator.toml."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    text = project.toml.read_text("utf-8")
    project.toml.write_text("\n".join([top, text, f"[notify.{name}]", *lines, ""]), "utf-8")


EVERYTHING = ["success", "failure", "interrupted", "lock_wait", "throttled"]


def test_a_success_is_one_message_with_all_its_runs(shop: Project) -> None:
    """One deploy is one signed document, which lists what it applied; a deploy without work is no message."""
    shop.tables("main", "a1", "b2")
    with receivers.receiving() as receiver:
        notify(shop, kind="webhook", url="${HOOK}", secret=SECRET, on=EVERYTHING)
        shop.env = {"HOOK": f"{receiver.url}/hook", "ENVIRONMENT": "production"}
        shop.good("upgrade")
        shop.good("upgrade")
    (post,) = receiver.posts
    document = post.json()
    assert (document["kind"], document["environment"], document["command"]) == ("success", "production", "upgrade")
    assert [(run["revision"], run["status"]) for run in document["runs"]] == [("a1", "success"), ("b2", "success")]
    assert "2 revisions (main)" in document["title"]
    signed = f"{post.headers['X-Migrator-Timestamp']}.".encode() + post.body
    expected = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
    assert post.headers["X-Migrator-Signature"] == f"sha256={expected}"
    assert abs(int(post.headers["X-Migrator-Timestamp"]) - time.time()) < 600


def test_a_failure_says_what_to_do(shop: Project) -> None:
    """A failed deploy is one message, with what the command itself said: what happened, the state, what to type."""
    shop.table("main", "a1")
    shop.revision("main", "b2", "a1", upgrade=BROKEN)
    with receivers.receiving() as receiver:
        notify(shop, kind="webhook", url=receiver.url)
        error = shop.run("upgrade", "--json").error()
    (document,) = [post.json() for post in receiver.posts]
    assert document["kind"] == "failure"
    assert (document["what"], document["state"], document["next"]) == (error["message"], error["state"], error["hint"])
    assert [(run["revision"], run["status"]) for run in document["runs"]] == [("a1", "success"), ("b2", "failed")]


def test_scripts_that_fail_are_a_failure(shop: Project) -> None:
    """A `run` in which one of two scripts failed is one failure with what it said, for the channel of its tag."""
    shop.revision("main", "good", upgrade="pass", repeatable=True, tags=["nightly"])
    shop.revision("main", "bad", upgrade=BROKEN, repeatable=True, tags=["nightly"])
    with receivers.receiving() as receiver:
        notify(shop, kind="webhook", url=receiver.url, on=EVERYTHING, tags=["nightly"])
        assert shop.run("run", "good", "bad", "--keep-going").exit_code == 1
    (document,) = [post.json() for post in receiver.posts]
    assert (document["kind"], document["command"], document["tags"]) == ("failure", "run", ["nightly"])
    assert document["what"].startswith("main:bad (Title of bad): ")
    assert "division by zero" in document["what"]
    assert document["state"] == "main:bad: effect none."
    assert {run["revision"]: run["status"] for run in document["runs"]} == {"good": "success", "bad": "failed"}


def test_a_stopped_deploy_is_a_failure(shop: Project) -> None:
    """A deploy that SIGTERM ends in the middle of a step is told as a failure, with the step and what is left of it."""
    shop.revision("main", "a1", upgrade=SLOW)
    with receivers.receiving() as receiver:
        notify(shop, kind="webhook", url=receiver.url)
        child = slow_step(shop)
        child.send(signal.SIGTERM)
        assert child.wait().exit_code == 130
    (document,) = [post.json() for post in receiver.posts]
    assert (document["kind"], document["what"]) == ("failure", "stopped before the end")
    assert document["title"] == "development: upgrade failed at main:a1 (Title of a1)"
    assert [(run["status"], run["effect"]) for run in document["runs"]] == [("failed", "none")]


def test_an_interrupted_run_is_told_when_it_is_found(shop: Project) -> None:
    """What a killed deployer left is one message of the next command, with the owner and what is left."""
    shop.revision("main", "a1", upgrade=SLOW)
    child = slow_step(shop)
    child.send(signal.SIGKILL)
    until(lambda: not child.runs(), "the deployer is dead")
    until(lambda: unlocked(shop.urls["main"]), "its lock is free")
    shop.table("main", "a1")
    with receivers.receiving() as receiver:
        notify(shop, kind="webhook", url=receiver.url, on=["interrupted"])
        shop.good("upgrade")
    (document,) = [post.json() for post in receiver.posts]
    assert document["kind"] == "interrupted"
    assert f"pid {child.pid}" in document["what"]
    assert document["state"].endswith(" is in main.")
    assert "migrator upgrade main:head" in document["next"]


def test_a_long_wait_for_the_lock_is_told_once(shop: Project) -> None:
    """Who waits longer than `lock_wait_after` says so once, with the holder; who waits less says nothing."""
    shop.revision("main", "a1", upgrade=SLOW)
    holder = slow_step(shop)
    with receivers.receiving() as receiver, receivers.receiving() as later, receivers.receiving() as never:
        notify(shop, kind="webhook", url=receiver.url, on=["lock_wait"], lock_wait_after="100ms")
        notify(shop, "later", kind="webhook", url=later.url, on=["lock_wait"], lock_wait_after="3s")
        notify(shop, "never", kind="webhook", url=never.url, on=["lock_wait"], lock_wait_after="1h")
        waiter = shop.start("upgrade", "--lock-timeout", "1h")
        until(lambda: later.posts, "the wait is told to the last of them")
        waiter.send(signal.SIGTERM)
        waiter.wait()
        holder.send(signal.SIGTERM)
        holder.wait()
    (document,) = [post.json() for post in receiver.posts]
    assert document["databases"] == ["main"]
    assert str(holder.pid) in document["what"]
    assert "migrator unlock -d main" in document["next"]
    assert never.posts == []


def test_who_gets_what(shop: Project) -> None:
    """A channel hears only of its environments, its tags, and what it asked for; an empty address turns it off."""
    shop.table("main", "a1", tags=["billing"])
    with receivers.receiving() as receiver:
        rules: dict[str, dict[str, Any]] = {
            "all": {"on": ["success"]},
            "here": {"on": ["success"], "environments": ["staging"]},
            "elsewhere": {"on": ["success"], "environments": ["production"]},
            "billing": {"on": ["success"], "tags": ["billing", "x"]},
            "stock": {"on": ["success"], "tags": ["stock"]},
            "failures": {"on": ["failure"]},
        }
        for name, rule in rules.items():
            notify(shop, name, kind="webhook", url=f"{receiver.url}/{name}", **rule)
        notify(shop, "off", kind="webhook", url="${NOBODY:-}", on=["success"])
        shop.good("upgrade", env={"ENVIRONMENT": "staging"})
    assert sorted(post.path for post in receiver.posts) == ["/all", "/billing", "/here"]


def test_a_message_in_the_words_of_a_template(shop: Project) -> None:
    """A template replaces the text; what it cannot name is a mistake of the file, found before anything starts."""
    shop.table("main", "a1")
    with receivers.receiving() as receiver:
        notify(shop, kind="webhook", url=receiver.url, on=["success"], template="$environment/$command: $databases $$")
        shop.good("upgrade")
        assert receiver.posts[0].json()["text"] == "development/upgrade: main $"
    notify(shop, "other", kind="webhook", url=receiver.url, template="$titel")
    error = shop.run("upgrade", "--json").error()
    assert (error["type"], error["exit_code"]) == ("ConfigError", 3)
    assert "notify.other.template has $titel" in error["message"]
    assert "$title" in error["hint"]


@pytest.mark.parametrize(
    ("table", "code", "said"),
    [
        ({"kind": "pigeon", "url": "http://x"}, 3, "there is no kind of notification 'pigeon'"),
        ({"kind": "slack", "url": "hooks.slack.com/s3cr3t"}, 3, "must begin with http:// or https://"),
        ({"kind": "email", "url": "smtp://x"}, 3, "needs a sender"),
        ({"kind": "slack", "url": "http://x", "on": ["sucess"]}, 3, "a value that is not allowed"),
        ({"kind": "slack", "url": "http://x", "timeot": "5s"}, 3, "unknown key notify.oncall.timeot"),
        ({"kind": "slack", "url": "http://x", "timeout": "2m"}, 3, "at most 60 s"),
    ],
)
def test_a_table_that_cannot_be_meant(shop: Project, table: dict[str, Any], code: int, said: str) -> None:
    """What is wrong in `[notify]` is said before anything starts, without the address."""
    shop.table("main", "a1")
    notify(shop, **table)
    result = shop.run("upgrade")
    assert result.exit_code == code, result
    assert said in result.stderr
    assert "s3cr3t" not in result.text
    assert sql(shop.urls["main"], "SELECT to_regclass('script_run_tracker') AS it")[0]["it"] is None


def test_a_plug_in_is_a_kind(shop: Project, tmp_path: Path) -> None:
    """A module that another distribution offers by entry point is a kind of channel, under its name there."""
    (tmp_path / "pigeons.py").write_text(PIGEON, "utf-8")
    offer = tmp_path / "pigeons-1.0.dist-info"
    offer.mkdir()
    (offer / "METADATA").write_text("Metadata-Version: 2.1\nName: pigeons\nVersion: 1.0\n")
    (offer / "entry_points.txt").write_text("[migrator.notifiers]\npigeon = pigeons\n")
    shop.table("main", "a1")
    notify(shop, kind="pigeon", url=str(tmp_path / "loft"), on=["success"])
    path = os.pathsep.join(each for each in (str(tmp_path), os.environ.get("PYTHONPATH", "")) if each)
    shop.good("upgrade", env={"PYTHONPATH": path})
    assert (tmp_path / "loft").read_text("utf-8") == "success: development: upgrade done: 1 revision (main)"
    assert "slack, webhook" in shop.run("upgrade").stderr


def test_slack_gets_blocks(shop: Project) -> None:
    """Slack is sent a header and sections, within its limits, with its own signs escaped."""
    shop.revision("main", "a1", upgrade="raise RuntimeError('<&>' + 'x' * 5000)")
    with receivers.receiving() as receiver:
        notify(shop, kind="slack", url=f"{receiver.url}/services/T0")
        shop.run("upgrade")
    (post,) = receiver.posts
    document = post.json()
    assert post.path == "/services/T0"
    assert "upgrade failed at main:a1" in document["text"]
    header, what, state, after = (block["text"]["text"] for block in document["blocks"])
    assert [block["type"] for block in document["blocks"]] == ["header", "section", "section", "section"]
    assert len(header) <= 150
    assert len(what) == 3000
    assert "&lt;&amp;&gt;xxx" in what
    assert state.startswith("*State:* It was rolled back: nothing of main:")
    assert "`migrator upgrade main:head`" in after


def test_apprise_delivers(shop: Project) -> None:
    """Whatever Apprise knows is reached by its own kind of address, here its JSON service; its failure is one line."""
    shop.table("main", "a1")
    shop.env = {"PYTHONWARNINGS": "ignore"}  # one of its services uses a deprecated module
    with receivers.receiving(receivers.answer_in_turn(200, 500)) as receiver:
        address = receiver.url.replace("http://", "json://user:s3cr3t-of-apprise@")
        notify(shop, kind="apprise", url=f"{address}/in", on=["success"], timeout="30s")
        shop.good("upgrade")
        assert "1 revision (main)" in receiver.posts[0].json()["title"]
        result = shop.good("downgrade", "base", env={"LOG_LEVEL": "INFO"})
    warnings = [line for line in result.stderr.splitlines() if "WARNING" in line]
    assert len(warnings) == 1
    assert "notify.oncall failed: NotDelivered" in warnings[0]
    assert "s3cr3t" not in result.text


def test_e_mail_over_starttls(shop: Project, tmp_path: Path) -> None:
    """A mail goes over TLS, with the password only after it, and says what happened, the state, and what to type."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    shop.revision("main", "a1", upgrade=BROKEN)
    with receivers.mail_server(context) as box:
        url = f"smtp://robot:m41l%20pass@{box.address}"
        notify(shop, kind="email", url=url, sender="robot@example.org", to=["a@example.org", "b@example.org"])
        shop.run("upgrade", env={"SSL_CERT_FILE": str(tmp_path / "ca.pem")})
        stranger = shop.run("upgrade")
    (mail,) = box.mails
    assert box.secured == [True]
    assert len(box.logins) == 1
    assert mail["Subject"] == "[failure] development: upgrade failed at main:a1 (Title of a1)"
    assert mail["To"] == "a@example.org, b@example.org"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert "Next: Correct revisions/a1.py" in " ".join(mail.get_content().split())
    assert "notify.oncall failed: NotDelivered: SSLCertVerificationError" in stranger.stderr


def test_e_mail_to_a_relay(shop: Project) -> None:
    """A server that asks for no password and has no TLS, such as one on this machine, is good enough without both."""
    shop.table("main", "a1")
    with receivers.mail_server() as box:
        notify(shop, kind="email", url=f"smtp://{box.address}", sender="r@example.org", to=["a@b.c"], on=["success"])
        shop.good("upgrade")
    assert box.secured == [False]
    assert "1 revision (main)" in box.mails[0]["Subject"]


@pytest.mark.parametrize(
    ("kind", "what", "said"),
    [
        ("webhook", "failing", "NotDelivered: the answer was 500"),
        ("slack", "failing", "NotDelivered: the answer was 500"),
        ("webhook", "moved", "NotDelivered: the answer was 302"),
        ("webhook", "dead", "NotDelivered: ConnectError"),
        ("webhook", "half-open", "NotDelivered: ReadTimeout"),
        ("slack", "slow", "NotDelivered: ReadTimeout"),
        ("webhook", "trickling", "had not finished after 1.3 s"),
    ],
)
def test_a_bad_receiver_does_no_harm(shop: Project, kind: str, what: str, said: str) -> None:
    """A receiver that fails, is gone, or never answers is one warning without its address; the deploy is as ever."""
    shop.table("main", "a1")
    told = threading.Event()
    answers = {"failing": receivers.answer(500), "moved": receivers.answer(302), "slow": receivers.hold(told)}
    quick = what in ("failing", "moved", "dead")
    with receivers.receiving(answers.get(what) or receivers.trickle(told)) as receiver, receivers.half_open() as silent:
        place = {"dead": f"http://{receivers.dead()}", "half-open": f"http://{silent}"}.get(what, receiver.url)
        url = f"{place}/services/T0/s3cr3t-4-slack"
        notify(shop, kind=kind, url=url, on=["success"], timeout="20s" if quick else "300ms")
        result = shop.good("upgrade")
        answered = receiver.answered
        told.set()
    assert shop.states() == {"a1": "applied"}
    (warning,) = [line for line in result.stderr.splitlines() if "notify.oncall" in line]
    assert said in warning or (not quick and "had not finished after 1.3 s" in warning)
    assert quick or answered == 0
    assert "s3cr3t" not in result.text
    assert place not in result.text


def test_a_busy_receiver_is_asked_again(shop: Project) -> None:
    """An answer that asks for another try gets one, with the same id; the message counts as delivered."""
    shop.table("main", "a1")
    with receivers.receiving(receivers.answer_in_turn(503, 429, 200)) as receiver:
        notify(shop, kind="webhook", url=receiver.url, on=["success"], timeout="30s")
        assert "notify.oncall" not in shop.good("upgrade").stderr
    assert len({post.json()["id"] for post in receiver.posts}) == 1
    assert len(receiver.posts) == 3


def test_a_run_does_not_wait_for_a_slow_receiver(shop: Project) -> None:
    """While a receiver keeps its first message unanswered, the deploy goes on to its last step."""
    shop.revision("main", "a1", upgrade=SLOW)
    child = slow_step(shop)
    child.send(signal.SIGKILL)
    until(lambda: unlocked(shop.urls["main"]), "its lock is free")
    shop.tables("main", "a1", "b2", "c3")
    told = threading.Event()
    with receivers.receiving(receivers.hold(told)) as receiver:
        notify(shop, kind="webhook", url=receiver.url, on=["success", "interrupted"], timeout="60s")
        deploy = shop.start("upgrade")
        until(lambda: receiver.kinds() == ["interrupted"], "the first message came")
        until(lambda: shop.states() == dict.fromkeys(("a1", "b2", "c3"), "applied"), "everything is applied")
        assert receiver.answered == 0
        assert deploy.runs()
        told.set()
        assert deploy.wait().exit_code == 0
    assert receiver.kinds() == ["interrupted", "success"]
