"""From an address to a list and a role."""

from collections.abc import Iterator

import pytest

from mailforum.errors import Refused
from mailforum.forum import route
from mailforum.model import RouteRole
from mailforum.settings import ListSettings
from mailforum.store import lists
from mailforum.store.database import Tx
from tests.support.stores import undone

SITE = "lists.example.test"
TOKEN = "abcdefghijklmnopqrstuvwxyz"


@pytest.fixture(autouse=True)
def some_lists(tx: Tx) -> Iterator[None]:
    with undone(tx):
        for name in ("pmo", "x", "x-leave", "low-code", "low"):
            lists.add(tx, f"{name}@{SITE}", name, ListSettings(), 1.0)
        yield


@pytest.mark.parametrize(
    ("local", "name", "role", "detail"),
    [
        ("pmo", "pmo", RouteRole.POST, ""),
        ("PMO", "pmo", RouteRole.POST, ""),
        ("pmo-join", "pmo", RouteRole.JOIN, ""),
        ("pmo+join", "pmo", RouteRole.JOIN, ""),
        ("pmo-subscribe", "pmo", RouteRole.JOIN, ""),
        ("pmo-Subscribe-Digest", "pmo", RouteRole.JOIN, "digest"),
        ("pmo+join-digest", "pmo", RouteRole.JOIN, "digest"),
        ("pmo-leave", "pmo", RouteRole.LEAVE, ""),
        ("pmo+unsubscribe", "pmo", RouteRole.LEAVE, ""),
        (f"pmo-leave+{TOKEN}", "pmo", RouteRole.LEAVE, TOKEN),
        (f"pmo-confirm+{TOKEN}", "pmo", RouteRole.CONFIRM, TOKEN),
        (f"pmo+confirm.{TOKEN}", "pmo", RouteRole.CONFIRM, TOKEN),
        (f"PMO-CONFIRM+{TOKEN.upper()}", "pmo", RouteRole.CONFIRM, TOKEN),
        ("pmo-request", "pmo", RouteRole.REQUEST, ""),
        ("pmo-help", "pmo", RouteRole.HELP, ""),
        ("pmo-info", "pmo", RouteRole.INFO, ""),
        ("pmo-owner", "pmo", RouteRole.OWNER, ""),
        ("pmo-bounces", "pmo", RouteRole.BOUNCES, ""),
        ("pmo-bounces+bob=example.com", "pmo", RouteRole.BOUNCES, "bob=example.com"),
        (f"pmo+r.{TOKEN}", "pmo", RouteRole.REPLY, TOKEN),
        ("x-leave", "x-leave", RouteRole.POST, ""),
        ("x-leave-leave", "x-leave", RouteRole.LEAVE, ""),
        ("low-code-join", "low-code", RouteRole.JOIN, ""),
        ("low-join", "low", RouteRole.JOIN, ""),
    ],
)
def test_an_address_leads_to_its_list_and_role(tx: Tx, local: str, name: str, role: RouteRole, detail: str) -> None:
    found = route.find(tx, f"{local}@{SITE.upper()}", SITE)
    assert found.mlist is not None
    assert (found.mlist.name, found.role, found.detail) == (name, role, detail)


@pytest.mark.parametrize(
    "rcpt",
    ["pmo@example.com", "nobody@" + SITE, "pmo-nothing@" + SITE, "pmo-@" + SITE, "pmo-request-digest@" + SITE,
     "eve@example.net", "pmo%example.com@" + SITE, '"pmo"@' + SITE, "", "x--leave@" + SITE, "../pmo@" + SITE],
)  # fmt: skip
def test_everything_else_is_refused_as_unknown(tx: Tx, rcpt: str) -> None:
    with pytest.raises(Refused) as caught:
        route.find(tx, rcpt, SITE)
    assert (caught.value.code, caught.value.enhanced) == (550, "5.1.1")


@pytest.mark.parametrize(
    ("rcpt", "role"),
    [("postmaster", RouteRole.POSTMASTER), ("Postmaster@" + SITE, RouteRole.POSTMASTER),
     ("abuse@" + SITE, RouteRole.POSTMASTER), ("mailforum@" + SITE, RouteRole.SITE),
     ("majordomo@" + SITE, RouteRole.SITE)],
)  # fmt: skip
def test_the_sites_own_addresses_are_known(tx: Tx, rcpt: str, role: RouteRole) -> None:
    assert route.find(tx, rcpt, SITE).role is role
