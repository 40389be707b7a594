"""What `import migrator` gives."""

import inspect

import pytest

import migrator
from migrator.core import protocols


def test_all_is_what_is_importable() -> None:
    """A star import gives the names in `__all__`, all of them and no others."""
    found: dict[str, object] = {}
    exec("from migrator import *", found)
    found.pop("__builtins__")
    assert sorted(migrator.__all__) == sorted(found)
    assert migrator.__all__ == sorted(migrator.__all__)


@pytest.mark.parametrize("name", [name for name in migrator.__all__ if name != "__version__"])
def test_each_is_itself(name: str) -> None:
    """A public name is the class of that name, from the module that the table says."""
    found = getattr(migrator, name)
    assert (name, migrator._HOMES[name]) == (found.__name__, found.__module__)
    assert found.__doc__


def test_the_table_is_all() -> None:
    """The table of homes and `__all__` do not drift apart."""
    assert {*migrator._HOMES, "__version__"} == set(migrator.__all__)


def test_unknown_names() -> None:
    """Any other name is an AttributeError that says so, as with every module."""
    with pytest.raises(AttributeError, match="module 'migrator' has no attribute 'Engine'"):
        getattr(migrator, "Engine")  # noqa: B009 - mypy knows that it is not there
    assert not hasattr(migrator, "__path_of_nothing__")


def test_seams() -> None:
    """Every class of `core.protocols` has its contract in its docstring, and so has every method."""
    own = [each for _, each in inspect.getmembers(protocols, inspect.isclass) if each.__module__ == protocols.__name__]
    assert own
    for one in own:
        assert one.__doc__
        for name, function in inspect.getmembers(one, inspect.isfunction):
            if not name.startswith("_") and function.__module__ == protocols.__name__:
                assert function.__doc__, f"{one.__name__}.{name}"
