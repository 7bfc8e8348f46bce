"""The operating-system account an embedded server runs as: this process's own, or an unprivileged one under
root.
"""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path
from typing import TypedDict

import msgspec

from bedplate_store.embedded_programs import EmbeddedPostgresError

ACCOUNTS = ("bedplate", "postgres", "nobody")


class PopenArguments(TypedDict, total=False):
    """What `subprocess.Popen` takes to run a child as another account."""

    user: int
    group: int
    extra_groups: list[int]


class ServerAccount(msgspec.Struct, frozen=True):
    """An account by name and number. `is_other` tells that it is not this process's own."""

    name: str
    user: int
    group: int
    is_other: bool

    @classmethod
    def current(cls) -> ServerAccount:
        """This process's account, or under root the first of `ACCOUNTS` that exists.

        Raises `EmbeddedPostgresError` under root when none does.
        """
        if os.geteuid() != 0:
            return cls(str(os.geteuid()), os.geteuid(), os.getegid(), is_other=False)
        for name in ACCOUNTS:
            try:
                entry = pwd.getpwnam(name)
            except KeyError:
                continue
            return cls(name, entry.pw_uid, entry.pw_gid, is_other=True)
        raise EmbeddedPostgresError(
            "PostgreSQL refuses to run as root, and this system has none of the accounts " + ", ".join(ACCOUNTS)
        )

    def popen_arguments(self) -> PopenArguments:
        """What makes a child run as this account, with no other groups; nothing when it is our own."""
        if not self.is_other:
            return {}
        return {"user": self.user, "group": self.group, "extra_groups": []}

    def own(self, path: Path) -> None:
        """Give `path` itself (never what a link points to) to this account."""
        if self.is_other:
            os.chown(path, self.user, self.group, follow_symlinks=False)

    def make_folder(self, path: Path) -> None:
        """Make the folder `path` with mode 0700 for this account, or check that the one there is such a
        folder.
        """
        path.mkdir(mode=0o700, exist_ok=True)
        self.own(path)
        if not self.owns_privately(path):
            raise EmbeddedPostgresError(f"{path} is not a folder that only the account {self.name} may use")

    def owns_privately(self, path: Path) -> bool:
        """Whether `path` is a folder (not a link to one) of this account's that nobody else may enter."""
        try:
            facts = path.lstat()
        except OSError:
            return False
        return stat.S_ISDIR(facts.st_mode) and facts.st_uid == self.user and not facts.st_mode & 0o077

    def can_enter(self, path: Path) -> bool:
        """Whether the permission bits let this account pass through the folder `path` and every folder above
        it.
        """
        if not self.is_other:
            return True
        real = path.resolve()
        return all(self._may_pass(folder) for folder in (real, *real.parents))

    def _may_pass(self, folder: Path) -> bool:
        facts = folder.stat()
        if facts.st_uid == self.user:
            return bool(facts.st_mode & stat.S_IXUSR)
        if facts.st_gid == self.group:
            return bool(facts.st_mode & stat.S_IXGRP)
        return bool(facts.st_mode & stat.S_IXOTH)
