"""What a process that serves has loaded: no framework or SDK that it never calls."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

UNUSED = (
    "alembic",
    "anthropic",
    "boto3",
    "botocore",
    "faker",
    "guardrails",
    "httpx",
    "hvac",
    "langchain_core",
    "pgqueuer",
    "litellm",
    "openai",
    "pydantic",
    "bedplate_gateway.cli",
    "bedplate_gateway.local",
    "bedplate_guardrails.models",
    "bedplate_guardrails.validators",
    "bedplate_guardrails.worker",
    "numpy",
    "onnxruntime",
    "spacy",
    "bedplate_migrations",
)
SERVED = """
import sys
from pathlib import Path

from bedplate_core.assessment import GuardrailRef
from bedplate_gateway.access.keyring import ensure_master_key
from bedplate_gateway.asgi import application
from bedplate_gateway.settings import Settings, export_settings
from bedplate_guardrails.document import convert_document
from bedplate_guardrails.evaluation import Capabilities
from bedplate_guardrails.policy import compile_policy

home = Path(sys.argv[1])
settings = Settings(home=home, cache=home, database_url="postgresql://gateway@127.0.0.1:1/none")
ensure_master_key(settings.master_key_path)
export_settings(settings)
application()
words = {"wordPolicyConfig": {"wordsConfig": [{"text": "tulip"}]}}
document = convert_document({"blockedInputMessaging": "a", "blockedOutputsMessaging": "b", **words})
compile_policy(GuardrailRef(id="h", name="house", version="1"), document, Capabilities())
loaded = sorted(set(sys.argv[2:]) & set(sys.modules))
sys.exit(f"loaded: {loaded}" if loaded else 0)
"""


def test_a_worker_loads_nothing_it_does_not_serve_with(tmp_path: Path) -> None:
    """Each of these is installed here, and costs megabytes in every worker."""
    subprocess.run([sys.executable, "-c", SERVED, str(tmp_path), *UNUSED], check=True, timeout=60)
