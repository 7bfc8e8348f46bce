"""OpenAI's chat body inside InvokeModel, which open models on AWS have as well.

Source: the AWS user guide, "OpenAI models" (`model-parameters-openai`), compared November 2026.
"""

from __future__ import annotations

import msgspec

from bedplate_gateway.dialects.bedrock.invoke_native import ServerSentNative
from bedplate_gateway.dialects.openai.chat import ChatExchange


def decode_chat_native(
    fields: dict[str, msgspec.Raw], *, model: str, stream: bool, continues: bool
) -> ServerSentNative:
    """The exchange of a chat body, given as its raw fields; `model` and `stream` take the place of the body's own.

    Raises `InvalidRequest` or `UnsupportedFeature`, nothing else.
    """
    whole = {
        **fields,
        "model": msgspec.Raw(msgspec.json.encode(model)),
        "stream": msgspec.Raw(b"true" if stream else b"false"),
    }
    return ServerSentNative(ChatExchange.decode(msgspec.json.encode(whole), continues=continues))


__all__ = ["decode_chat_native"]
