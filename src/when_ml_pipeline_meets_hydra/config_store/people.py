"""Who may do what in a config store: roles, and the rules for reviews."""

from __future__ import annotations

import getpass
import os
import re
from enum import IntEnum
from fnmatch import fnmatchcase

import sqlalchemy as sa

from when_ml_pipeline_meets_hydra.config_store.database import next_number, now
from when_ml_pipeline_meets_hydra.config_store.schema import ROLES, RULES
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, Refused, did_you_mean
from when_ml_pipeline_meets_hydra.startup.dataclasses import dataclass

USER = "WMH_CONFIG_USER"
TWO_PEOPLE = "two_people"
PROTECTED = "protected"
_LONGEST = 200  # characters of a name


class Role(IntEnum):
    """What a person may do; each role may do what the ones before it may."""

    READ = 0
    PROPOSE = 1
    APPROVE = 2
    PUBLISH = 3
    ADMIN = 4

    @classmethod
    def named(cls, name: str) -> Role:
        """Return the role with this name. Raises ``BadInput``."""
        names = [role.name.lower() for role in cls]
        if name not in names:
            raise BadInput(Problem(key="role", value=name, message="no such role", remedy=did_you_mean(name, names)))
        return cls(names.index(name))


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The rules for publications.

    With ``two_people`` each draft needs the approval of somebody who has not edited it; entries that match one of the
    ``protected`` patterns (``deployment/*``) always do.
    """

    two_people: bool = False
    protected: tuple[str, ...] = ()

    def guards(self, path: str) -> bool:
        """Whether a change of an entry needs a second person."""
        return self.two_people or any(fnmatchcase(path, pattern) for pattern in self.protected)


def current_user() -> str:
    """The name under which this process edits: $WMH_CONFIG_USER, or that of the operating system's user."""
    try:
        name = os.environ.get(USER) or getpass.getuser()
    except (KeyError, OSError, ImportError):
        name = f"user {os.getuid()}"
    return checked_name(name.strip())


def checked_name(name: str) -> str:
    """Return the name of a user. Raises ``BadInput`` if it is empty, too long, or has characters that are not shown."""
    if not name or len(name) > _LONGEST or not name.isprintable():
        message = f"expected the name of a user, at most {_LONGEST} printable characters"
        raise BadInput(Problem(key="user", value=ascii(name[:_LONGEST]), message=message))
    return name


def checked_message(message: str) -> str:
    """Return a message. Raises ``BadInput`` if it has characters that are not shown, such as those for terminals."""
    if not all(part.isprintable() for part in re.split(r"[\r\n\t]", message)):
        raise BadInput(
            Problem(key="--message", message="expected printable characters", remedy="Write it in plain text")
        )
    return message


def roles_of(connection: sa.Connection) -> dict[str, Role]:
    """The role of each member; a store without members is open to everybody who can reach it."""
    rows = connection.execute(sa.select(ROLES.c.member, ROLES.c.role).order_by(ROLES.c.number))
    return {member: Role.named(role) for member, role in {r.member: r.role for r in rows}.items() if role}


def require(connection: sa.Connection, user: str, needed: Role, to_do: str) -> None:
    """Raise ``Refused`` if a user may not do something."""
    roles = roles_of(connection)
    if roles and (found := roles.get(user, Role.READ)) < needed:
        message = f"'{user}' has the role {found.name.lower()}, and to {to_do} needs {needed.name.lower()}"
        raise Refused("role", f"{message}. An admin gives it: wmh config role {user} {needed.name.lower()}")


def set_role(connection: sa.Connection, member: str, role: Role | None, author: str) -> None:
    """Give a member a role, or take it away. Raises ``Refused`` if nobody could give roles any more."""
    require(connection, author, Role.ADMIN, "change roles")
    after = roles_of(connection)
    if role:
        checked_name(member)
    elif member not in after:
        remedy = did_you_mean(member, after)
        raise BadInput(Problem(key="user", value=member, message="has no role", remedy=remedy))
    after.pop(member, None)
    if role:
        after[member] = role
    if after and Role.ADMIN not in after.values():
        raise Refused("role", "somebody has to be admin, or nobody could change roles any more")
    connection.execute(
        ROLES.insert().values(
            number=next_number(connection, ROLES),
            changed=now(),
            author=author,
            member=member,
            role=role.name.lower() if role else None,
        )
    )


def rules_of(connection: sa.Connection) -> Rules:
    """The rules of a store."""
    rows = connection.execute(sa.select(RULES.c.name, RULES.c.value).order_by(RULES.c.number))
    found = {row.name: row.value for row in rows}
    return Rules(two_people=found.get(TWO_PEOPLE) == "true", protected=tuple(found.get(PROTECTED, "").split()))


def set_rules(connection: sa.Connection, rules: Rules, author: str) -> None:
    """Change the rules."""
    require(connection, author, Role.ADMIN, "change rules")
    for name, value in ((TWO_PEOPLE, str(rules.two_people).lower()), (PROTECTED, " ".join(rules.protected))):
        connection.execute(
            RULES.insert().values(
                number=next_number(connection, RULES), changed=now(), author=author, name=name, value=value
            )
        )
