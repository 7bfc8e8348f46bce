"""One program that the launcher starts: its process group, its log, and its end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from bedplate_gateway.local.errors import LaunchError
from bedplate_store.child_process import die_with_parent


class Program:
    """A program in a process group of its own, started and stopped as often as needed.

    `environ` is its entire environment. Its output goes to the file `log` (the file before is kept as
    `<log>.1`), or to ours when that is None. It is stopped by SIGTERM, and by SIGKILL after `stop_timeout_s`; the
    kernel sends it SIGTERM when the thread that started it is gone.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environ: Mapping[str, str],
        log: Path | None = None,
        stop_timeout_s: float = 30.0,
    ) -> None:
        self.name = name
        self._command = list(command)
        self._environ = dict(environ)
        self._log = log
        self._stop_timeout_s = stop_timeout_s
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and return at once. Raises `LaunchError`: there is no such program."""
        output = self._open_log()
        try:
            self._process = subprocess.Popen(
                self._command,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # a Ctrl-C at the terminal is for the supervisor
                preexec_fn=die_with_parent(signal.SIGTERM),
            )
        except OSError as error:
            raise LaunchError(f"{self.name} cannot be started: {error.strerror} ({error.filename})") from error
        finally:
            if output is not None:
                os.close(output)

    def poll(self) -> int | None:
        """The exit status if it ended by itself; None while it runs or before `start`."""
        return None if self._process is None else self._process.poll()

    def stop(self) -> None:
        """End it in an orderly way, with what it started, and wait for that; nothing if it is not started."""
        process = self._process
        if process is not None:
            if process.poll() is None:
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(self._stop_timeout_s)
            self.kill()
            process.wait()
        self._process = None

    def kill(self) -> None:
        """Kill the program and whatever it started in its process group."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _open_log(self) -> int | None:
        if self._log is None:
            return None
        self._log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._log.exists():
            self._log.replace(self._log.with_name(self._log.name + ".1"))
        return os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


__all__ = ["Program"]
