"""What scripts print goes to stderr and to the log of their run; stdout is the command's own."""

from urllib.parse import urlsplit

from tests.acceptance._project import Project

PRINTS = """
import asyncio, os, subprocess, sys, threading
print("by", "print")
sys.stdout.write("without its end")
sys.stdout.flush()
await asyncio.to_thread(print, "in a thread of the run")
thread = threading.Thread(target=print, args=("in another thread",))
thread.start()
thread.join()
subprocess.run(["echo", "by a program"], check=True)
return {"n": 1}
"""
IN_LOG = ("by print", "without its end", "in a thread of the run")
ANYWHERE = (*IN_LOG, "in another thread", "by a program", "by an import")


def chatty(project: Project) -> None:
    """Write a revision and a script that print in many ways."""
    for name, script in (("a1", False), ("s1", True)):
        path = project.revision(
            "main", name, upgrade=PRINTS, verify="print('in verify')\nreturn True", repeatable=script
        )
        path.write_text(path.read_text("utf-8") + "print('by an import')\n", "utf-8")


def test_as_json(shop: Project) -> None:
    """There is one document on stdout whatever is printed, by an upgrade, a run, a verify, and a failure."""
    chatty(shop)
    for command in (("upgrade", "main:a1"), ("run", "s1"), ("verify",)):
        result = shop.good(*command, "--json")
        result.json()
        for words in ("in verify",) if command == ("verify",) else (*ANYWHERE, "in verify"):
            assert words in result.stderr, (command, words)
    run = next(
        each for each in shop.good("runs", "--json").json()["runs"] if each["revision"] == "a1" and each["log_file"]
    )
    log = (shop.folder / "logs" / run["log_file"]).read_text("utf-8")
    for words in IN_LOG:
        assert f"[INFO] [a1] stdout: {words}" in log
    shop.revision("main", "a2", "a1", upgrade="print('before it fails')\nraise ValueError('wrong')")
    failed = shop.run("upgrade", "--json")
    assert failed.error()["type"] == "RunFailed"
    assert "before it fails" in failed.stderr


def test_for_a_person(shop: Project) -> None:
    """Prints of a run are on stderr, without secrets, and in its log; stdout has what the command says."""
    password = urlsplit(shop.urls["main"]).password
    assert password
    shop.revision("main", "s1", upgrade=f"print('the password: {password}')\n{PRINTS}", repeatable=True)
    result = shop.good("run", "s1")
    assert '{"n": 1}' in result.stdout
    for words in IN_LOG:
        assert words in result.stderr
        assert words not in result.stdout
    assert "the password: ***" in result.stderr
    assert password not in result.text
