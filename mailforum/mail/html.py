"""HTML as a person wrote it, read as text.

A tokenizer of our own in one pass, because every tree builder that follows the HTML standard takes
quadratic time for `<div><div><div>…` (200 KB: 5 s in selectolax 1.0) and that is all an attacker
has to send. Nothing is rendered, fetched or executed; what is not text is left out.
"""

import re
from html import unescape

MAX_HTML = 500_000  # characters; what is behind them is not read
_MAX_INDENT = 10
_MAX_URL = 500

# A comment, script or style that is not closed goes to the end, as in browsers.
_DROPPED = re.compile(
    r"<!--.*?(?:-->|\Z)|<(script|style|title|noscript)\b[^<>]*+>.*?(?:</\1\b[^<>]*+>|\Z)", re.IGNORECASE | re.DOTALL
)
# A tag; a tag with a stray quote in it; a declaration; text. Linear: of all the quotes that stand open at
# one place only two differ, so no place is passed more than three times.
_TOKEN = re.compile(
    r"""<(/?)([a-z][\w:-]*+)((?:[^<>"']++|"[^"]*+"|'[^']*+')*+)>|<(/?)([a-z][\w:-]*+)[^<>]*+>|<[!?][^<>]*+>|([^<]++|<)""",
    re.IGNORECASE | re.ASCII,
)
_ATTRIBUTE = re.compile(r"""\b(href|alt)\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s"'>]++))""", re.IGNORECASE | re.ASCII)
_LINK = re.compile(r"(?:https?|ftps?|mailto):", re.IGNORECASE)
_BLANK_LINES = re.compile(r"(\n>*(?:> ?)*+)\n{2,}")

_PARAGRAPHS = frozenset("p h1 h2 h3 h4 h5 h6 ul ol dl table pre blockquote".split())
_BREAKS = frozenset(
    "div tr li dt dd hr section article aside header footer main nav address center form fieldset figure "
    "figcaption caption details summary body html title".split()
)


class _Writer:
    """Lines of text in the making."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.words: list[str] = []
        self.bullet = ""
        self.lists: list[int | None] = []  # the number of the last item, None without numbers
        self.quotes = 0
        self.pre = 0
        self.gap = False
        self.link = ""
        self.link_start = 0

    def prefix(self) -> str:
        return "> " * min(self.quotes, _MAX_INDENT)
