"""What a page must be: every id once, every field with a label, nothing that the policy forbids, every tag closed."""

from html.parser import HTMLParser
from typing import Any

VOID = {"meta", "link", "input", "br", "img", "hr", "col", "use", "path", "circle", "rect", "line"}
FIELDS = {"input", "select", "textarea"}


class Checked(HTMLParser):
    """A page, read; `wrong` says what is not as it should be, `texts` is what a person reads.

    `values` are those that the last form sends along.
    """

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.wrong: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.forms: list[tuple[str, str]] = []
        self.buttons: list[str] = []
        self.values: dict[str, str] = {}
        self.scripts: list[str] = []
        self._labels: set[str] = set()
        self._fields: list[tuple[str, bool]] = []
        self._refers: list[str] = []
        self._open: list[str] = []
        self._texts: list[str] = []
        self._tags: list[str] = []
        self.feed(text)
        self.close()
        self._judge()

    @property
    def texts(self) -> str:
        """Return all that can be read, with single spaces."""
        return " ".join(" ".join(self._texts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag says of itself."""
        said = {name: value or "" for name, value in attrs}
        self._tags.append(tag)
        if tag not in VOID:
            self._open.append(tag)
        self.ids += [said["id"]] if "id" in said else []
        if "style" in said or tag == "style":
            self.wrong.append(f"a style in <{tag}>")
        self.wrong += [f"{name} in <{tag}>" for name in said if name.startswith(("on", "hx-on"))]
        self._links(tag, said)
        self._controls(tag, said)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag that closes itself, as those of SVG do."""
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close a tag: the one that was opened last."""
        if tag in VOID:
            return
        if not self._open or self._open[-1] != tag:
            self.wrong.append(f"</{tag}> while <{' '.join(self._open[-3:])}> is open")
        if tag in self._open:
            while self._open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        """Take in a text."""
        within = self._open[-1] if self._open else ""
        if within == "script" and data.strip():
            self.wrong.append("a script in the page")
        if within in ("title", "symbol"):
            return
        self._texts.append(data)
        if within == "button":
            self.buttons.append(data.strip())

    def _links(self, tag: str, said: dict[str, Any]) -> None:
        if tag == "script":
            self.scripts.append(said.get("src", ""))
        if tag in ("a", "link") and "href" in said:
            self.links.append(said["href"])
        if tag == "form":
            self.forms.append((said.get("method", "get"), said.get("action", "")))
        if tag == "a" and said.get("href", "").startswith("javascript:"):
            self.wrong.append("a link that is a script")
        if tag == "img" and "alt" not in said:
            self.wrong.append("a picture without a text")

    def _controls(self, tag: str, said: dict[str, Any]) -> None:
        if tag == "label" and "for" in said:
            self._labels.add(said["for"])
        if tag == "form":
            self.values = {}
        if tag == "input" and said.get("type") == "hidden":
            self.values[said["name"]] = said.get("value", "")
        if tag in FIELDS and said.get("type") != "hidden":
            self._fields.append((said.get("id", ""), "label" in self._open or "aria-label" in said))
        self._refers += [said[name] for name in ("aria-labelledby", "aria-describedby") if name in said]

    def _judge(self) -> None:
        self.wrong += [f"the id {each} is there twice" for each in {x for x in self.ids if self.ids.count(x) > 1}]
        self.wrong += [
            f"the field {name!r} has no label"
            for name, within in self._fields
            if not within and name not in self._labels
        ]
        self.wrong += [f"nothing has the id {each}" for each in self._refers if each not in self.ids]
        self.wrong += [f"<{tag}> is never closed" for tag in self._open]
        if self._tags.count("h1") != 1:
            self.wrong.append(f"{self._tags.count('h1')} headings of the first rank")
