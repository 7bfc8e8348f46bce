"""Stands in for the `vllm` command: health, models, one chat route, and a worker that ignores SIGTERM.

VLLM_FAKE_MODE: "" works, "die" exits while it starts, "refuse" answers the chat route with 500.
"""

import http.server
import json
import os
import subprocess
import sys
import time
from multiprocessing import shared_memory

WORKER = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
MODE = os.environ.get("VLLM_FAKE_MODE", "")


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.answer(200, {})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Authorization") != "Bearer " + os.environ["VLLM_API_KEY"]:
            self.answer(401, {})
        elif MODE == "refuse":
            self.answer(500, {"error": "no weights"})
        else:
            self.answer(200, {"environ": dict(os.environ)})

    def answer(self, status: int, body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None: ...


if MODE == "die":
    print("the model is made of cheese", flush=True)
    sys.exit(3)
print("arguments:", sys.argv[1:], flush=True)
segment = shared_memory.SharedMemory(create=True, size=4096)
print("segment:", segment.name, flush=True)
subprocess.Popen([sys.executable, "-c", WORKER])
time.sleep(0.3)
port = int(sys.argv[sys.argv.index("--port") + 1])
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
