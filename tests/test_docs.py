"""What the pages say is what the code does: tables, command lines, links."""

from __future__ import annotations

import argparse
import ast
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import get_args

import pytest
from msgspec import structs

from mailforum import log
from mailforum.cli.main import parser
from mailforum.forum import commands, route
from mailforum.mail import jsonl

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
WRITTEN = [*PAGES, *sorted(file for file in (ROOT / "deploy").rglob("*") if file.is_file())]
TEMPLATES = sorted((ROOT / "templates").rglob("*.txt"))

names = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def tables(text: str) -> list[list[list[str]]]:
    """Return the tables of a page: rows of cells, without head and rule."""
    found = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    return [[[cell.strip() for cell in row.strip("|").split("|")] for row in one.splitlines()[2:]] for one in found]


def quoted(text: str) -> list[str]:
    """Return what stands in `backticks`."""
    return re.findall(r"`([^`]+)`", text)


def test_every_field_of_a_line_of_json_is_on_the_page_in_its_order() -> None:
    ((*rows,),) = tables(read("docs/json-lines.md"))
    assert [quoted(row[0])[0] for row in rows] == [field.encode_name for field in structs.fields(jsonl.Line)]
    types = {"string": {str, bytes, datetime}, "number": {int}}
    for row, field in zip(rows, structs.fields(jsonl.Line), strict=True):
        assert row[1].startswith("array") or types[row[1].split()[0]] & {field.type, *get_args(field.type)}, row


# -- addresses and commands


def test_every_word_of_a_list_address_is_on_the_page_and_the_other_way_round() -> None:
    (of_lists, _) = tables(read("docs/addresses.md"))
    spans = [span for row in of_lists for span in quoted(row[0])]
    words = {re.fullmatch(r"pmo(?:[-+]([a-z]+)(?:-digest)?(?:[+.].+)?)?@", span)[1] for span in spans}  # type: ignore[index]
    assert words == {None, "r", *route.ROLES}


def test_the_words_for_a_digest_are_on_the_page() -> None:
    (of_lists, _) = tables(read("docs/addresses.md"))
    spans = {span for row in of_lists for span in quoted(row[0])}
    joining = {word for word, role in route.ROLES.items() if role is route.RouteRole.JOIN}
    assert {f"pmo-{word}-digest@" for word in joining} == {span for span in spans if "digest" in span}


def test_the_addresses_of_the_site_are_on_the_page() -> None:
    (_, (commands_row, admin_row)) = tables(read("docs/addresses.md"))
    assert {span.rstrip("@") for span in quoted(commands_row[0])} == route.SITE_NAMES
    assert {span.rstrip("@") for span in quoted(admin_row[0])} == route.RESERVED - route.SITE_NAMES


def test_every_command_is_on_the_page_and_the_other_way_round() -> None:
    (verbs, _) = tables(read("docs/commands.md"))
    assert {span.split()[0] for row in verbs for span in quoted(row[0])} == set(commands.VERBS)


def test_every_setting_is_on_the_page_with_what_it_does() -> None:
    (_, settings) = tables(read("docs/commands.md"))
    written = {
        tuple(span.split()[1:]): mode
        for row, mode in zip(settings, ("digest", "each", "none", "myposts-on", "myposts-off"), strict=True)
        for span in quoted(row[0])
    }
    assert written == {words: str(mode) for words, mode in commands.SETTINGS.items()}


def test_the_words_that_end_commands_and_their_number_are_on_the_page() -> None:
    text = read("docs/commands.md")
    (ends,) = re.findall(r"up to one that is ([^.]*)\.", text)
    assert set(quoted(ends)) == commands.LAST_LINES
    assert f"{['', *'123456789', 'Ten'][commands.MAX_LINES]} commands at most" in text


# -- command lines


def command_lines(text: str) -> Iterator[list[str]]:
    """Yield the words of each `mailforum …` in a code block, as the shell would give them."""
    for block in re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in re.sub(r"\\\n", " ", block).splitlines():
            found = re.search(r"(?:^|runuser -u mailforum -- |docker exec mailforum |\$\()mailforum( [^)]*|$)", line)
            if found:
                yield shlex.split(re.split(r"\s[|>]|&&", found[1])[0], comments=True)


def spoken_of(text: str) -> Iterator[list[str]]:
    """Yield the words of each `mailforum …` within a sentence."""
    sentences = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    for span in quoted(sentences):
        if re.match(r"mailforum [a-z]", span) and "…" not in span:
            yield shlex.split(span)[1:]


@cache
def command_line() -> argparse.ArgumentParser:
    return parser()


def complaint(words: list[str]) -> str:
    """Say what is wrong with a command line; "" if nothing is."""
    try:
        command_line().parse_args(words)
    except SystemExit as stop:
        return "" if stop.code == 0 else f"mailforum {shlex.join(words)}"
    return ""


def is_group(words: list[str]) -> bool:
    """Say whether the words are just the name of a command or of a group of them."""
    at = command_line()
    for word in words:
        groups = [action for action in at._actions if isinstance(action, argparse._SubParsersAction)]
        if not groups or word not in groups[0].choices:
            return False
        at = groups[0].choices[word]
    return True


@names
def test_every_command_line_on_a_page_can_be_typed(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not list(filter(None, map(complaint, command_lines(page.read_text())))), capsys.readouterr().err


@names
def test_every_command_named_on_a_page_is_there(page: Path) -> None:
    assert not [words for words in spoken_of(page.read_text()) if not is_group(words) and complaint(words)]


def test_the_readers_above_do_find_command_lines() -> None:
    assert ["held", "approve", "7"] in list(command_lines(read("README.md")))
    assert ["queue", "ls"] in list(spoken_of(read("docs/standards.md")))
    assert complaint(["held", "aprove", "7"])


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_every_command_line_in_a_text_can_be_typed(template: Path) -> None:
    lines = re.findall(r"^ +mailforum (.*)$", template.read_text(), re.MULTILINE)
    typed = [re.sub(r"{{ held_id }}", "7", line) for line in lines]
    typed = [re.sub(r"{{.*?}}", "ada@example.org", line) for line in typed]
    assert not list(filter(None, (complaint(shlex.split(line)) for line in typed)))


# -- the log


def fields_in_code() -> dict[str, set[str]]:
    """Return the fields of each event that the code writes."""
    found: dict[str, set[str]] = {"sent": set(log.Delivered._fields)}
    for file in ROOT.glob("mailforum/**/*.py"):
        for call in ast.walk(ast.parse(file.read_text())):
            if isinstance(call, ast.Call) and ast.unparse(call.func) in ("event", "log.event"):
                assert isinstance(call.args[0], ast.Constant), ast.unparse(call)
                found.setdefault(call.args[0].value, set()).update(key.arg for key in call.keywords if key.arg)
    return found


def test_every_event_of_the_log_is_explained_with_its_fields_and_the_other_way_round() -> None:
    (explained,) = (table for table in tables(read("docs/observing.md")) if quoted(table[0][0]) == ["ready"])
    written = {quoted(row[0])[0]: set(quoted(row[1])) for row in explained}
    code = fields_in_code()
    code["ready"] = {"smtp", "lmtp", "web", "roles"}  # made of what it listens on
    assert written == code


def test_every_metric_is_explained_and_the_other_way_round() -> None:
    text = read("docs/observing.md")
    (rows,) = (table for table in tables(text) if table[0][0].startswith("`mailforum_"))
    code = set(re.findall(r'\b(?:by|one|Metric)\(\s*"(\w+)"', read("mailforum/health.py")))
    assert {name.removeprefix("mailforum_") for row in rows for name in quoted(row[0])} == code
    named = {re.sub("_bucket$", "", name) for name in re.findall(r"\bmailforum_(\w+)", text)}
    assert named <= code, "an alarm looks at a metric that is not there"


def test_every_event_that_an_alarm_looks_at_is_there() -> None:
    alarms = re.findall(r'event=~?"([^"]*)"', read("docs/observing.md"))
    assert alarms
    assert {name for alarm in alarms for name in alarm.split("|")} <= set(fields_in_code())


# -- links, places, packages


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@names
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name}: {target}"
        assert ROOT in file.parents, f"{page.name}: {target} leads out of the repository"
        assert not anchor or anchor in anchors(file), f"{page.name}: {target}"


def test_every_page_can_be_reached_from_the_readme() -> None:
    seen, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page not in seen:
            seen.add(page)
            links = re.findall(r"\]\(([^)#\s:]+\.md)", page.read_text(encoding="utf-8"))
            waiting += [(page.parent / link).resolve() for link in links]
    assert set(PAGES) <= seen


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    roots = (ROOT, ROOT / "mailforum", page.parent)
    for name in quoted(text):
        if re.fullmatch(r"(?:[\w-]+/)+[\w.-]+\.(?:py|sql|toml|service)", name):
            assert any((root / name).exists() for root in roots), f"{page.name}: {name}"


@pytest.mark.parametrize("file", WRITTEN, ids=lambda file: file.name)
def test_nothing_names_a_place_on_one_machine(file: Path) -> None:
    assert not re.search(r"(?<![\w.])/(?:home|root|work|tmp|Users|mnt)/", file.read_text(encoding="utf-8"))


def test_the_page_of_packages_is_the_list_in_the_project_and_their_doors_are_true() -> None:
    project = tomllib.loads(read("pyproject.toml"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["speed"], *extras["bounces"], *extras["postgres"]]
    ((*rows,),) = tables(read("docs/decisions/dependencies.md"))
    assert {quoted(row[0])[0] for row in rows} == {re.split(r"[><=~![]", one)[0] for one in wanted}
    modules = {"dkimpy": "dkim", "dnspython": "dns", "email-validator": "email_validator"}
    for package, door in ((quoted(row[0])[0], quoted(row[1])) for row in rows):
        module = modules.get(package, package)
        uses = re.compile(rf"^\s*(?:from|import) {module}\b", re.MULTILINE)
        inside = {
            str(file.relative_to(ROOT)) for file in ROOT.glob("mailforum/**/*.py") if uses.search(file.read_text())
        }
        assert inside <= KNOWN.get(package, set()) | set(door), f"{package} has other doors: {inside}"
        assert not door or uses.search(read(door[0])), f"{package} is not imported in {door}"


# Options and settings are declared where they are; a whole layer may use msgspec.
KNOWN = {
    "msgspec": {
        "mailforum/config.py",
        "mailforum/settings.py",
        "mailforum/cli/admin.py",
        "mailforum/forum/admin.py",
        "mailforum/forum/options.py",
        "mailforum/mail/jsonl.py",
        "mailforum/store/lists.py",
        "mailforum/store/move/rows.py",
    },
    "argcomplete": {"mailforum/cli/operate.py"},
    "psycopg": {str(file.relative_to(ROOT)) for file in ROOT.glob("mailforum/store/postgres/*.py")},
}


def test_the_readme_names_what_make_can_do() -> None:
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    named = set(re.findall(r"^make ([a-z-]+)", read("README.md") + read("CONTRIBUTING.md"), re.MULTILINE))
    assert {"run", "test"} <= named <= targets


def test_the_map_for_postfix_knows_every_address(tmp_path: Path) -> None:
    (tmp_path / "mailforum").write_text('#!/bin/sh\necho \'{"address": "pmo.x@lists.example.org", "posts": 1}\'\n')
    (tmp_path / "mailforum").chmod(0o755)
    environ = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    table = subprocess.run(
        ["sh", str(ROOT / "deploy/postfix/make-map")], capture_output=True, text=True, check=True, env=environ
    ).stdout
    match = re.match(r"/(.*)/ lmtp:", table)
    assert match
    known = re.compile(match[1], re.IGNORECASE)
    tails = [
        "",
        *(f"{mark}{word}" for mark in "-+" for word in route.ROLES),
        "-join-digest",
        "+leave+token",
        "+r.token",
    ]
    for tail in tails:
        assert known.search(f"pmo.x{tail}@lists.example.org"), tail
    for address in ("pmo.xx@lists.example.org", "pmo.x-fan@lists.example.org", "pmoax@lists.example.org"):
        assert not known.search(address), address
