"""What docs/operate.md says of notifications, metrics, tracing and health is what there is."""

import json
import re
import time
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import msgspec
import pytest

from migrator import plugins
from migrator.config import load
from migrator.core.channel import Channel
from migrator.core.health import DatabaseHealth, Health
from migrator.core.message import WORDS, Kind
from migrator.notifiers._announcer import MARGIN, TRIES
from migrator.notifiers._samples import FAMILIES
from migrator.notifiers.webhook import signature
from migrator.observing import LONGEST, MetricsTable, NotifyTable, TracingTable
from migrator.runtime.examining import LIMIT

DOC = Path(__file__).parents[2] / "docs" / "operate.md"


def section(name: str) -> str:
    """Return the text under a heading."""
    found = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", DOC.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert found, name
    return found[1]


def toml(name: str) -> dict[str, Any]:
    """Return the example of a section."""
    (block,) = re.findall(r"```toml\n(.*?)```", section(name), re.DOTALL)
    return tomllib.loads(block)


def names(table: type[msgspec.Struct]) -> set[str]:
    """Return the keys of a table."""
    return {field.name for field in msgspec.structs.fields(table)}


def first_words(name: str) -> list[str]:
    """Return the words in the first column of a section's table."""
    rows = re.findall(r"^\| (`.*?) \|", section(name), re.MULTILINE)
    return [word for row in rows for word in re.findall(r"`(\w+)`", row)]


def test_every_key_is_there() -> None:
    """The examples name every key of the tables, and no other."""
    notify = toml("Notifications")["notify"]
    assert {key for table in notify.values() for key in table} == names(NotifyTable)
    assert set(toml("Metrics")["metrics"]) == names(MetricsTable)
    assert set(toml("Tracing")["tracing"]) == names(TracingTable)


def test_the_examples_load_with_what_they_call_the_defaults(tmp_path: Path) -> None:
    """What is shown loads, and where it shows defaults they are the defaults."""
    text = "\n".join(
        re.findall(r"```toml\n(.*?)```", "".join(map(section, ("Notifications", "Metrics", "Tracing"))), re.DOTALL)
    )
    file = tmp_path / "migrator.toml"
    file.write_text(f'{text}\n[databases.main]\nurl = "postgresql://localhost/shop"\n', "utf-8")
    config = load(str(file), {"SLACK_URL": "https://example.org", "PUSHGATEWAY": "http://gateway"})
    (shown,) = config.notify
    plain = Channel(name="oncall", kind="slack", url=shown.url, environments=frozenset({"production"}))
    assert shown == plain
    for each in msgspec.structs.fields(MetricsTable):
        if each.name == "job":
            assert toml("Metrics")["metrics"]["job"] == each.default


def test_every_kind_is_there() -> None:
    """All kinds of channel and all kinds of message are named, and no other."""
    kinds = {name for name in plugins.names("notifiers") if hasattr(plugins_module(name), "connect")}
    listed = re.search(r'kind = "slack" +# (.*), or a plug-in', section("Notifications"))
    assert listed
    assert set(listed[1].split(", ")) == kinds
    assert first_words("Notifications")[: len(Kind) + 1] == ["on", *Kind]


def plugins_module(name: str) -> Any:
    """Import a notifier."""
    from importlib import import_module

    return import_module(f"migrator.notifiers.{name}")


def test_every_word_of_a_template_is_there() -> None:
    """The words that a template may use are those listed."""
    sentence = section("Notifications").split("`template` is text with")[1].split("in it")[0]
    assert set(re.findall(r"`\$(\w+)`", sentence)) == set(WORDS)


def test_every_metric_is_there() -> None:
    """The table has every metric under the name and with the labels that it has in the text."""
    rows = re.findall(r"^\| `(\w+)` \| ([\w, ]+) \|", section("Metrics"), re.MULTILINE)
    expected = {
        name + "_total" * (family.kind == "counter"): ", ".join(family.labels) for name, family in FAMILIES.items()
    }
    assert dict(rows) == expected


def test_every_field_of_the_health_document_is_there() -> None:
    """The table has every field of the document and of each database in it."""
    assert set(first_words("Health")) >= {*Health().as_dict(), *(each.name for each in fields(DatabaseHealth))} - {
        "name"
    }
    assert f"{LIMIT:g} seconds" in section("Health").replace("\n", " ")


def test_the_numbers_are_right() -> None:
    """Limits in the text are those of the code."""
    text = " ".join(section("Notifications").split())
    assert f"at most {LONGEST:g}s" in text
    assert (TRIES, MARGIN) == (3, 1.0)
    assert "three times" in text
    assert "and one second" in text


@pytest.mark.parametrize(
    ("secret", "age", "change", "good"),
    [("key", 0, b"", True), ("other", 0, b"", False), ("key", 3600, b"", False), ("key", 0, b" ", False)],
)
def test_the_signature_is_checked_as_shown(secret: str, age: int, change: bytes, good: bool) -> None:
    """What is shown to receivers takes what we sign, and nothing else: no other key, nothing old, nothing changed."""
    (shown,) = re.findall(r"```python\n(.*?)```", section("Notifications"), re.DOTALL)
    space: dict[str, Any] = {}
    exec(shown, space)
    body = json.dumps({"kind": "failure"}).encode()
    headers = signature("key", body, int(time.time()) - age)
    assert space["is_from_migrator"](headers, body + change, secret) is good
