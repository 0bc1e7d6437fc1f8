"""HTML as a person wrote it, read as text.

A tokenizer of our own in one pass, because every tree builder that follows the HTML standard takes
quadratic time for `<div><div><div>…` (200 KB: 5 s in selectolax 1.0) and that is all an attacker
has to send. Nothing is rendered, fetched or executed; what is not text is left out.
"""

import re
from collections.abc import Callable
from html import unescape

MAX_HTML = 2_000_000  # characters; what is behind them is not read
MAX_SHOWN = 200_000  # the same, without styles and comments
_MAX_INDENT = 10
_MAX_URL = 500

# A comment, script or style that is not closed goes to the end, as in browsers.
_DROPPED = re.compile(
    r"<!--.*?(?:-->|\Z)|<(script|style|title|noscript)\b[^<>]*+>.*?(?:</\1\b[^<>]*+>|\Z)", re.IGNORECASE | re.DOTALL
)
# A tag; a tag with a stray quote in it; a declaration; text. Linear: of all the quotes that stand open at
# one place only two differ, so no place is passed more than three times.
_TOKEN = re.compile(
    r"""<(/?)([a-z][\w:-]*+)((?>(?:[^<>"']++|"[^"]*+"|'[^']*+')*))>|<(/?)([a-z][\w:-]*+)[^<>]*+>|<[!?][^<>]*+>|((?>(?:[^<]++|<(?!/?[a-z]|[!?]))+)|<)""",
    re.IGNORECASE | re.ASCII,
)
_ATTRIBUTE = re.compile(r"""\b(href|alt)\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s"'>]++))""", re.IGNORECASE | re.ASCII)
_LINK = re.compile(r"(?:https?|ftps?|mailto):", re.IGNORECASE)

_PARAGRAPHS = frozenset(["p", "h1", "h2", "h3", "h4", "h5", "h6", "dl", "table"])
_BREAKS = frozenset(
    ["div", "tr", "dt", "dd", "section", "article", "aside", "header", "footer", "main", "nav", "address"]
) | {"center", "form", "fieldset", "figure", "figcaption", "caption", "details", "summary", "body", "html"}
_CELLS = frozenset(("td", "th"))


def to_text(html: str) -> str:
    """Return `html` as lines of text: paragraphs apart, lists with their bullets, quotes behind "> ",
    links as "words <url>". Never raises; linear."""
    writer = _Writer()
    for match in _TOKEN.finditer(_DROPPED.sub(" ", html[:MAX_HTML])[:MAX_SHOWN]):
        slash, name, attributes, loose_slash, loose_name, text = match.groups()
        if text:
            writer.text(unescape(text))
        elif name or loose_name:
            writer.tag((name or loose_name).lower(), bool(slash or loose_slash), attributes or "")
    writer.end_line()
    return "\n".join(writer.lines).strip("\n")


class _Writer:
    """Lines of text in the making; `words` are those of the line that is not yet ended."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.words: list[str] = []
        self.quotes = 0
        self.gap: int | None = None  # the depth of quotes at which an empty line is due
        self.lists: list[int] = []  # for each open list the number of its last item, -1 without numbers
        self.bullet = ""
        self.pre = 0
        self.link = ""
        self.link_start = 0

    def text(self, text: str) -> None:
        """Take the text between two tags."""
        if not self.pre:
            self.words.append(text)
            return
        first, *others = text.split("\n")
        self.words.append(first)
        for line in others:
            self.new_line()
            self.words.append(line)

    def tag(self, name: str, closes: bool, attributes: str) -> None:
        """Take a tag; one that is not known says nothing about the text."""
        if name in _BREAKS:
            self.end_line()
        elif name in _PARAGRAPHS:
            self.end_paragraph()
        elif name in _CELLS:
            self.words.append(" ")
        elif name in _TAGS:
            _TAGS[name](self, closes, attributes)

    def end_line(self) -> None:
        """Write the words that are waiting, if there are any."""
        text = "".join(self.words)
        text = text.rstrip() if self.pre else " ".join(text.split())
        self.words.clear()
        self.link_start = 0
        if not text:
            return
        if self.gap is not None and self.lines and self.lines[-1].strip("> "):
            self.lines.append(_quoted("", min(self.gap, self.quotes)))
        indent = "  " * (min(len(self.lists), _MAX_INDENT) - (1 if self.bullet else 0)) if self.lists else ""
        self.lines.append(_quoted(indent + self.bullet + text, self.quotes))
        self.gap, self.bullet = None, ""

    def end_paragraph(self) -> None:
        """Write what is waiting and keep what comes apart from it."""
        self.end_line()
        self.gap = self.quotes if self.gap is None else min(self.gap, self.quotes)

    def new_line(self) -> None:
        """Write what is waiting, or an empty line."""
        before = len(self.lines)
        self.end_line()
        if len(self.lines) == before and self.gap is None:
            self.lines.append(_quoted("", self.quotes))

    def br(self, closes: bool, attributes: str) -> None:
        self.new_line()

    def hr(self, closes: bool, attributes: str) -> None:
        self.end_paragraph()

    def blockquote(self, closes: bool, attributes: str) -> None:
        self.end_paragraph()
        self.quotes = max(0, self.quotes + (-1 if closes else 1))
        self.end_paragraph()

    def preformatted(self, closes: bool, attributes: str) -> None:
        self.end_paragraph()
        self.pre = max(0, self.pre + (-1 if closes else 1))

    def numbered(self, closes: bool, attributes: str) -> None:
        self.list_of(closes, 0)

    def bulleted(self, closes: bool, attributes: str) -> None:
        self.list_of(closes, -1)

    def list_of(self, closes: bool, number: int) -> None:
        nested = len(self.lists) > 1 if closes else bool(self.lists)
        if nested:
            self.end_line()
        else:
            self.end_paragraph()
        if not closes:
            self.lists.append(number)
        elif self.lists:
            self.lists.pop()

    def item(self, closes: bool, attributes: str) -> None:
        self.end_line()
        if closes:
            return
        if self.lists and self.lists[-1] >= 0:
            self.lists[-1] += 1
            self.bullet = f"{self.lists[-1]}. "
        else:
            self.bullet = "- "

    def image(self, closes: bool, attributes: str) -> None:
        alt = _attribute(attributes, "alt")
        if alt and not closes:
            self.words.append(f"[{alt}]")

    def anchor(self, closes: bool, attributes: str) -> None:
        """Put the target behind the words of the link that ends here, unless they say the same."""
        shown = "".join(self.words[self.link_start :]).strip()
        if self.link and shown and shown.rstrip("/") not in _spellings(self.link):
            self.words.append(f" <{self.link}>")
        url = "" if closes else _attribute(attributes, "href")
        self.link = url if len(url) <= _MAX_URL and _LINK.match(url) else ""
        self.link_start = len(self.words)


_TAGS: dict[str, Callable[[_Writer, bool, str], None]] = {
    "br": _Writer.br,
    "hr": _Writer.hr,
    "blockquote": _Writer.blockquote,
    "pre": _Writer.preformatted,
    "ol": _Writer.numbered,
    "ul": _Writer.bulleted,
    "li": _Writer.item,
    "img": _Writer.image,
    "a": _Writer.anchor,
}


def _quoted(text: str, depth: int) -> str:
    return ("> " * min(depth, _MAX_INDENT) + text).rstrip()


def _attribute(attributes: str, name: str) -> str:
    """Return the value of an attribute on one line, "" if it is not there."""
    for match in _ATTRIBUTE.finditer(attributes):
        if match[1].lower() == name:
            return " ".join(unescape(match[2] or match[3] or match[4] or "").split())
    return ""


def _spellings(url: str) -> tuple[str, ...]:
    """Return what the words of a link may be that only repeat its target."""
    bare = url.rstrip("/")
    return bare, bare.partition("://")[2], bare.removeprefix("mailto:")
