"""Spans for OpenTelemetry: deploy > step > batch. Without an SDK in the program they go nowhere."""

import time
from typing import TYPE_CHECKING, Any

from opentelemetry import context, trace
from opentelemetry.trace import Span, Status, StatusCode

from migrator.core.events import (
    BatchDone,
    DeployBegun,
    DeployEnded,
    Event,
    LockTaken,
    LockWaiting,
    PlanMade,
    RunFinished,
    RunSettled,
    RunStarted,
    Throttled,
    Unthrottled,
)
from migrator.core.run import Run
from migrator.core.run import Status as RunStatus
from migrator.core.secrets import Mask

if TYPE_CHECKING:
    from contextvars import Token

_SECOND = 1_000_000_000


class Spans:
    """Hears events in the task that publishes them, so that the span of a step is the current one while it runs.

    What the script's own libraries trace is then part of it.
    """

    def __init__(self, environment: str, mask: Mask) -> None:
        self._tracer = trace.get_tracer("migrator")
        self._environment = environment
        self._mask = mask
        self._deploys: dict[str, _Open] = {}
        self._steps: dict[str, _Open] = {}

    def __call__(self, event: Event) -> None:
        """Open or close the span that an event is about, or note the event in the current one."""
        if isinstance(event, DeployBegun):
            named = {"migrator.command": event.command, "migrator.databases": event.databases}
            attributes = {**named, "deployment.environment.name": self._environment}
            self._deploys[event.deploy_id] = self._opened(f"migrator {event.command}", attributes, event.deploy_id)
        elif isinstance(event, DeployEnded):
            self._end(event)
        elif isinstance(event, RunStarted):
            self._steps[event.run.run_id] = self._opened(
                f"{event.run.direction} {event.run.key}", _attributes(event.run), event.run.deploy_id
            )
        elif isinstance(event, RunFinished):
            self._finished(event.run)
        elif isinstance(event, BatchDone):
            self._batch(event)
        else:
            self._note(event)

    def _opened(self, name: str, attributes: dict[str, Any], deploy_id: str) -> "_Open":
        span = self._tracer.start_span(name, attributes={**attributes, "migrator.deploy_id": deploy_id})
        return _Open(span, deploy_id, context.attach(trace.set_span_in_context(span)))

    def _finished(self, run: Run) -> None:
        step = self._steps.pop(run.run_id, None)
        if step is not None:
            step.span.set_attributes({"migrator.status": run.status, "migrator.effect": run.effect})
            step.close("" if run.status is RunStatus.SUCCESS else self._mask(run.error))

    def _end(self, event: DeployEnded) -> None:
        error = self._mask(event.error.message) if event.error else ""
        for run_id in [run_id for run_id, each in self._steps.items() if each.deploy_id == event.deploy_id]:
            self._steps.pop(run_id).end(error or "it ended without a word")  # such as in a lost connection
        deploy = self._deploys.pop(event.deploy_id, None)
        if deploy is not None:
            deploy.span.set_attribute("migrator.runs", len(event.runs))
            deploy.close(error)

    def _batch(self, event: BatchDone) -> None:
        now = time.time_ns()
        attributes = {"migrator.rows": event.rows, "migrator.rows_before": event.total - event.rows}
        span = self._tracer.start_span(
            f"batch {event.run.key}", attributes=attributes, start_time=now - int(event.seconds * _SECOND)
        )
        span.end(now)

    def _note(self, event: Event) -> None:
        span = trace.get_current_span()
        if isinstance(event, LockWaiting):
            span.add_event("waiting for the lock", {"migrator.database": event.database, "seconds": event.waited})
        elif isinstance(event, LockTaken):
            span.add_event("lock taken", {"migrator.database": event.database, "seconds": event.waited})
        elif isinstance(event, PlanMade):
            span.set_attribute("migrator.steps", len(event.plan))
        elif isinstance(event, RunSettled):
            span.add_event(
                "settled an interrupted run", {**_attributes(event.run), "migrator.effect": event.run.effect}
            )
        elif isinstance(event, Throttled):
            span.add_event("throttled", {"reason": self._mask(event.reason)})
        elif isinstance(event, Unthrottled):
            span.add_event("goes on", {"reason": self._mask(event.reason), "seconds": event.seconds})


class _Open:
    """A span that is the current one until it is closed."""

    def __init__(self, span: Span, deploy_id: str, token: "Token[Any]") -> None:
        self.span = span
        self.deploy_id = deploy_id
        self._token = token

    def close(self, error: str) -> None:
        self.end(error)
        context.detach(self._token)

    def end(self, error: str) -> None:
        """End the span in whatever task this is."""
        self.span.set_status(Status(StatusCode.ERROR, error) if error else Status(StatusCode.OK))
        self.span.end()


def _attributes(run: Run) -> dict[str, Any]:
    return {
        "migrator.database": run.database,
        "migrator.revision": run.revision,
        "migrator.title": run.title,
        "migrator.direction": run.direction,
        "migrator.run_id": run.run_id,
        "migrator.attempt": run.attempt,
        "migrator.transactional": run.transactional,
    }
