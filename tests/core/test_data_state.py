"""The sentence about the data, for every combination of direction, force, transaction and effect."""

import pytest

from migrator.core.data_state import describe_effect
from migrator.core.revision import Direction
from migrator.core.run import Effect, Kind, Run, Status

SENTENCES = """
upgrade   transaction none    It was rolled back: nothing of app:a is in app.
upgrade   transaction partial A part of app:a is in app.
upgrade   transaction full    All of app:a is in app.
upgrade   transaction unknown It ended its own transaction: what app:a did before it failed may still be in app.
upgrade   -           none    Nothing of app:a is in app.
upgrade   -           partial A part of app:a is in app.
upgrade   -           full    All of app:a is in app.
upgrade   -           unknown It ran without a transaction: what app:a did before it failed is still in app.
forced    transaction none    The forced run was rolled back; app:a is still applied.
forced    transaction partial A part of the forced run is in app; app:a is still recorded as applied.
forced    transaction full    All of the forced run is in app; app:a is still recorded as applied.
forced    transaction unknown It ended its own transaction: what the forced run did before it failed may still \
be in app; app:a is still recorded as applied.
forced    -           none    The forced run changed nothing; app:a is still applied.
forced    -           partial A part of the forced run is in app; app:a is still recorded as applied.
forced    -           full    All of the forced run is in app; app:a is still recorded as applied.
forced    -           unknown It ran without a transaction: what the forced run did before it failed is still in app; \
app:a is still recorded as applied.
downgrade transaction none    The downgrade was rolled back; app:a is still applied.
downgrade transaction partial A part of the downgrade is in app; app:a is still recorded as applied.
downgrade transaction full    All of the downgrade is in app; app:a is still recorded as applied.
downgrade transaction unknown It ended its own transaction: what the downgrade did before it failed may still be in \
app; app:a is still recorded as applied.
downgrade -           none    The downgrade changed nothing; app:a is still applied.
downgrade -           partial A part of the downgrade is in app; app:a is still recorded as applied.
downgrade -           full    All of the downgrade is in app; app:a is still recorded as applied.
downgrade -           unknown It ran without a transaction: what the downgrade did before it failed is still in app; \
app:a is still recorded as applied.
"""
ROWS = [line.split(maxsplit=3) for line in SENTENCES.strip().splitlines()]


def run_of(work: str, mode: str, effect: str, kind: Kind = Kind.REVISION) -> Run:
    """Return a failed run."""
    return Run(
        run_id="r1",
        database="app",
        revision="a",
        kind=kind,
        direction=Direction.DOWNGRADE if work == "downgrade" else Direction.UPGRADE,
        forced=work == "forced",
        transactional=mode == "transaction",
        status=Status.FAILED,
        effect=Effect(effect),
    )


@pytest.mark.parametrize(("work", "mode", "effect", "sentence"), ROWS)
def test_the_state_of_the_data(work: str, mode: str, effect: str, sentence: str) -> None:
    """Each combination has a sentence of its own; a failed downgrade never hides that the revision is still there."""
    assert describe_effect(run_of(work, mode, effect)) == sentence


def test_every_combination_is_in_the_table() -> None:
    """No effect is forgotten."""
    assert len({tuple(row[:3]) for row in ROWS}) == 3 * 2 * len(Effect)


def test_a_script_has_no_place_in_the_order() -> None:
    """A script is not applied; its last success counts."""
    text = describe_effect(run_of("forced", "transaction", "none", Kind.SCRIPT))
    assert text == "The forced run was rolled back; the last successful run of app:a still counts."
