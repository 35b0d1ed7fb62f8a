"""``config role`` and ``config rules``: who may propose, approve and publish."""

from __future__ import annotations

from typing import Annotated

import typer

from when_ml_pipeline_meets_hydra.cli.commands.config.options import AsJson, StoreOption, store_at


def role(
    member: Annotated[str | None, typer.Argument(help="The user; a list of all otherwise")] = None,
    role: Annotated[
        str | None, typer.Argument(help="read, propose, approve, publish, admin; each may do what is before it")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take the role away")] = False,
    store: StoreOption = "",
    as_json: AsJson = False,
) -> None:
    """List the members and their roles, or give a role. A store without members is open to all who can reach it."""
    from when_ml_pipeline_meets_hydra.cli.output.consoles import print_json, print_rows
    from when_ml_pipeline_meets_hydra.config_store.people import Role, roles_of, set_role
    from when_ml_pipeline_meets_hydra.errors import BadInput, Problem

    opened = store_at(store)
    if member and (role is None) != remove:
        raise BadInput(
            Problem(key="config role", message="give a role, or --remove", remedy="config role NAME publish")
        )
    if member:
        given = None if role is None else Role.named(role)
        with opened.writing() as connection:
            set_role(connection, member, given, opened.user)
    with opened.reading() as connection:
        roles = {name: found.name.lower() for name, found in sorted(roles_of(connection).items())}
    if as_json:
        print_json(roles)
    else:
        print_rows(("user", "role"), list(roles.items()))


def rules(
    two_people: Annotated[
        bool | None, typer.Option("--two-people/--one-person", help="Each draft needs a second person's approval")
    ] = None,
    protect: Annotated[
        list[str] | None, typer.Option("--protect", help="Entries that always do, as deployment/* (may be repeated)")
    ] = None,
    unprotect: Annotated[list[str] | None, typer.Option("--unprotect", help="No more")] = None,
    store: StoreOption = "",
    as_json: AsJson = False,
) -> None:
    """Show or change the rules for publications."""
    from dataclasses import replace

    from when_ml_pipeline_meets_hydra.cli.output.consoles import print_json
    from when_ml_pipeline_meets_hydra.config_store.people import rules_of, set_rules
    from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, did_you_mean

    opened = store_at(store)
    if two_people is not None or protect or unprotect:
        if wrong := [pattern for pattern in protect or () if not pattern or any(c.isspace() for c in pattern)]:
            raise BadInput(Problem(key="--protect", value=wrong[0], message="expected a pattern, as deployment/*"))
        with opened.writing() as connection:
            found = rules_of(connection)
            if unknown := [pattern for pattern in unprotect or () if pattern not in found.protected]:
                remedy = did_you_mean(unknown[0], found.protected)
                message = "it is not protected"
                raise BadInput(Problem(key="--unprotect", value=unknown[0], message=message, remedy=remedy))
            patterns = [p for p in dict.fromkeys([*found.protected, *(protect or ())]) if p not in (unprotect or ())]
            people = found.two_people if two_people is None else two_people
            set_rules(connection, replace(found, two_people=people, protected=tuple(patterns)), opened.user)
    with opened.reading() as connection:
        found = rules_of(connection)
    if as_json:
        print_json({"two_people": found.two_people, "protected": list(found.protected)})
    else:
        print(f"two people: {'always' if found.two_people else 'for protected entries'}")
        print(f"protected: {', '.join(found.protected) or 'none'}")
