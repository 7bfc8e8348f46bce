"""LangChain's standard chat-model tests for its three clients, each on its own dialect of a running gateway.

Run by `test_sdks.py` in the clients' environment. The model is `fake/caller`: it calls the tool that a text names and
otherwise repeats it, which is as much intelligence as the tests need of a model whose wire they test.
"""

from __future__ import annotations

import io
import os
import wave
from typing import Any

import httpx
import pytest
from langchain_anthropic import ChatAnthropic
from langchain_aws import ChatBedrockConverse
from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests
from steps import PNG

URL = os.environ["BEDPLATE_URL"]
KEY = os.environ["BEDPLATE_KEY"]
MODEL = "fake/caller"


def _silence() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(1600))
    return file.getvalue()


@pytest.fixture(autouse=True)
def media_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests take their pictures, documents and sounds from the web; here they are made on the spot."""
    kinds = {".pdf": b"%PDF-1.4\n%%EOF\n", ".wav": _silence(), ".png": PNG, ".jpg": PNG}

    def get(url: str, **_: Any) -> httpx.Response:
        content = next((media for ending, media in kinds.items() if ending in url.lower()), PNG)
        return httpx.Response(200, content=content, request=httpx.Request("GET", url))

    monkeypatch.setattr(httpx, "get", get)


class _Common(ChatModelIntegrationTests):
    @property
    def supports_image_inputs(self) -> bool:
        return True

    @property
    def supports_image_tool_message(self) -> bool:
        return True

    @property
    def returns_usage_metadata(self) -> bool:
        return True

    @property
    def has_tool_choice(self) -> bool:
        return True

    @property
    def model_override_value(self) -> str:
        return "fake/echo"


class TestChatOpenAI(_Common):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": MODEL, "base_url": f"{URL}/v1", "api_key": KEY, "max_retries": 0, "stream_usage": True}

    @property
    def supports_pdf_inputs(self) -> bool:
        return True

    @property
    def supports_audio_inputs(self) -> bool:
        return True


class TestChatOpenAIResponses(TestChatOpenAI):
    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {**super().chat_model_params, "use_responses_api": True}

    @property
    def supports_audio_inputs(self) -> bool:
        return False  # the Responses API takes no audio


class TestChatAnthropic(_Common):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatAnthropic

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": MODEL, "base_url": URL, "api_key": KEY, "max_retries": 0, "max_tokens": 1000}

    @property
    def supports_pdf_inputs(self) -> bool:
        return True

    @property
    def supports_anthropic_inputs(self) -> bool:
        return True


class TestChatBedrockConverse(_Common):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatBedrockConverse

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {
            "model": MODEL,
            "provider": "anthropic",
            "endpoint_url": URL,
            "region_name": "eu-central-1",
            "supports_tool_choice_values": ("auto", "any", "tool"),
            "disable_streaming": False,  # this client only streams by itself for models that it knows by name
        }

    @property
    def model_override_value(self) -> None:
        """This client cannot call another model than its own (`_converse_params` takes no `model`)."""

    @property
    def standard_chat_model_params(self) -> dict[str, Any]:
        return {"temperature": 0, "max_tokens": 100, "stop": []}

    @property
    def supports_pdf_inputs(self) -> bool:
        return True
