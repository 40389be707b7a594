"""What the server gives up and what may be begun again: a transaction whose revision says so. It makes no noise."""

from collections.abc import Callable

import pytest

from tests.faults.mongo_ground import Ground
from tests.faults.mongo_set import Member

pytest_plugins = ["tests.faults.mongo_fixtures"]

WRITE_CONFLICT = 112


@pytest.mark.parametrize("words", [(), ("-v",)])
def test_it_is_begun_again(single: Member, ground_at: Callable[..., Ground], words: tuple[str, ...]) -> None:
    """Two conflicts are no news: the step succeeds as if they had not been, and only `-v` tells of them."""
    ground = ground_at(f"mongodb://{single.host}/")
    body = 'await ctx.db.items.update_many({}, {"$inc": {NAME: 1}})'
    ground.revision("again", body, transaction=True, rerunnable=True)
    data = {
        "failCommands": ["update"],
        "namespace": f"{ground.name}.items",
        "errorCode": WRITE_CONFLICT,
        "errorLabels": ["TransientTransactionError"],
    }
    ground.client.admin.command({"configureFailPoint": "failCommand", "mode": {"times": 2}, "data": data})
    result = ground.project.good("upgrade", "head", *words)
    assert ground.client.admin.command("configureFailPoint", "failCommand", mode="off")["count"] == 2
    assert result.stderr.count("gave the transaction up") == (2 if words else 0), result
    assert "stamina" not in result.text
    assert ground.check() == []
