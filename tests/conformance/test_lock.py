"""Locks that live as long as a session."""

import pytest

from tests.conformance._places import Place


@pytest.mark.only("memory", "postgres")
async def test_the_end_of_a_session_frees_it(place: Place) -> None:
    """A session that ends without releasing, even by an error, leaves the lock free at once."""
    adapter = place.adapter()
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - the end of the block is what is looked at
        async with adapter.session() as session:
            await session.lock.acquire(place.owner())
            raise ZeroDivisionError
    async with adapter.session() as session:
        assert await session.lock.acquire(place.owner()) == 2
