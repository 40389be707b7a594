"""A message to an incoming webhook of Slack, or of whoever understands its blocks."""

import json
from typing import Any

from migrator.core.channel import Channel
from migrator.core.message import Kind, Message
from migrator.notifiers._announcer import Send, need, need_scheme, post

_SIGNS = {
    Kind.SUCCESS: ":white_check_mark:",
    Kind.FAILURE: ":red_circle:",
    Kind.INTERRUPTED: ":warning:",
    Kind.LOCK_WAIT: ":hourglass:",
    Kind.THROTTLED: ":snail:",
}
HEADER = 150
SECTION = 3000
"""Slack refuses a message whose header or section is longer than so many characters."""


def connect(channel: Channel) -> Send:
    """Return what posts a message. Raises ConfigError, DependencyMissing."""
    need_scheme(channel, "http", "https")
    need(f"notify.{channel.name}", "httpx2", "notify")

    def send(message: Message) -> None:
        sections = (
            [channel.text(message)]
            if channel.template
            else [message.what, f"*State:* {message.state}", f"*Next:* {message.next}"]
        )
        blocks = [_header(f"{_SIGNS[message.kind]} {message.title}"), *(_section(each) for each in sections)]
        document = {"text": _escaped(message.title), "blocks": blocks}
        post(channel, json.dumps(document, ensure_ascii=False).encode(), {"Content-Type": "application/json"})

    return send


def _header(text: str) -> dict[str, Any]:
    return {"type": "header", "text": {"type": "plain_text", "text": _cut(text, HEADER), "emoji": True}}


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": _cut(_escaped(text), SECTION)}}


def _escaped(text: str) -> str:
    """Return the text with the three signs that Slack reads as its own written as it wants them."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
