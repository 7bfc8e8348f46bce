"""What the pages name exists: commands, options, settings, files, links."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
import yaml

from bedplate_gateway.catalogue.apply import read_resources
from bedplate_gateway.cli.main import bedplate
from bedplate_gateway.settings import Settings, environment_of, settings_from_environment
from tests.docs.pages import ROOT, code, pages, prose

PAGES = pages()
ELSEWHERE = frozenset({"BEDPLATE_COMPLETE"})


def names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_every_command_and_option_that_a_page_names_exists(page: Path) -> None:
    for line in code(page):
        for said in re.findall(r"(?:^|[\s/$(\"])bedplate ([^|)\"#]*)", line):
            problem = wrong_with(said)
            assert problem is None, f"bedplate {said}: {problem}"


def wrong_with(arguments: str) -> str | None:
    """What is wrong with the arguments of a `bedplate` command line; None when nothing is."""
    command: click.Command = bedplate
    options: set[str] = set()
    words = shlex.split(arguments.replace("...", ""), comments=True)
    if not words or words[0] in {"COMMAND", "helm/bedplate"}:
        return None
    for word in words:
        if word.startswith("-"):
            options.add(word.partition("=")[0])
        elif isinstance(command, click.Group):
            if word not in command.commands:
                return f"there is no command {word}"
            command = command.commands[word]
    known = {name for option in command.params for name in option.opts} | {"--help", "-h"}
    return f"there is no option {sorted(options - known)}" if options - known else None


def test_a_wrong_command_would_be_noticed() -> None:
    assert wrong_with("apply -f x.yaml") is None
    assert wrong_with("keys list") is None
    assert wrong_with("keys remove x") is not None
    assert wrong_with("up --nothing") is not None


def variables() -> dict[str, object]:
    """Every variable that sets a setting, with its default."""
    whole = Settings(
        home=Path("h"),
        cache=Path("c"),
        database_url="u",
        postgres_bin=Path("b"),
        master_key_file=Path("k"),
        secrets_dir=Path("s"),
        spool_dir=Path("p"),
        tls_certificate=Path("t"),
        tls_key=Path("t"),
        tls_ca=Path("t"),
        session_key_material="m",
        key_database_url="u",
        vault_token="t",
        vault_ca_file=Path("t"),
        kms_region="r",
        guardrail_models=Path("g"),
        guardrail_validators=Path("g"),
    )
    return dict(environment_of(whole))


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_every_setting_that_a_page_names_exists(page: Path) -> None:
    named = set(re.findall(r"\bBEDPLATE_[A-Z_]*[A-Z]", page.read_text()))
    assert named <= set(variables()) | ELSEWHERE


def test_the_readme_lists_every_setting_with_its_default() -> None:
    table = dict(re.findall(r"^\| `(BEDPLATE_\w+)` \| ([^|]+) \|", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert set(table) == set(variables())
    default = environment_of(settings_from_environment({"HOME": "/home"}))
    for name, value in default.items():
        if not value.startswith("/"):
            assert table[name].strip("`") == value.removesuffix(".0"), name


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), target


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_every_path_that_a_page_names_exists(page: Path) -> None:
    folders = "core|store|providers|sessions|guardrails|gateway|migrations|tests|bench|docs|examples|helm|console"
    for path in re.findall(rf"`((?:{folders})/[\w./-]+)`", page.read_text()):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_every_make_target_that_a_page_names_exists(page: Path) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in code(page):
        if found := re.match(r"make ([\w-]+)", line):
            assert found[1] in targets, line


@pytest.mark.parametrize("file", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda file: file.name)
def test_every_example_file_decodes_and_says_how_to_apply_it(file: Path) -> None:
    assert len(read_resources([file])) == len(list(yaml.safe_load_all(file.read_text())))
    assert f"bedplate apply -f examples/{file.name}" in file.read_text()


def test_the_decisions_are_numbered_listed_and_in_one_form() -> None:
    folder = ROOT / "docs" / "decisions"
    records = sorted(file for file in folder.glob("[0-9]*.md") if not file.name.startswith("0000"))
    index = (folder / "README.md").read_text()
    for record in records:
        text = record.read_text()
        assert f"({record.name})" in index, record.name
        assert text.startswith(f"# {record.name[:4]} "), record.name
        wanted = ["Context", "Decision", "Consequences", "Alternatives", "References"]
        assert re.findall(r"^## (.+)$", text, re.MULTILINE) == wanted, record.name
        assert len(text.splitlines()) <= 70, f"{record.name} is more than a page"
    numbers = [int(record.name[:4]) for record in records]
    assert len(numbers) == len(set(numbers))
