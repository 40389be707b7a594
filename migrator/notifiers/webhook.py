"""A message as a JSON document to any address, signed so that the receiver knows whom it is from."""

import hashlib
import hmac
import json
import time
from uuid import uuid4

from migrator.core.channel import Channel
from migrator.core.message import Message
from migrator.notifiers._announcer import Send, need, need_scheme, post


def connect(channel: Channel) -> Send:
    """Return what posts a message. Raises ConfigError, DependencyMissing."""
    need_scheme(channel, "http", "https")
    need(f"notify.{channel.name}", "httpx2", "notify")

    def send(message: Message) -> None:
        document = {"id": uuid4().hex, **message.as_dict(), "text": channel.text(message)}
        body = json.dumps(document, ensure_ascii=False).encode()
        headers = {"Content-Type": "application/json", "User-Agent": "migrator"}
        post(channel, body, {**headers, **signature(channel.secret, body, int(time.time()))})

    return send


def signature(secret: str, body: bytes, now: int) -> dict[str, str]:
    """Return the headers that sign a body: HMAC-SHA256 of `<seconds>.<body>`; none where there is no secret."""
    if not secret:
        return {}
    signed = hmac.new(secret.encode(), f"{now}.".encode() + body, hashlib.sha256).hexdigest()
    return {"X-Migrator-Timestamp": str(now), "X-Migrator-Signature": f"sha256={signed}"}
