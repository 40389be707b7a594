"""What is hidden of the addresses in `[notify]` and `[metrics]`, and what is not."""

from pathlib import Path

import pytest

from migrator.config import Config, load

PLAIN = "services hooks migrator deploys example.org 192.168.100.200 https robot general chat.postMessage"


def configured(folder: Path, table: str, **environ: str) -> Config:
    """Load a file with one database and a table."""
    file = folder / "migrator.toml"
    file.write_text(f'[databases.main]\nurl = "postgresql://localhost/shop"\n{table}\n', "utf-8")
    return load(str(file), environ)


def channel(url: str, more: str = "") -> str:
    """Return a table with one channel."""
    return f"[notify.oncall]\nkind = 'x'\nurl = '{url}'\n{more}"


@pytest.mark.parametrize(
    ("url", "hidden"),
    [
        ("https://hooks.slack.com/services/T01AB/B02CD/abc123def456ghi7", "abc123def456ghi7"),
        (
            "https://hooks.slack.com/services/T01AB/B02CD/abc123def456ghi7",
            "POST /services/T01AB/B02CD/abc123def456ghi7",
        ),
        ("https://robot:secret@example.org/hooks/migrator", "secret"),
        ("https://robot:p%40ss%2Fword@example.org", "p@ss/word"),
        ("https://example.org/in?token=0123456789abcdef", "0123456789abcdef"),
        ("tgram://123456789:AAHdqTcvCH1vGWJxfSeof/general", "AAHdqTcvCH1vGWJxfSeof"),
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ", "TIiajkdnlazkcOXrIdevi7FQ"),
        ("smtp://robot:x@192.168.100.200", "login x failed"),
    ],
)
def test_an_address_is_a_secret(tmp_path: Path, url: str, hidden: str) -> None:
    """The address as a whole and whatever in it looks like a key is hidden; ordinary words stay readable."""
    mask = configured(tmp_path, channel("${URL}"), URL=url).mask()
    assert url not in mask(f"could not post to {url}: refused")
    assert mask(hidden) != hidden
    assert mask(PLAIN) == PLAIN


def test_a_key_is_a_secret(tmp_path: Path) -> None:
    """The key that signs, and the password of a Pushgateway, are hidden; so is nothing where nothing is set."""
    table = channel("https://example.org", 'secret = "the key"\n[metrics]\npush = "http://robot:gate@192.168.100.200"')
    mask = configured(tmp_path, table).mask()
    assert mask("with the key at gate") == "with *** at ***"
    assert configured(tmp_path, "").mask()(PLAIN) == PLAIN


def test_lists_take_variables(tmp_path: Path) -> None:
    """A variable may stand in a list too, and a channel without an address is off."""
    (found,) = configured(tmp_path, channel("${URL}", 'to = ["${ONCALL}"]'), URL="x://y", ONCALL="a@b.c").notify
    assert found.to == ("a@b.c",)
    assert configured(tmp_path, channel("${URL:-}")).notify == ()


def test_who_is_to_hear(tmp_path: Path) -> None:
    """Only a configuration that names somebody to hear has anybody set up for it."""
    for table, expected in (
        ("", False),
        ("[metrics]\njob = 'x'\n[tracing]\nenabled = false", False),
        (channel(""), False),
        (channel("x://y"), True),
        ("[metrics]\ntextfile = 'm.prom'", True),
        ("[metrics]\npush = 'http://x'", True),
        ("[tracing]\nenabled = true", True),
    ):
        assert configured(tmp_path, table).observed is expected, table


def test_a_place_starts_at_the_file(tmp_path: Path) -> None:
    """A relative path starts at the folder of migrator.toml."""
    assert configured(tmp_path, "[metrics]\ntextfile = 'm/x.prom'").metrics.textfile == tmp_path / "m/x.prom"
