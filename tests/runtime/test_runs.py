"""The ids of runs."""

from migrator.runtime.runs import new_id


def test_a_thousand_ids_at_once_differ() -> None:
    """However quickly a plan makes them, no two runs have one id, and later ones sort later."""
    ids = [new_id() for _ in range(100_000)]
    assert len(set(ids)) == len(ids)
    assert {len(each) for each in ids} == {13}
    assert ids[0] < ids[-1]
