"""`bedplate chat`: a conversation in the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click
import httpx
import msgspec

from bedplate_core.errors import GatewayError
from bedplate_core.jsonvalue import JSON
from bedplate_gateway.cli.environment import stored_key
from bedplate_gateway.cli.options import home_option, port_option
from bedplate_gateway.cli.tls import client_context, tls_option, with_local_tls
from bedplate_gateway.settings import settings_from_environment
from bedplate_gateway.web.incoming import SESSION_HEADER
from bedplate_providers.sse import SseParser

_TIMEOUT = httpx.Timeout(10, read=300)


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []
    error: dict[str, object] | None = None


class _Problem(msgspec.Struct):
    error: dict[str, object]


@click.command()
@home_option
@port_option
@tls_option
@click.option("--url", help="Another gateway's address, such as https://models.example.com.")
@click.option(
    "--api-key", envvar="OPENAI_API_KEY", help="The key (OPENAI_API_KEY; default: the one `bedplate up` left)."
)
@click.option("--model", help="Model name (default: the first that the gateway lists).")
@click.option("--session", default="auto", show_default=True, help="A session to go on with, or auto for a new one.")
@click.option("--system", help="A system message to begin with.")
@click.option("--max-tokens", type=click.IntRange(min=1), default=512, show_default=True)
def chat(
    home: Path | None,
    port: int | None,
    tls: bool,
    url: str | None,
    api_key: str | None,
    model: str | None,
    session: str,
    system: str | None,
    max_tokens: int,
) -> None:
    """Chat with a model. The conversation is a session: leave with Ctrl-D and go on later with --session."""
    settings = settings_from_environment(home=home, port=port)
    if tls:
        settings = with_local_tls(settings)
    headers = {"authorization": f"Bearer {api_key or stored_key(settings)}"}
    with httpx.Client(
        base_url=url or settings.base_url,
        headers=headers,
        timeout=_TIMEOUT,
        trust_env=False,
        verify=client_context(settings),
    ) as client:
        try:
            name = model or _first_model(client)
            click.secho(f"{name}; Ctrl-D leaves", dim=True, err=True)
            while (text := _read_line()) is not None:
                messages: list[JSON] = [{"role": "user", "content": text}]
                if system is not None:
                    messages.insert(0, {"role": "system", "content": system})
                    system = None
                session = _turn(client, name, session, messages, max_tokens)
        except httpx.HTTPError as error:
            raise click.ClickException(f"the gateway at {client.base_url} does not answer: {error}") from None
    if session != "auto":
        click.secho(f"go on with: bedplate chat --session {session}", dim=True, err=True)


def _read_line() -> str | None:
    while True:
        try:
            text = input("> " if sys.stdin.isatty() else "").strip()
        except EOFError:
            click.echo(err=True)
            return None
        if text:
            return text


def _first_model(client: httpx.Client) -> str:
    response = client.get("/v1/models")
    _raise_for(response)
    models = response.json()["data"]
    if not models:
        raise click.ClickException("the gateway has no model yet; declare one with `bedplate apply`")
    return str(models[0]["id"])


def _turn(client: httpx.Client, model: str, session: str, messages: list[JSON], max_tokens: int) -> str:
    """Send one turn, print the answer as it comes, and return the session's id."""
    body = {"model": model, "messages": messages, "stream": True, "max_tokens": max_tokens}
    with client.stream("POST", "/v1/chat/completions", json=body, headers={SESSION_HEADER: session}) as response:
        if response.status_code != 200:
            response.read()
            _raise_for(response)
        for chunk in _chunks(response):
            if chunk.error is not None:
                raise click.ClickException(str(chunk.error.get("message")))
            for choice in chunk.choices:
                click.echo(choice.delta.content or "", nl=False)
                if choice.finish_reason not in (None, "stop"):
                    click.secho(f"\n[{choice.finish_reason}]", dim=True, nl=False, err=True)
        click.echo()
        return response.headers.get(SESSION_HEADER, session)


def _chunks(response: httpx.Response) -> Iterator[_Chunk]:
    parser = SseParser()
    for data in response.iter_bytes():
        for payload in parser.feed(data):
            if payload != b"[DONE]":
                yield msgspec.json.decode(payload, type=_Chunk)


def _raise_for(response: httpx.Response) -> None:
    if response.status_code == 200:
        return
    try:
        message = str(msgspec.json.decode(response.content, type=_Problem).error.get("message"))
    except msgspec.DecodeError:
        message = f"status {response.status_code}"
    raise GatewayError(message)


__all__ = ["chat"]
