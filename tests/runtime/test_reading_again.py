"""A Migrator that lives long sees what becomes of the files."""

from pathlib import Path

from migrator.config import load
from migrator.core.revision import Key
from migrator.runtime.migrator import Migrator

TEXT = "-- Title {word}\n-- revision: a1\n-- down_revision: none\n\n-- migrator: upgrade\nSELECT 1;\n"


async def test_a_file_that_changes(tmp_path: Path) -> None:
    """What is written anew, put in its place, added or taken away is so at the next question."""
    (tmp_path / "migrator.toml").write_text('[databases.main]\nurl = "memory://here/files"\n')
    file = tmp_path / "revisions" / "a1.sql"
    file.parent.mkdir()
    file.write_text(TEXT.format(word="one"))
    async with Migrator.open(load(str(tmp_path / "migrator.toml"))) as migrator:

        async def seen() -> dict[str, str]:
            return {each.id: each.title for each in await migrator.history()}

        assert await seen() == {"a1": "Title one"}
        before = (await migrator.history())[Key("main", "a1")]
        assert (await migrator.history())[Key("main", "a1")] is before
        file.write_text(TEXT.format(word="two"))
        assert await seen() == {"a1": "Title two"}
        other = file.with_name("draft")
        other.write_text(TEXT.format(word="six"))
        other.replace(file)
        assert await seen() == {"a1": "Title six"}
        file.with_name("a2.sql").write_text(TEXT.format(word="new").replace("a1", "a2").replace("none", "a1"))
        assert await seen() == {"a1": "Title six", "a2": "Title new"}
        file.with_name("a2.sql").unlink()
        assert await seen() == {"a1": "Title six"}
