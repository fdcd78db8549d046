"""Who may call what: each route of the daemon has a policy, and no route that changes something is open by accident."""

from __future__ import annotations

import re

from bty.daemon.guards import Guard
from bty.daemon.openapi import describe
from bty.daemon.routes import ROUTES

# What changes something without a login: logging in and out, and what machines say, whose MAC is all they can show.
OPEN_CHANGES = {"/ui/login", "/ui/logout", "/auth/login", "/auth/logout"}
MACHINE_CHANGES = re.compile(r"/pxe/\{mac\}/(done|status|inventory|progress|log)")


def test_every_route_has_a_policy() -> None:
    """Each line of the table has a guard that exists; the table is printed for whoever reads the run (-s)."""
    for route in ROUTES:
        print(f"{route.guard:<9} {route.method:<9} {route.path}")

    assert {type(route.guard) for route in ROUTES} == {Guard}
    assert len({(route.method, route.path) for route in ROUTES}) == len(ROUTES)


def test_nothing_is_changed_without_a_login_but_what_has_to_be() -> None:
    """A route that changes something is the operator's, or one of those that are named here."""
    changing = [route for route in ROUTES if not {"GET", "HEAD"} >= set(route.method.split("|"))]
    wrong = [
        f"{route.method} {route.path}"
        for route in changing
        if route.guard not in (Guard.OPERATOR, Guard.SESSION)
        and route.path not in OPEN_CHANGES
        and not MACHINE_CHANGES.fullmatch(route.path)
    ]

    assert wrong == []


def test_the_description_is_of_every_route() -> None:
    """The OpenAPI document has every method of every path, with a unique name and its guard."""
    document = describe(ROUTES)
    described = {(method.upper(), path): operation for path, methods in document["paths"].items() for method, operation in methods.items()}
    wanted = {(method, route.path): route for route in ROUTES for method in route.method.split("|")}

    assert described.keys() == wanted.keys()
    assert {key: operation["x-guard"] for key, operation in described.items()} == {key: route.guard for key, route in wanted.items()}
    assert len({operation["operationId"] for operation in described.values()}) == len(described)


def test_every_body_that_is_read_is_described() -> None:
    """An operator's route that takes a method with a body either describes it or takes none."""
    document = describe(ROUTES)
    without = {
        path
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if method in ("put", "patch") and "requestBody" not in operation
    }

    assert without == set()
