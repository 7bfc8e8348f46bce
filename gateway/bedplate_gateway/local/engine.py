"""The local engine: `vllm serve` on 127.0.0.1 as a child process, watched, and gone when it should be.

A guard process stands between us and vLLM (`process_guard`), because vLLM's workers outlive a killed API
server. The engine runs in a session of its own, listens on the loopback only, and asks for a random key that
is in its environment and never on a command line.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import secrets
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from bedplate_gateway.local.engine_record import EngineRecord
from bedplate_gateway.local.errors import LaunchError
from bedplate_gateway.local.port import free_port, require_free_port
from bedplate_gateway.local.progress import Progress
from bedplate_store.child_process import ProcessIdentity, die_with_parent
from bedplate_store.file_lock import FileLock

HOST = "127.0.0.1"
GUARD = Path(__file__).with_name("process_guard.py")
STOP_GRACE_S = 8.0
STOP_WAIT_S = STOP_GRACE_S + 15.0
HEALTH_TIMEOUT_S = 2.0
POLL_S = 0.25
LOG_LINES = 25
ENGINE_VARIABLES = re.compile(
    r"PATH|HOME|USER|LANG|LC_.*|TZ|TMPDIR|XDG_.*|LD_LIBRARY_PATH|(CUDA|NVIDIA|NCCL|OMP|VLLM|HF)_.*"
)
"""What the engine may know of the caller's environment. PYTHON* would change how it imports and compiles, and
the gateway's own secrets are not its business.
"""


class EngineOptions(msgspec.Struct, frozen=True):
    """How large an engine is and what it runs on. The defaults suit two cores and 3 GB of memory.

    `cpu_cores` binds the compute threads, e.g. "1": by itself every engine on a machine takes the first core.
    `dtype` "float32" makes greedy answers independent of what else runs in the batch, at half the speed.
    """

    gpu: bool = False
    max_model_len_tokens: int = 4096
    max_sequences: int = 64
    kv_cache_bytes: int = 512 << 20
    dtype: str = "auto"
    cpu_cores: str = ""

    def arguments(self) -> list[str]:
        """vLLM's options for this size."""
        length = str(self.max_model_len_tokens)
        shared = ["--max-model-len", length, "--max-num-seqs", str(self.max_sequences), "--dtype", self.dtype]
        if self.gpu:
            return shared
        return [
            *shared,
            # On a CPU this is a share of the memory that must be free at start, not what is used.
            *("--gpu-memory-utilization", "0.1"),
            *("--kv-cache-memory-bytes", str(self.kv_cache_bytes)),
            # A seeded request whose prompt takes two steps ends the engine ("CPU Generator does not use
            # offset"), so every prompt has to fit into one step.
            *("--no-enable-chunked-prefill", "--max-num-batched-tokens", length),
            # Compiling costs 100 s at each start and gains no speed here.
            "--enforce-eager",
            # With the CPU's default of 128, shorter prompts would never be found in the prefix cache.
            *("--block-size", "32"),
        ]


class LocalEngine:
    """One vLLM server that keeps its log and its record under `home` and is called `name` there.

    `python` is the engine environment's, `model` a Hugging Face folder. `port` is chosen free when it is
    None, and kept over restarts, as is the key. `environ` is the caller's environment (see
    `ENGINE_VARIABLES`). Linux only. Only the main thread may start it: the kernel ties the engine's life to
    the thread that does.
    """

    def __init__(
        self,
        home: Path,
        *,
        python: Path,
        model: Path,
        environ: Mapping[str, str],
        chat_template: Path | None = None,
        served_name: str = "smollm2",
        port: int | None = None,
        options: EngineOptions | None = None,
        name: str = "engine",
    ) -> None:
        home = home.absolute()
        self.served_name = served_name
        self.api_key = secrets.token_urlsafe(32)
        self.log = home / "logs" / f"{name}.log"
        self._record_path = home / "run" / f"{name}.json"
        self._lock = FileLock(home / "run" / f"{name}.lock")
        self._python = python
        self._model = model
        self._environ = environ
        self._chat_template = chat_template
        self._options = options or EngineOptions()
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None
        self._record: EngineRecord | None = None
        self._warm_up: http.client.HTTPConnection | None = None
        self._is_warm = False

    @property
    def port(self) -> int:
        """The port it listens on; chosen here if none was given and none was chosen yet."""
        if self._port is None:
            self._port = free_port(HOST)
        return self._port

    @property
    def base_url(self) -> str:
        """Where the API is, without a path: `http://127.0.0.1:<port>`."""
        return f"http://{HOST}:{self.port}"

    def start(self) -> None:
        """Start the engine and return at once; `wait_ready` or `is_ready` tell when it answers.

        What an engine of the same home and name left after a crash is ended first. Raises `LaunchError`: such
        an engine is running under another live launcher, the port is taken, or a file is missing.
        """
        if self._process is not None:
            raise LaunchError("the engine is started already")
        for needed in (self._python, self._model):
            if not needed.exists():
                raise LaunchError(f"{needed} is missing", "Remove the cache folder and start again.")
        for folder in (self.log.parent, self._record_path.parent):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._lock.acquire(wait_s=2.0):
            raise LaunchError(
                f"the engine of {self._record_path.parent.parent} is running already, started by process "
                f"{self._lock.holder()}",
                "Stop that one first, or use another home folder.",
            )
        try:
            self._clear_remains()
            require_free_port(HOST, self.port, option="--engine-port")
            self._spawn()
        except BaseException:
            self.kill()
            self.stop()
            raise

    def is_ready(self) -> bool:
        """Whether the engine answers: it is healthy and has completed one request, which is slow once.

        Called again and again until it is True; takes at most `HEALTH_TIMEOUT_S`. Raises `LaunchError` with
        the end of the log when the engine ended.
        """
        if self._is_warm:
            return True
        status = self.poll()
        if self._process is None or status is not None:
            raise LaunchError(f"the engine ended while it was starting (exit status {status})\n{self.log_tail()}")
        try:
            if self._warm_up is None:
                if self._is_healthy():
                    self._begin_warm_up()
                return False
            return self._end_warm_up(self._warm_up)
        except (OSError, http.client.HTTPException):
            self._drop_warm_up()
            return False

    def wait_ready(self, progress: Progress, timeout_s: float = 600) -> None:
        """Return when the engine answers. Raises `LaunchError` when it ends or `timeout_s` are over.

        The engine is not stopped then; that is the caller's to do.
        """
        began = time.monotonic()
        while not self.is_ready():
            waited_s = time.monotonic() - began
            if waited_s > timeout_s:
                raise LaunchError(f"the engine was not ready within {timeout_s:.0f} s\n{self.log_tail()}")
            progress.update(f"{waited_s:.0f} s")
            time.sleep(POLL_S)

    def poll(self) -> int | None:
        """The exit status if the started engine has ended by itself; None while it runs or before `start`."""
        return None if self._process is None else self._process.poll()

    def stop(self) -> None:
        """Stop the engine and return when all its processes are gone; running requests are cut off.

        Nothing if it is not started. Takes about 3 s, at most a minute.
        """
        process, record = self._process, self._record
        self._drop_warm_up()
        self._is_warm = False
        if process is not None:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(STOP_WAIT_S)
                except subprocess.TimeoutExpired:
                    process.kill()
            if record is not None:
                record.clear()
            process.wait()
        self._process = self._record = None  # not before: `kill` may be called while this waits
        if self._lock.is_held:
            self._record_path.unlink(missing_ok=True)
            self._lock.release()

    def kill(self) -> None:
        """Kill all of the engine's processes, without waiting; `stop` must still be called."""
        if self._record is not None:
            self._record.kill()
        if self._process is not None:
            self._process.kill()

    def log_tail(self) -> str:
        """The last lines of the engine's log, for a message."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - 16_384))
                lines = file.read().decode(errors="replace").splitlines()
        except OSError:
            return ""
        return "\n".join(["its log ends with:", *lines[-LOG_LINES:]])

    def command(self) -> list[str]:
        """The command line of the server; it holds no secret."""
        command = [str(self._python), str(self._python.parent / "vllm"), "serve", str(self._model)]
        command += ["--host", HOST, "--port", str(self.port), "--served-model-name", self.served_name]
        command += self._options.arguments()
        command += ["--enable-auto-tool-choice", "--tool-call-parser", "hermes"]
        # Arguments of a forced tool call then follow its schema, not just any JSON.
        command += ["--tool-strict-level", "parameter"]
        command += ["--enable-prompt-tokens-details", "--enable-request-id-headers"]
        command += ["--scheduling-policy", "priority", "--disable-uvicorn-access-log"]
        if self._chat_template is not None:
            command += ["--chat-template", str(self._chat_template)]
        return command

    def _environment(self) -> dict[str, str]:
        passed = {name: value for name, value in self._environ.items() if ENGINE_VARIABLES.fullmatch(name)}
        path = f"{self._python.parent}:{passed.get('PATH', '/usr/bin:/bin')}"
        own = {"PATH": path, "VLLM_API_KEY": self.api_key, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
        if self._options.cpu_cores:
            own["VLLM_CPU_OMP_THREADS_BIND"] = self._options.cpu_cores
        return {"HOME": str(self.log.parent.parent), **passed, **own}

    def _clear_remains(self) -> None:
        """End an engine whose launcher died without it. The lock is held, so no live launcher owns it."""
        remains = EngineRecord.read(self._record_path)
        if remains is not None:
            remains.end()
            self._record_path.unlink(missing_ok=True)

    def _spawn(self) -> None:
        if self.log.exists():
            self.log.replace(self.log.with_name(self.log.name + ".1"))
        descriptor = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", str(GUARD), str(STOP_GRACE_S), *self.command()],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                cwd=self.log.parent,
                start_new_session=True,
                preexec_fn=die_with_parent(signal.SIGTERM),
            )
        finally:
            os.close(descriptor)
        guard = ProcessIdentity.of(self._process.pid)
        if guard is None:
            raise LaunchError(f"the engine ended right after it started\n{self.log_tail()}")
        self._record = EngineRecord(guard, os.path.realpath(self._python), self.port)
        self._record.write(self._record_path)

    def _is_healthy(self) -> bool:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=HEALTH_TIMEOUT_S)
        try:
            connection.request("GET", "/health", headers={"Authorization": f"Bearer {self.api_key}"})
            return connection.getresponse().status == 200
        finally:
            connection.close()

    def _begin_warm_up(self) -> None:
        """Send a first request; the answer is looked for later, so that the caller can go on watching."""
        asked = {
            "model": self.served_name,
            "messages": [{"role": "user", "content": "Say hello."}],
            "max_tokens": 4,
        }
        self._warm_up = http.client.HTTPConnection(HOST, self.port, timeout=60)
        headers = {"Authorization": f"Bearer {self.api_key}", "Content-Type": "application/json"}
        self._warm_up.request("POST", "/v1/chat/completions", json.dumps(asked), headers)

    def _end_warm_up(self, connection: http.client.HTTPConnection) -> bool:
        readable, _, _ = select.select([connection.sock], [], [], 0)
        if not readable:
            return False
        response = connection.getresponse()
        said = response.read().decode(errors="replace")
        self._drop_warm_up()
        if response.status != 200:
            raise LaunchError(f"the engine refuses a simple request ({response.status}): {said[:500]}")
        if self._record is not None:
            self._record = self._record.with_shared_memory()
            self._record.write(self._record_path)
        self._is_warm = True
        return True

    def _drop_warm_up(self) -> None:
        connection, self._warm_up = self._warm_up, None
        if connection is not None:
            connection.close()
