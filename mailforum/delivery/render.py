"""The texts that mailforum sends, from templates: the one door to jinja2.

A text is a file `NAME.txt` - header lines, a blank line, the body - and perhaps `NAME.html` beside
it. It is looked for in the site's folder for the list and language, the site's folder for the
language, the package's for the language, and the package's English (docs/texts.md).

What members write is only ever a value, never compiled as a template. In header lines every value
is put on one line; in HTML every value is escaped.
"""

from __future__ import annotations

import logging
import re
import shlex
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from jinja2.sandbox import SandboxedEnvironment
from markupsafe import Markup, escape

from mailforum import log

WIDTH = 72

_LIST_NAME = re.compile(r"[a-z0-9_-][a-z0-9._-]*")
_LANGUAGE = re.compile(r"[a-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})?")
_HEADER = re.compile(r"([A-Za-z][A-Za-z0-9-]*):[ \t]*(.*)")
_BREAKS = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_LINK = re.compile(r"https?://[^\s<>\"]+")


@dataclass(frozen=True, slots=True)
class Rendered:
    """A text ready to be composed: header fields (name, value), plain text, perhaps HTML."""

    headers: tuple[tuple[str, str], ...]
    text: str
    html: str | None


class Texts:
    """Every text of the site. `folders` are the admin's own, the first first; they need not exist."""

    def __init__(self, folders: Sequence[Path], package: Path | None = None) -> None:
        self._own = tuple(folders)
        self._package = package or package_folder()
        self._engines: dict[tuple[Path, ...], _Engine] = {}

    def render(self, name: str, language: str, list_name: str, values: Mapping[str, object]) -> Rendered:
        """Fill in the text `name` (`notice/welcome`) for a list (`""`: the site).

        An override that fails is logged and the package's text is sent in its place: mail must not
        stop. Raises LookupError for a name that the package does not have.
        """
        own = self._overrides(language, list_name)
        package = self._packaged(language)
        if not any((folder / f"{name}{_main(name)}").is_file() for folder in package):
            raise LookupError(f"there is no text {name}")
        if own:
            try:
                return self._engine(own + package).render(name, values)
            except Exception as error:  # an admin's template may fail in any way
                log.event("text_broken", logging.ERROR, text=name, list=list_name, error=_explain(error))
        return self._engine(package).render(name, values)

    def page(self, name: str) -> str:
        """Return a page for the web (`leave`, `left`, `invalid`) as HTML. Raises LookupError as `render`."""
        return self.render(f"page/{name}", "en", "", {}).html or ""

    def check(self) -> list[str]:
        """Try every text of the admin's own folders; return a sentence for each that would not be sent."""
        from mailforum.delivery.samples import SAMPLES

        problems = []
        for path, list_name, language, name in self._found():
            main = path.with_suffix(_main(name))
            if not main.is_file():
                problems.append(f"{path}: is not used: there is no {main.name} beside it")
            elif name not in SAMPLES:
                problems.append(f"{path}: is not used: no text is called {name}")
            elif path == main:
                folders = self._overrides(language, list_name) + self._packaged(language)
                problems += self._engine(folders).problems(path, name, SAMPLES[name])
        return problems

    def _found(self) -> Iterator[tuple[Path, str, str, str]]:
        """Yield path, list name, language and text name of the admin's texts; base.html is none."""
        for folder in self._own:
            for path in sorted(folder.rglob("*/*/*.*")):
                *places, language, group, file = path.relative_to(folder).parts
                if path.suffix in (".txt", ".html") and len(places) <= 1 and not file.startswith("_"):
                    yield path, "".join(places), language, f"{group}/{path.stem}"

    def _overrides(self, language: str, list_name: str) -> tuple[Path, ...]:
        if not _LANGUAGE.fullmatch(language):
            return ()
        places = [folder / language for folder in self._own]
        if _LIST_NAME.fullmatch(list_name):
            places = [folder / list_name / language for folder in self._own] + places
        return tuple(place for place in places if place.is_dir())

    def _packaged(self, language: str) -> tuple[Path, ...]:
        english = self._package / "en"
        place = self._package / language
        if not _LANGUAGE.fullmatch(language) or place == english or not place.is_dir():
            return (english,)
        return (place, english)

    def _engine(self, folders: tuple[Path, ...]) -> _Engine:
        if folders not in self._engines:
            self._engines[folders] = _Engine.over(folders)
        return self._engines[folders]


def package_folder() -> Path:
    """Return the folder of the package's own texts: inside it (wheel) or beside it (checkout)."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "templates", package.parent / "templates"):
        if (folder / "en").is_dir():
            return folder
    raise FileNotFoundError(f"the texts of mailforum are neither in {package} nor beside it")


class _Loader(jinja2.FileSystemLoader):
    """`NAME.head` is what stands before the first blank line of `NAME.txt`; `NAME.body` is the rest."""

    def get_source(self, environment: jinja2.Environment, template: str) -> tuple[str, str, Callable[[], bool]]:
        stem, _, part = template.rpartition(".")
        if part not in ("head", "body"):
            return super().get_source(environment, template)
        source, path, fresh = super().get_source(environment, f"{stem}.txt")
        head, _, body = source.replace("\r\n", "\n").partition("\n\n")
        above = "\n" * (head.count("\n") + 2)  # so that errors name the right line
        return (head if part == "head" else above + body), path, fresh


@dataclass(frozen=True, slots=True)
class _Engine:
    """Compiled templates over one order of folders; `heads` puts every value on one line."""

    bodies: jinja2.Environment
    heads: jinja2.Environment

    @classmethod
    def over(cls, folders: tuple[Path, ...]) -> _Engine:
        bodies = SandboxedEnvironment(
            loader=_Loader([str(folder) for folder in folders]),
            undefined=jinja2.StrictUndefined,
            autoescape=jinja2.select_autoescape(("html",), default=False),
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        bodies.filters.update(fold=fold, lines=_lines, prefixed=prefixed, unquoted=unquoted, linked=linked, shell=shell)
        return cls(bodies, bodies.overlay(finalize=one_line))

    def render(self, name: str, values: Mapping[str, object]) -> Rendered:
        if name.startswith("page/"):  # for the web: nothing but HTML
            return Rendered((), "", self.bodies.get_template(f"{name}.html").render(values))
        if name.startswith("post/"):  # put under a post: a body only
            return Rendered((), self.bodies.get_template(f"{name}.txt").render(values), None)
        headers = _headers(self.heads.get_template(f"{name}.head").render(values))
        body = self.bodies.get_template(f"{name}.body")
        text = body.render(values).strip("\n") + "\n"
        if not name.startswith("digest/"):
            text = fill(text)
        return Rendered(headers, text, self._html(name, body, values))

    def _html(self, name: str, body: jinja2.Template, values: Mapping[str, object]) -> str | None:
        """Fill in the HTML that stands beside the plain text in use; another's would say other things."""
        path = Path(body.filename or "").with_suffix(".html")
        if not path.is_file():
            return None
        return self.bodies.get_template(f"{name}.html").render(values)

    def problems(self, path: Path, name: str, values: Mapping[str, object]) -> list[str]:
        try:
            self.render(name, values)
        except Exception as error:
            return [f"{path}: the package's text is sent in its place: {_explain(error)}"]
        return []


def _main(name: str) -> str:
    """The ending of the file that makes a text."""
    return ".html" if name.startswith("page/") else ".txt"


def _headers(text: str) -> tuple[tuple[str, str], ...]:
    headers = []
    for line in filter(str.strip, text.split("\n")):
        match = _HEADER.fullmatch(line)
        if match is None:
            raise ValueError(f"`{line}` is no header line; a blank line ends the header lines")
        headers.append((match[1], match[2].strip()))
    if not any(name.lower() == "subject" for name, _ in headers):
        raise ValueError("the header lines have no Subject:")
    return tuple(headers)


def _explain(error: Exception) -> str:
    """Say in one line what is wrong with a template, and where jinja2 knows the line, which."""
    line = getattr(error, "lineno", None) or _line_of(error)
    return one_line(f"line {line}: {error}" if line else f"{type(error).__name__}: {error}")


def _line_of(error: Exception) -> int:
    """Find the template's line in a traceback (jinja2 puts its own frames there)."""
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename.endswith((".txt", ".html")):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def one_line(value: Any) -> str:
    """Put a value on one line: no line breaks, no control characters."""
    return _BREAKS.sub(" ", str(value))


def fill(text: str) -> str:
    """Fill paragraphs to 72 columns. A line that begins with a blank stays as it is, and ends one."""
    out: list[str] = []
    paragraph: list[str] = []
    for line in [*text.split("\n"), ""]:
        if line.strip() and not line[0].isspace():
            paragraph.append(line)
            continue
        if paragraph:
            out += fold(" ".join(paragraph)).split("\n")
            paragraph = []
        out.append(line)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(out)).strip("\n") + "\n"


def fold(text: str, prefix: str = "") -> str:
    """Break a long line at blanks, to 72 columns; `prefix`, or the line's own `> `, goes before each line."""
    if len(text) + len(prefix) <= WIDTH:
        return prefix + text
    rest = text.lstrip("> ")
    if text.startswith(">") and len(text) - len(rest) < WIDTH // 2:
        prefix, text = prefix + text[: len(text) - len(rest)], rest
    lines = textwrap.wrap(text, WIDTH - len(prefix), break_long_words=False, break_on_hyphens=False)
    return "\n".join(prefix + line for line in lines)


def prefixed(text: str, prefix: str) -> str:
    """Put `prefix` before each line of what somebody wrote, so that it is seen to be a quotation."""
    return "\n".join(fold(line, prefix).rstrip() for line in _lines(text))


def _lines(text: str) -> list[str]:
    return text.replace("\r\n", "\n").replace("\r", "\n").strip("\n").split("\n")


def shell(value: str) -> str:
    """Quote a value for the command lines that owners copy; an address may hold `$(...)`."""
    return shlex.quote(one_line(value))


def unquoted(line: str) -> str:
    """Take one level of `> ` off a quoted line."""
    mark, found, rest = line.partition(">")
    return rest.removeprefix(" ") if found and not mark.strip() else line


def linked(line: str) -> Markup:
    """Escape a line for HTML and make its web addresses links that show where they lead."""
    parts, end = [], 0
    for match in _LINK.finditer(line):
        url = match[0].rstrip(".,;:!?)]}'")
        parts += [escape(line[end : match.start()]), _anchor(url)]
        end = match.start() + len(url)
    return Markup("").join([*parts, escape(line[end:])])


def _anchor(url: str) -> Markup:
    return Markup('<a href="{0}">{0}</a>').format(url)
