"""A message by e-mail, over SMTP with TLS."""

import smtplib
import ssl
from email.message import EmailMessage

from migrator.core.channel import Channel
from migrator.core.errors import ConfigError
from migrator.core.message import Message
from migrator.core.url import Url
from migrator.notifiers._announcer import NotDelivered, Send, need_scheme

SUBMISSION = 587
SECURE = 465


def connect(channel: Channel) -> Send:
    """Return what sends a message to `smtp://user:password@host:587`, or smtps. Raises ConfigError."""
    need_scheme(channel, "smtp", "smtps")
    url = Url.parse(channel.url, f"notify.{channel.name}.url")
    if not (channel.sender and channel.to):
        raise ConfigError(
            f"notify.{channel.name} needs a sender and somebody to send to",
            state="Nothing was changed.",
            hint='Add: sender = "migrator@example.org" and to = ["oncall@example.org"]',
        )

    def send(message: Message) -> None:
        try:
            with _connected(url, channel.timeout) as server:
                if url.password:
                    server.login(url.user, url.password)
                server.send_message(_mail(channel, message))
        except (OSError, smtplib.SMTPException) as error:
            raise NotDelivered(_said(error)) from None

    return send


def _connected(url: Url, timeout: float) -> smtplib.SMTP:
    """Return an open connection, encrypted: STARTTLS may be missing only where the server asks for no password."""
    if url.scheme == "smtps":
        return smtplib.SMTP_SSL(url.host, url.port or SECURE, timeout=timeout, context=ssl.create_default_context())
    server = smtplib.SMTP(url.host, url.port or SUBMISSION, timeout=timeout)
    try:
        server.ehlo()
        if url.password or server.has_extn("starttls"):
            server.starttls(context=ssl.create_default_context())
    except BaseException:
        server.close()
        raise
    return server


def _mail(channel: Channel, message: Message) -> EmailMessage:
    mail = EmailMessage()
    mail["Subject"] = f"[{message.kind}] {message.title}"
    mail["From"] = channel.sender
    mail["To"] = ", ".join(channel.to)
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(channel.text(message))
    return mail


def _said(error: Exception) -> str:
    """Return the server's code where there is one; its text may repeat what it was sent."""
    code = getattr(error, "smtp_code", "")
    return f"{type(error).__name__} {code}".strip()
