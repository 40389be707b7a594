"""Proxies, projects, and the seed of a random test."""

import os
import random
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.faults.proxy import POSTGRES, Proxy


@pytest.fixture
def proxy(postgres_url: str) -> Iterator[Proxy]:
    """Give a proxy before the embedded PostgreSQL."""
    parts = urlsplit(postgres_url)
    assert parts.hostname
    assert parts.port
    with Proxy(parts.hostname, parts.port, POSTGRES) as made:
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give the folder of a project, which `corpus` fills."""
    return tmp_path / "project"


@pytest.fixture
def seed() -> int:
    """Give the seed of a random test: MIGRATOR_SEED, else 1 for the short portion and a new one for the whole."""
    fresh = random.SystemRandom().randrange(1 << 32) if os.environ.get("MIGRATOR_FAULTS") == "all" else 1
    chosen = int(os.environ.get("MIGRATOR_SEED") or fresh)
    print(f"replay with MIGRATOR_SEED={chosen}")
    return chosen


@pytest.fixture
def everything() -> bool:
    """Say whether the whole suite was asked for: MIGRATOR_FAULTS=all."""
    return os.environ.get("MIGRATOR_FAULTS") == "all"
