"""docs/api.md is what the app says of itself."""

import importlib.util

from tests.docs.test_readme import ROOT


def test_it_is_up_to_date() -> None:
    """`make api` would write what is there."""
    spec = importlib.util.spec_from_file_location("docs_api", ROOT / "docs" / "_api.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    assert (ROOT / "docs" / "api.md").read_text("utf-8") == made.text(), "run `make api`"
