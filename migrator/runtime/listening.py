"""Whoever migrator.toml wants to hear of what a command does: channels, metrics, tracing."""

from migrator import plugins
from migrator.config import Config
from migrator.notifiers._announcer import Announcer, need
from migrator.runtime.notify import Notifiers


def listen(config: Config, notifiers: Notifiers) -> None:
    """Let them hear. Raises ConfigError and DependencyMissing, before anything starts."""
    mask = config.mask()
    for channel in config.notify:
        if channel.speaks_in(config.environment):
            send = plugins.channel(channel.kind).connect(channel)
            notifiers.add(Announcer(channel, config.environment, mask, send))
    metrics = config.metrics
    if metrics.textfile or metrics.push:
        need("metrics", "prometheus_client", "metrics")
        from migrator.notifiers.metrics import Metrics

        notifiers.add(Metrics(metrics.textfile, metrics.push, metrics.job, config.environment))
    if config.tracing:
        need("tracing", "opentelemetry", "otel")
        from migrator.notifiers.tracing import Spans

        notifiers.accompany(Spans(config.environment, mask))
