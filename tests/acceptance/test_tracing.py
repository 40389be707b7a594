"""Spans, as an SDK in the same program hears them: deploy > step > batch."""

import sys
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from migrator import Migrator, MigratorError
from migrator.config import load
from migrator.core.events import BatchDone, DeployBegun, DeployEnded, RunFinished, RunStarted, Throttled
from migrator.core.secrets import Mask
from migrator.notifiers.tracing import Spans
from tests.acceptance._project import Project
from tests.core.build import failed, key, success

HEARD = InMemorySpanExporter()
TRACED = "[tracing]\nenabled = true\n"


@pytest.fixture(scope="module", autouse=True)
def provider() -> None:
    """Set up the SDK, as a program does at its start; it can be done once only."""
    found = trace.get_tracer_provider()
    if not isinstance(found, TracerProvider):
        found = TracerProvider()
        trace.set_tracer_provider(found)
    found.add_span_processor(SimpleSpanProcessor(HEARD))


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Forget what other tests traced; no test leaves a span behind as the current one."""
    HEARD.clear()
    yield
    assert not trace.get_current_span().get_span_context().is_valid


def spans() -> dict[str, ReadableSpan]:
    """Return the spans that ended, by name."""
    return {span.name: span for span in HEARD.get_finished_spans()}


def parent(span: ReadableSpan) -> int:
    """Return the id of a span's parent, 0 where it has none."""
    return span.parent.span_id if span.parent else 0


def own(span: ReadableSpan) -> Any:
    """Return the id of a span."""
    assert span.context is not None
    return span.context.span_id


async def upgrade(project: Project, environment: str = "staging") -> None:
    """Upgrade in this program."""
    async with Migrator.open(load(str(project.toml), {"ENVIRONMENT": environment})) as migrator:
        await migrator.upgrade()


async def test_a_deploy_and_its_steps(shop: Project) -> None:
    """A deploy is a span with its steps below it; what a script traces itself is below its step."""
    shop.table("main", "a1")
    shop.revision(
        "main",
        "b2",
        "a1",
        upgrade="from opentelemetry import trace\ntrace.get_tracer('mine').start_span('my own').end()",
    )
    shop.toml.write_text(shop.toml.read_text() + TRACED)
    await upgrade(shop)
    found = spans()
    assert set(found) == {"migrator upgrade", "upgrade main:a1", "upgrade main:b2", "my own"}
    deploy, step = found["migrator upgrade"], found["upgrade main:b2"]
    assert parent(deploy) == 0
    assert parent(found["upgrade main:a1"]) == parent(step) == own(deploy)
    assert parent(found["my own"]) == own(step)
    assert deploy.attributes is not None
    assert step.attributes is not None
    assert deploy.attributes["deployment.environment.name"] == "staging"
    assert (deploy.attributes["migrator.steps"], deploy.attributes["migrator.runs"]) == (2, 2)
    assert [event.name for event in deploy.events] == ["lock taken"]
    expected = {"migrator.database": "main", "migrator.revision": "b2", "migrator.status": "success"}
    assert expected.items() <= dict(step.attributes).items()
    assert step.attributes["migrator.deploy_id"] == deploy.attributes["migrator.deploy_id"]
    assert {span.status.status_code for span in (deploy, step)} == {StatusCode.OK}


async def test_a_failure(shop: Project) -> None:
    """A step that fails and its deploy are errors, and say why."""
    shop.revision("main", "a1", upgrade='raise RuntimeError("no way")')
    shop.toml.write_text(shop.toml.read_text() + TRACED)
    with pytest.raises(MigratorError):
        await upgrade(shop)
    found = spans()
    for name in ("migrator upgrade", "upgrade main:a1"):
        assert found[name].status.status_code is StatusCode.ERROR
        assert "no way" in (found[name].status.description or "")


async def test_nothing_is_traced_unless_it_is_asked_for(shop: Project) -> None:
    """Without `[tracing]` there is no span, although the program has an SDK."""
    shop.table("main", "a1")
    await upgrade(shop)
    assert spans() == {}


async def test_batches_are_below_their_step() -> None:
    """A batch is a span that took its time and ended just now; a standstill is an event of the step, with no secret."""
    run = success(key("a"))
    hear = Spans("staging", Mask(["s3cr3t"]))
    for event in (
        DeployBegun("d1", "upgrade", ("app",)),
        RunStarted(run, 1, 1),
        BatchDone(run, 100, 300, 0.5),
        Throttled(run, "lag s3cr3t"),
        RunFinished(run, 1, 1),
        DeployEnded("d1", "upgrade", (run,)),
    ):
        hear(event)
    found = spans()
    batch, step = found["batch app:a"], found["upgrade app:a"]
    assert parent(batch) == own(step)
    assert (batch.attributes or {})["migrator.rows"] == 100
    assert (batch.end_time or 0) - (batch.start_time or 0) == 500_000_000
    assert [(event.name, dict(event.attributes or {})) for event in step.events] == [
        ("throttled", {"reason": "lag ***"})
    ]


async def test_a_step_without_an_end() -> None:
    """A step that ended without a word, as when its server is lost, ends with its deploy, as an error."""
    run = failed("a")
    hear = Spans("staging", Mask(()))
    error = MigratorError("the connection was lost")
    for event in (
        DeployBegun(run.deploy_id, "upgrade", ("app",)),
        RunStarted(run, 1, 1),
        DeployEnded(run.deploy_id, "upgrade", (), error),
    ):
        hear(event)
    assert spans()["upgrade app:a"].status.description == "the connection was lost"


def test_without_a_word_in_the_file_nothing_is_imported(shop: Project) -> None:
    """A command that nobody wants to hear of imports nothing that tells people, and one that only looks never does."""
    from tests.acceptance.test_startup import imported

    shop.table("main", "a1")
    tell = {
        "httpx2",
        "apprise",
        "prometheus_client",
        "opentelemetry",
        "smtplib",
        "filelock",
        "migrator.notifiers.metrics",
    }
    ours = {"migrator.runtime.listening", "migrator.notifiers._announcer", "migrator.notifiers.tracing"}
    assert not imported(shop, "-m", "migrator", "upgrade") & (tell | ours)
    tables = '[metrics]\ntextfile = "m.prom"\n[notify.a]\nkind = "slack"\nurl = "http://127.0.0.1:1/x"\n'
    shop.toml.write_text(shop.toml.read_text() + TRACED + tables)
    for words in ("status", "history", "doctor"):
        assert not imported(shop, "-m", "migrator", words) & (tell | ours), words
    assert "opentelemetry" in sys.modules  # here, so the names above are the right ones
