"""Several deployers at once on a PostgreSQL of their own, and whatever comes to mind befalls them and the server."""

import os
import random
from pathlib import Path

from tests.faults._pg import Server
from tests.faults._pg_chaos import Injector

SHORT, WHOLE = 40, 1000
"""How many faults each commit, and with MIGRATOR_FAULTS=all."""


def test_chaos(tmp_path: Path, seed: int, everything: bool) -> None:
    """Killed, stopped and overtaken, cancelled, the server gone: all of it is there at the end, exactly once."""
    wanted = int(os.environ.get("MIGRATOR_CHAOS") or (WHOLE if everything else SHORT))
    with Server(tmp_path / "server") as server:
        wrong = Injector(random.Random(seed), server).go(tmp_path, wanted)
    assert not wrong, "\n".join(wrong)
