"""Database addresses, and the password that never shows."""

from urllib.parse import quote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from migrator.core.errors import ConfigError
from migrator.core.secrets import Mask
from migrator.core.url import Url

PASSWORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
NO_ESCAPE = PASSWORDS.filter(lambda text: "%" not in text)

GOOD = {
    "postgresql://localhost/shop": Url("postgresql", (("localhost", 0),), "shop"),
    "postgresql://ann@localhost:5433/shop": Url("postgresql", (("localhost", 5433),), "shop", "ann"),
    "postgresql://ann:pw@localhost": Url("postgresql", (("localhost", 0),), "", "ann", "pw"),
    "postgresql://ann:a:b@h/shop": Url("postgresql", (("h", 0),), "shop", "ann", "a:b"),
    "postgresql://ann:a@b/c?d#e@h/shop": Url("postgresql", (("h", 0),), "shop", "ann", "a@b/c?d#e"),
    "postgresql://:pw@h/shop": Url("postgresql", (("h", 0),), "shop", "", "pw"),
    "postgresql://an%40n@h/sh%20op": Url("postgresql", (("h", 0),), "sh op", "an@n"),
    "postgresql:///shop": Url("postgresql", (), "shop"),
    "  postgresql://h/shop\n": Url("postgresql", (("h", 0),), "shop"),
    "postgresql://[::1]:5432/shop": Url("postgresql", (("[::1]", 5432),), "shop"),
    "postgresql://%2Frun%2Fpg/shop": Url("postgresql", (("/run/pg", 0),), "shop"),
    "postgresql://h:65535/shop": Url("postgresql", (("h", 65535),), "shop"),
    "mongodb://a:1,b:2,c/shop?replicaSet=rs0&tls=true&x": Url(
        "mongodb", (("a", 1), ("b", 2), ("c", 0)), "shop", params=(("replicaSet", "rs0"), ("tls", "true"), ("x", ""))
    ),
    "mongodb+srv://cluster.example.com": Url("mongodb+srv", (("cluster.example.com", 0),)),
    "mongodb://h/?a=b%26c": Url("mongodb", (("h", 0),), params=(("a", "b&c"),)),
}


@pytest.mark.parametrize("text", GOOD)
def test_forms(text: str) -> None:
    """Every form is read into its parts."""
    assert GOOD[text] == Url.parse(text, "databases.app.url")


def test_parts() -> None:
    """The first host counts where one is meant; a parameter that is missing is empty."""
    url = Url.parse("mongodb://a:1,b:2/shop?w=1", "here")
    assert (url.host, url.port, url.param("w"), url.param("x")) == ("a", 1, "1", "")
    assert (Url("postgresql").host, Url("postgresql").port) == ("", 0)


@pytest.mark.parametrize(
    "text", ["", "shop", "localhost:5432/shop", "://h/shop", "1pg://h/shop", "postgresql:/h", "Postgresql://h"]
)
def test_no_address(text: str) -> None:
    """What has no scheme is refused, naming the place and never the text."""
    with pytest.raises(ConfigError) as caught:
        Url.parse(text, "databases.app.url")
    assert caught.value.message == "databases.app.url is no database address"
    assert caught.value.hint == "Write scheme://user:password@host:port/database"


@given(password=PASSWORDS)
def test_escaped_password(password: str) -> None:
    """Any password, escaped, is read back as it is."""
    url = Url.parse(f"postgresql://ann:{quote(password, safe='')}@h:5432/shop?x=1", "here")
    assert Url("postgresql", (("h", 5432),), "shop", "ann", password, (("x", "1"),)) == url


@given(password=NO_ESCAPE)
def test_raw_password(password: str) -> None:
    """Any password without a percent sign may be written as it is."""
    url = Url.parse(f"postgresql://ann:{password}@h:5432/shop?x=1", "here")
    assert Url("postgresql", (("h", 5432),), "shop", "ann", password, (("x", "1"),)) == url


@given(password=PASSWORDS, escaped=st.booleans())
def test_password_has_no_influence(password: str, escaped: bool) -> None:
    """Addresses that differ only in the password look the same in every text form: nothing of it can show."""
    written = quote(password, safe="") if escaped else password
    url, plain = (Url.parse(f"mongodb://ann:{each}@h:1,i:2/shop?w=1", "here") for each in (written, "other"))
    assert (str(plain), repr(plain), plain.bare()) == (str(url), repr(url), url.bare())
    assert str(url) == "mongodb://ann@h:1,i:2/shop"
    assert url.bare() == "mongodb://h:1,i:2/shop?w=1"


@given(password=PASSWORDS, rest=st.sampled_from(["h:99999/shop", "h:x/shop", "[::1/shop", "h:1:2/shop", "h]/shop"]))
def test_password_has_no_influence_on_errors(password: str, rest: str) -> None:
    """An address that cannot be read is refused in words that do not depend on the password."""
    with pytest.raises(ConfigError) as caught:
        Url.parse(f"postgresql://ann:{password}@{rest}", "databases.app.url")
    assert caught.value.message == "databases.app.url: the host or the port cannot be read"
    with pytest.raises(ConfigError) as other:
        Url.parse(f"postgresql://ann:other@{rest}", "databases.app.url")
    assert other.value.as_dict() == caught.value.as_dict()
    assert caught.value.__cause__ is None


@given(
    password=PASSWORDS.filter(str.strip), name=st.sampled_from(["password", "sslpassword", "token", "client_secret"])
)
def test_secrets_are_masked(password: str, name: str) -> None:
    """Whatever form a password takes in a driver's message, the secrets of the address mask it."""
    assume(not set("*<>") & set(password))
    url = Url.parse(
        f"postgresql://ann:{quote(password, safe='')}@h/shop?{name}={quote('Zq7' + password, safe='')}", "x"
    )
    mask = Mask(url.secrets())
    for value in (password, "Zq7" + password):
        for form in (value, quote(value), quote(value, safe="")):
            assert mask(f"<{form}>") == "<***>"


def test_secret_parameters() -> None:
    """Parameters that hold a password are secrets, others are not; no text for people shows any."""
    url = Url.parse("postgresql://h/shop?sslpassword=hunter2&sslmode=require&access_token=t0ken", "here")
    assert frozenset({"hunter2", "t0ken"}) == url.secrets()
    assert str(url) == "postgresql://h/shop"
    assert "hunter2" not in repr(url)
    assert frozenset() == Url.parse("postgresql://h/shop?keepalive=1", "here").secrets()


@given(
    database=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=10),
    value=st.text(st.characters(exclude_categories=["Cs"]), max_size=10),
)
def test_bare_is_read_back(database: str, value: str) -> None:
    """The address that a driver gets says the same: database and parameters, whatever is in them."""
    url = Url("mongodb", (("h", 1), ("[::1]", 0)), database, params=(("a b", value), ("c", "d")))
    assert url == Url.parse(url.bare(), "here")
    assert url.bare("other").startswith("other://")
