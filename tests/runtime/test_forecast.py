"""Where the batch of a forecast begins."""

from migrator.core.batch import Checkpoint
from migrator.runtime.forecast import _one


def test_slices_go_on_at_the_first_that_is_left() -> None:
    """Of a loop in slices the batch is one of the first slice that is not done, and the rows are those of all."""
    done = Checkpoint(origin="o", name="n", slice=0, high=(10,), cursor=(10,), rows=10, total=10, done=True)
    half = Checkpoint(origin="o", name="n", slice=1, high=(30,), cursor=(15,), rows=5, total=20)
    bare = Checkpoint(origin="o", name="n", slice=2, high=(60,), rows=0, total=30)
    found = _one([done, half, bare])
    assert (found.cursor, found.high, found.rows, found.total, found.done) == ((15,), (30,), 15, 60, False)
    assert _one([half]) is half
    assert _one([done, done]).done
