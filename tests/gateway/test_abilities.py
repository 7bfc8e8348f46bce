"""What models do beside generating, over HTTP: answers, records, refusals, and the guardrail on both sides.

The policy blocks `forbidden` in what is sent and masks e-mail addresses in it; it blocks `hertz` and masks card numbers
in what leaves.
"""

from __future__ import annotations

import io
import json
import wave
from typing import Any

import httpx
import openai
import pytest

from bedplate_gateway.access.principal import Role
from bedplate_providers.fake_abilities import RANKING_MODEL, TRANSCRIPTION_MODEL
from tests.fixtures.engine import EngineEndpoint
from tests.fixtures.gateway import RunningGateway
from tests.gateway.support import count_records, eventually, http, record_of, sdk

MODELS = f"""
kind: Model
name: ranker
spec: {{provider: fake, upstream_model: {RANKING_MODEL}, profile: {{generation: false, ranking: true}}}}
---
kind: Model
name: listener
spec: {{provider: fake, upstream_model: {TRANSCRIPTION_MODEL}, profile: {{generation: false, transcription: true}}}}
---
kind: Provider
name: elsewhere
spec: {{kind: vllm, urls: ['http://127.0.0.1:9'], api_key: null}}
---
kind: Model
name: generator
spec: {{provider: elsewhere, profile: {{ranking: true, transcription: true}}}}
"""
GUARDRAIL = """
kind: Project
name: guarded
spec: {guardrail: safe}
---
kind: Guardrail
name: safe
project: guarded
spec:
  blockedInputMessaging: The question was stopped.
  blockedOutputsMessaging: The answer was stopped.
  wordPolicyConfig:
    wordsConfig: [{text: forbidden, outputEnabled: false}, {text: hertz, inputEnabled: false}]
  sensitiveInformationPolicyConfig:
    piiEntitiesConfig:
      - {type: EMAIL, action: ANONYMIZE, outputEnabled: false}
      - {type: CREDIT_DEBIT_CARD_NUMBER, action: ANONYMIZE, inputEnabled: false}
"""
CARD = "4111 1111 1111 1111"
TOKENIZE = "/tokenize"
DETOKENIZE = "/detokenize"
RERANK: dict[str, Any] = {"model": "ranker", "query": "red wine", "documents": ["white wine", "red wine", "beer"]}
SCORE: dict[str, Any] = {"model": "ranker", "text_1": "red wine", "text_2": ["red wine", "beer"]}


def sound(seconds: float = 1.5, rate: int = 8000) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(bytes(2 * int(seconds * rate)))
    return file.getvalue()


@pytest.fixture(scope="module", autouse=True)
def models(gateway: RunningGateway) -> None:
    gateway.apply_text(MODELS)

    def taken_up() -> bool:
        with http(gateway, gateway.key) as client:
            return client.get("/v1/models/generator").status_code == 200

    eventually(taken_up, within_s=5)


@pytest.fixture(scope="module")
def guarded_key(gateway: RunningGateway, models: None) -> str:
    gateway.apply_text(GUARDRAIL)
    key = gateway.create_key("guarded", Role.SERVICE)

    def taken_up() -> bool:
        with http(gateway, key) as client:
            return client.get("/v1/models").status_code == 200

    eventually(taken_up, within_s=5)
    return key


def post(gateway: RunningGateway, path: str, body: dict[str, Any], key: str | None = None) -> httpx.Response:
    with http(gateway, key or gateway.key) as client:
        return client.post(path, json=body)


def recorded(gateway: RunningGateway, response: httpx.Response) -> dict[str, Any]:
    return record_of(gateway, response.headers["x-request-id"])


def verdicts(record: dict[str, Any]) -> set[tuple[str, str, str]]:
    return {(one["side"], one["rule"], one["action"]) for one in json.loads(record["verdicts"])}


def test_tokens_go_there_and_back(gateway: RunningGateway) -> None:
    before = count_records(gateway)
    response = post(gateway, TOKENIZE, {"model": "fake/echo", "prompt": "né", "return_token_strs": True})
    assert response.status_code == 200
    assert response.json() == {
        "count": 3, "max_model_len": 8192, "tokens": [110, 195, 169], "token_strs": ["n", "Ã", "©"],
    }  # fmt: skip
    record = recorded(gateway, response)
    assert (record["dialect"], record["operation"], record["outcome"]) == ("openai", "tokenize", "completed")
    assert (record["model"], record["provider"], record["http_status"]) == ("fake/echo", "fake", 200)
    response = post(gateway, DETOKENIZE, {"model": "fake/echo", "tokens": [110, 195, 169]})
    assert response.json() == {"prompt": "né"}
    assert recorded(gateway, response)["operation"] == "detokenize"
    chat = post(gateway, TOKENIZE, {"model": "fake/echo", "messages": [{"role": "user", "content": "hi"}]}).json()
    assert bytes(chat["tokens"]) == b"user: hi"
    assert count_records(gateway) == before + 3


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank"])
def test_reranking(gateway: RunningGateway, path: str) -> None:
    response = post(gateway, path, {**RERANK, "top_n": 2})
    assert response.status_code == 200
    body = response.json()
    assert body["id"].startswith("rerank-")
    assert body["model"] == "ranker"
    assert [(item["index"], item["document"]["text"]) for item in body["results"]] == [
        (1, "red wine"),
        (0, "white wine"),
    ]
    assert body["results"][0]["relevance_score"] == 1.0
    record = recorded(gateway, response)
    assert (record["operation"], record["outcome"], record["upstream_model"]) == ("rerank", "completed", RANKING_MODEL)
    assert record["input_tokens"] == body["usage"]["prompt_tokens"] == 11


def test_scoring(gateway: RunningGateway) -> None:
    response = post(gateway, "/v1/score", SCORE)
    assert response.status_code == 200
    assert [item["score"] for item in response.json()["data"]] == [1.0, 0.0]
    record = recorded(gateway, response)
    assert (record["operation"], record["outcome"], record["input_tokens"]) == ("score", "completed", 7)


def test_the_official_client_transcribes(gateway: RunningGateway) -> None:
    audio = sdk(gateway).audio
    raw = audio.transcriptions.with_raw_response.create(model="listener", file=("../a.wav", sound()))
    transcription = raw.parse()
    assert transcription.text == "2 seconds of sound at 8000 hertz"
    assert transcription.usage is not None
    record = record_of(gateway, raw.headers["x-request-id"])
    assert (record["operation"], record["outcome"], record["stop_reason"]) == ("transcription", "completed", "end")
    assert record["upstream_model"] == TRANSCRIPTION_MODEL
    verbose = audio.transcriptions.create(
        model="listener",
        file=sound(),
        response_format="verbose_json",
        timestamp_granularities=["segment"],
        language="de",
        temperature=0.5,
    )
    assert (verbose.duration, verbose.language) == (1.5, "de")
    assert verbose.segments is not None
    assert "".join(segment.text for segment in verbose.segments).strip() == verbose.text
    assert verbose.segments[0].tokens
    text: Any = audio.transcriptions.create(model="listener", file=sound(), response_format="text")
    assert text == "2 seconds of sound at 8000 hertz"
    translation = audio.translations.create(model="listener", file=sound())
    assert translation.text == "translated: 2 seconds of sound at 8000 hertz"


def test_a_transcription_is_refused_by_name(gateway: RunningGateway) -> None:
    audio = sdk(gateway).audio
    with pytest.raises(openai.BadRequestError) as caught:
        audio.transcriptions.create(model="listener", file=sound(), stream=True)
    assert caught.value.param == "stream"
    for answer_format in ("srt", "vtt"):
        with pytest.raises(openai.BadRequestError) as caught:
            audio.transcriptions.create(model="listener", file=sound(), response_format=answer_format)
        assert caught.value.param == "response_format"
    with pytest.raises(openai.BadRequestError) as caught:
        audio.transcriptions.create(model="listener", file=b"no sound")
    assert caught.value.param == "file"
    with http(gateway, gateway.key) as client:
        response = client.post("/v1/audio/transcriptions", json={"model": "listener"})
    assert response.status_code == 400
    assert recorded(gateway, response)["error_code"] == "invalid_request"


@pytest.mark.parametrize("model", ["fake/echo", "generator"])
@pytest.mark.parametrize(
    ("path", "feature"),
    [("/v1/rerank", "reranking"), ("/v1/score", "scoring"), ("/v1/audio/transcriptions", "transcription")],
)
def test_a_model_without_the_ability_is_refused_by_its_name(
    gateway: RunningGateway, path: str, feature: str, model: str
) -> None:
    if path.endswith("transcriptions"):
        with http(gateway, gateway.key) as client:
            response = client.post(path, data={"model": model}, files={"file": ("a.wav", sound())})
    else:
        response = post(gateway, path, {**(RERANK if path == "/v1/rerank" else SCORE), "model": model})
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["code"], error["param"]) == ("unsupported_parameter", "model")
    assert feature in error["message"]
    record = recorded(gateway, response)
    assert (record["error_code"], record["model"]) == ("unsupported_feature", model)


def test_the_document_describes_the_bodies(gateway: RunningGateway) -> None:
    with http(gateway, gateway.key) as client:
        document = client.get("/openapi.json").json()
    paths, schemas = document["paths"], document["components"]["schemas"]
    form = paths["/v1/audio/transcriptions"]["post"]["requestBody"]["content"]["multipart/form-data"]
    described = schemas[form["schema"]["$ref"].rpartition("/")[2]]
    assert described["properties"]["file"] == {"type": "string", "format": "binary"}
    assert "timestamp_granularities[]" in described["properties"]
    for path in (TOKENIZE, DETOKENIZE, "/v1/rerank", "/v2/rerank", "/v1/score"):
        body = paths[path]["post"]["requestBody"]["content"]["application/json"]
        assert "model" in schemas[body["schema"]["$ref"].rpartition("/")[2]]["required"]


def test_a_missing_model_and_a_missing_key(gateway: RunningGateway) -> None:
    bodies: dict[str, dict[str, Any]] = {TOKENIZE: {"prompt": "x"}, DETOKENIZE: {"tokens": []}, "/v1/score": SCORE}
    for path, body in bodies.items():
        assert post(gateway, path, {**body, "model": "no-such"}).status_code == 404
        with http(gateway) as client:
            assert client.post(path, json={**body, "model": "fake/echo"}).status_code == 401


def test_a_body_over_the_limit_is_refused(gateway: RunningGateway) -> None:
    limit = gateway.settings.max_body_bytes
    with http(gateway, gateway.key) as client:
        response = client.post(
            "/v1/audio/transcriptions", data={"model": "listener"}, files={"file": ("a.wav", bytes(limit))}
        )
    assert response.status_code == 413
    assert recorded(gateway, response)["error_code"] == "payload_too_large"


BLOCKED = [
    (TOKENIZE, {"model": "fake/echo", "prompt": "a forbidden thing"}),
    (TOKENIZE, {"model": "fake/echo", "messages": [{"role": "user", "content": "a forbidden thing"}]}),
    ("/v1/rerank", {**RERANK, "query": "forbidden"}),
    ("/v1/rerank", {**RERANK, "documents": ["x", "a forbidden thing"]}),
    ("/v1/rerank", {**RERANK, "instruction": "forbidden"}),
    ("/v1/score", {**SCORE, "text_1": "forbidden"}),
    ("/v1/score", {**SCORE, "text_2": ["forbidden"]}),
]


@pytest.mark.parametrize(("path", "body"), BLOCKED)
def test_what_the_input_rules_block_is_refused(
    gateway: RunningGateway, guarded_key: str, path: str, body: dict[str, Any]
) -> None:
    response = post(gateway, path, body, guarded_key)
    assert response.status_code == 400
    assert "The question was stopped." in response.json()["error"]["message"]
    record = recorded(gateway, response)
    assert ("input", "word", "block") in verdicts(record)
    assert json.loads(record["versions"])["guardrail"].startswith("safe:")


def test_what_the_input_rules_mask_reaches_the_model_masked(gateway: RunningGateway, guarded_key: str) -> None:
    response = post(gateway, TOKENIZE, {"model": "fake/echo", "prompt": "to a@b.example now"}, guarded_key)
    assert bytes(response.json()["tokens"]) == b"to {EMAIL} now"
    documents = ["mail a@b.example", "mail {EMAIL}"]
    body = post(gateway, "/v1/rerank", {**RERANK, "query": "mail", "documents": documents}, guarded_key).json()
    assert [item["document"]["text"] for item in body["results"]] == ["mail {EMAIL}", "mail {EMAIL}"]
    body = post(gateway, "/v1/score", {**SCORE, "text_1": "a@b.example", "text_2": "{EMAIL}"}, guarded_key).json()
    assert body["data"][0]["score"] == 1.0


def test_the_prompt_of_a_transcription_is_checked_and_the_sound_counts_as_unread(
    gateway: RunningGateway, guarded_key: str
) -> None:
    audio = sdk(gateway, guarded_key).audio
    for field in ("prompt", "hotwords"):
        with pytest.raises(openai.BadRequestError, match="The question was stopped") as caught:
            audio.transcriptions.create(model="listener", file=sound(), extra_body={field: "a forbidden thing"})
        record = record_of(gateway, caught.value.response.headers["x-request-id"])
        assert ("input", "word", "block") in verdicts(record)
    raw = audio.transcriptions.with_raw_response.create(model="listener", file=sound())
    record = record_of(gateway, raw.headers["x-request-id"])
    assert ("input", "media", "skipped") in verdicts(record)


@pytest.mark.parametrize("answer_format", ["json", "text", "verbose_json"])
@pytest.mark.parametrize("path", ["transcriptions", "translations"])
def test_a_blocked_word_of_a_transcript_never_leaves(
    gateway: RunningGateway, guarded_key: str, path: str, answer_format: str
) -> None:
    with http(gateway, guarded_key) as client:
        response = client.post(
            f"/v1/audio/{path}",
            data={"model": "listener", "response_format": answer_format},
            files={"file": ("a.wav", sound())},
        )
    assert response.status_code == 200
    assert "hertz" not in response.text
    assert "8000" not in response.text
    text = response.text if answer_format == "text" else response.json()["text"]
    assert text == "The answer was stopped."
    if answer_format == "verbose_json":
        assert "segments" not in response.json()
    record = recorded(gateway, response)
    assert (record["outcome"], record["stop_reason"]) == ("completed", "guardrail")
    assert ("output", "word", "block") in verdicts(record)


MASKING = """
kind: Project
name: masked
spec: {guardrail: masks}
---
kind: Guardrail
name: masks
project: masked
spec:
  blockedInputMessaging: Stopped.
  blockedOutputsMessaging: Stopped.
  sensitiveInformationPolicyConfig:
    regexesConfig: [{name: rate, pattern: 'at [0-9]+ hertz', action: ANONYMIZE}]
"""


def test_a_masked_text_is_masked_in_the_transcript_and_across_its_segments(gateway: RunningGateway) -> None:
    gateway.apply_text(MASKING)
    key = gateway.create_key("masked", Role.SERVICE)

    def taken_up() -> bool:
        with http(gateway, key) as client:
            return client.get("/v1/models").status_code == 200

    eventually(taken_up, within_s=5)
    verbose = sdk(gateway, key).audio.transcriptions.create(
        model="listener", file=sound(), response_format="verbose_json"
    )
    assert verbose.text == "2 seconds of sound {rate}"
    assert verbose.segments is not None
    assert len(verbose.segments) == 7
    joined = "".join(segment.text for segment in verbose.segments)
    assert joined == " 2 seconds of sound {rate}"
    assert all(segment.tokens == [] for segment in verbose.segments)


def test_the_output_rules_judge_the_text_of_tokens(gateway: RunningGateway, guarded_key: str) -> None:
    response = post(gateway, DETOKENIZE, {"model": "fake/echo", "tokens": list(b"so many hertz")}, guarded_key)
    assert response.status_code == 400
    assert "hertz" not in response.text
    assert response.json()["error"]["param"] == "tokens"
    assert ("output", "word", "block") in verdicts(recorded(gateway, response))
    response = post(gateway, DETOKENIZE, {"model": "fake/echo", "tokens": list(f"card {CARD}!".encode())}, guarded_key)
    assert response.json() == {"prompt": "card {CREDIT_DEBIT_CARD_NUMBER}!"}


def test_token_strings_are_refused_where_rules_run_on_answers(gateway: RunningGateway, guarded_key: str) -> None:
    body = {"model": "fake/echo", "prompt": "x", "return_token_strs": True}
    response = post(gateway, TOKENIZE, body, guarded_key)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "return_token_strs"


def test_tokens_carry_no_text_past_the_input_rules(gateway: RunningGateway, guarded_key: str) -> None:
    tokens = list(b"a forbidden thing")
    response = post(gateway, "/v1/completions", {"model": "fake/echo", "prompt": tokens}, guarded_key)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "prompt"


def test_the_output_rules_judge_the_documents_of_a_ranking(gateway: RunningGateway, guarded_key: str) -> None:
    documents = ["red hertz", f"red {CARD}"]
    response = post(gateway, "/v1/rerank", {**RERANK, "query": "red", "documents": documents}, guarded_key)
    assert response.status_code == 200
    texts = {item["index"]: item["document"]["text"] for item in response.json()["results"]}
    assert texts == {0: None, 1: "red {CREDIT_DEBIT_CARD_NUMBER}"}


@pytest.mark.engine
def test_the_real_engine_through_the_gateway(gateway: RunningGateway, engine_endpoint: EngineEndpoint) -> None:
    gateway.add_engine(engine_endpoint)
    model = engine_endpoint.model

    def taken_up() -> bool:
        with http(gateway, gateway.key) as client:
            return client.get(f"/v1/models/{model}").status_code == 200

    eventually(taken_up, within_s=5)
    messages = [{"role": "user", "content": "Name three colours."}]
    tokens = post(gateway, TOKENIZE, {"model": model, "messages": messages}).json()
    assert tokens["count"] == len(tokens["tokens"])
    completion = sdk(gateway).chat.completions.create(model=model, messages=messages, max_tokens=2)  # type: ignore[arg-type]
    assert completion.usage is not None
    assert completion.usage.prompt_tokens == tokens["count"]
    text = post(gateway, DETOKENIZE, {"model": model, "tokens": tokens["tokens"]}).json()["prompt"]
    assert "Name three colours." in text
    assert post(gateway, "/v1/rerank", {**RERANK, "model": model}).status_code == 400


SESSIONLESS = [
    ("/v1/embeddings", {"model": "fake/embed", "input": "x"}),
    ("/v1/rerank", {"model": "fake/rank", "query": "x", "documents": ["y"]}),
    ("/v1/score", {"model": "fake/rank", "text_1": "x", "text_2": "y"}),
    ("/tokenize", {"model": "fake/echo", "prompt": "x"}),
    ("/detokenize", {"model": "fake/echo", "tokens": [1]}),
    ("/v1/messages/count_tokens", {"model": "fake/echo", "messages": [{"role": "user", "content": "x"}]}),
    ("/model/fake%2Fecho/count-tokens", {"input": {"converse": {"messages": []}}}),
    ("/model/fake%2Fembed/invoke", {"inputText": "x"}),
]


@pytest.mark.parametrize(("path", "body"), SESSIONLESS, ids=[path for path, _ in SESSIONLESS])
def test_what_is_no_turn_refuses_the_session_header(gateway: RunningGateway, path: str, body: Any) -> None:
    before = count_records(gateway)
    with http(gateway, gateway.key, **{"x-bedplate-session": "auto"}) as client:
        answer = client.post(path, json=body)
    assert answer.status_code == 400
    assert "x-bedplate-session" in answer.text
    assert count_records(gateway) == before + 1
