"""Becoming another user: ``-u``."""

from __future__ import annotations

import grp
import os
import pwd

from spiped.errors import OperatorError, describe
from spiped.lean_typing import NamedTuple


class Identity(NamedTuple):
    """Whom to become; None leaves that part as it is."""

    uid: int | None
    gid: int | None


def look_up_identity(text: str) -> Identity:
    """What ``-u`` names: user, :group, or user:group.  A bare user brings its primary group."""
    user, colon, group = text.partition(":")
    if not text:
        raise OperatorError('-u: Need to specify user and/or group: ""')
    if colon and not group:
        raise OperatorError(f'-u: Empty group name: "{text}"')
    uid = gid = None
    if user:
        uid, gid = _look_up_user(user)
    if group:
        gid = _look_up_group(group)
    return Identity(uid, gid)


def _look_up_user(user: str) -> tuple[int, int | None]:
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        if not (user.isascii() and user.isdigit()):
            raise OperatorError(f"-u: No such user: {user}") from None
        try:
            entry = pwd.getpwuid(int(user))
        except (KeyError, OverflowError):
            return int(user), None
    return entry.pw_uid, entry.pw_gid


def _look_up_group(group: str) -> int:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        if not (group.isascii() and group.isdigit()):
            raise OperatorError(f"-u: No such group: {group}") from None
        return int(group)


def give_to(path: str, identity: Identity) -> None:
    """Let a file belong to somebody.  Raises OperatorError."""
    uid = -1 if identity.uid is None else identity.uid
    gid = -1 if identity.gid is None else identity.gid
    try:
        os.chown(path, uid, gid, follow_symlinks=False)
    except OSError as error:
        raise OperatorError(f"Cannot give {path} to the user of -u: {describe(error)}") from error


def drop_privileges(identity: Identity) -> list[str]:
    """Become somebody else, for good.  Returns warnings; raises OperatorError."""
    warnings = []
    try:
        try:
            os.setgroups([])
        except PermissionError:
            if os.getgroups():
                warnings.append("Warning: Failed to leave supplementary groups")
        if identity.gid is not None:
            os.setgid(identity.gid)
        if identity.uid is not None:
            os.setuid(identity.uid)
    except (OSError, OverflowError) as error:
        reason = describe(error) if isinstance(error, OSError) else str(error)
        raise OperatorError(f"-u: {reason}", "Failed to drop privileges") from error
    if identity.uid and os.getgid() == 0:
        warnings.append("Warning: the group is still 0: no group is known for this user")
    return warnings
