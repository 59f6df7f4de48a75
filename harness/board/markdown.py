"""An organiser's Markdown, made HTML that holds nothing but text, its form and links to the web.

The parser is never given HTML to pass on, loads no image, and knows a link by `ADDRESS` alone: what else is written is
shown as it is written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.token import Token

from harness.errors import HarnessError

ADDRESS = re.compile(r"https?://[A-Za-z0-9_.-]+(:[0-9]{1,5})?([/?#][A-Za-z0-9._~!$&'()*+,;=:@%/?#\[\]-]*)?")
"""Whole addresses of the web: no other scheme, none that goes on from this page's, and nobody before an @."""
LONGEST_ADDRESS = 2000
DEEPEST = 6
"""HTML's last level of headings."""
OUTSIDE = "noopener noreferrer nofollow external"


def _is_address(url: str) -> bool:
    return len(url) <= LONGEST_ADDRESS and ADDRESS.fullmatch(url) is not None


def _parser(validate: Any = _is_address, **options: Any) -> MarkdownIt:
    made = MarkdownIt("commonmark", {"html": False, "maxNesting": 20} | options).enable(["table", "strikethrough"])
    made.validateLink = validate  # type: ignore[method-assign]
    return made


def _code(tokens: Sequence[Token], at: int, options: Any, env: Any) -> str:
    """Write a fenced block without what stands behind its fence, which would become a class of the page's."""
    return f"<pre><code>{escapeHtml(tokens[at].content)}</code></pre>\n"


PARSER = _parser().disable("image")
PARSER.renderer.rules["fence"] = _code  # type: ignore[attr-defined]
ALL = _parser(lambda url: True, html=True)
"""Reads what `PARSER` leaves as text, to tell of it."""


def address(url: str, where: str) -> str:
    """Return a whole address of the web as browsers write it; other scripts become ASCII.

    Raises:
        HarnessError: it is none; `where` names it.
    """
    found = PARSER.normalizeLink(url)
    if not _is_address(found):
        what = f"{where}={ascii(url[:80])}: allowed: an address that begins with http:// or https://"
        raise HarnessError(f"{what}, at most {LONGEST_ADDRESS} characters", "give e.g. https://example.org/data.zip")
    return found


@lru_cache(maxsize=256)
def html(text: str, below: int = 1) -> str:
    """Return Markdown as HTML. below: the level of the heading that it stands under, 1 to 6; its own begin deeper."""
    tokens = PARSER.parse(text)
    dead = False  # an empty address gets past the parser, and would lead to this very page
    for token in _all(tokens):
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(DEEPEST, int(token.tag[1]) + below)}"
        if token.type == "link_open":
            token.attrSet("rel", OUTSIDE)
            dead = not _is_address(str(token.attrs["href"]))
        if dead and token.type in ("link_open", "link_close"):
            token.type, token.nesting, token.content = "text", 0, ""
        if "style" in token.attrs:  # of a table's cells; the page's policy allows no styles but the sheet's
            token.attrSet("class", str(token.attrs.pop("style")).replace("text-align:", ""))
    return PARSER.renderer.render(tokens, PARSER.options, {})


def plain(text: str) -> str:
    """Return Markdown's words alone, in one line."""
    words = (token.content if token.type in ("text", "code_inline") else " " for token in _all(PARSER.parse(text))
             if token.type != "inline" and not token.type.startswith(("em_", "strong_", "s_", "link_")))  # fmt: skip
    return " ".join("".join(words).split())


def kept_as_text(text: str) -> list[str]:
    """Tell what of Markdown isn't made what it is elsewhere, with its line: HTML, images, other links."""
    return [f"line {line}: {what}" for line, token in _lines(ALL.parse(text)) if (what := _refused(token))]


def _refused(token: Token) -> str:
    if token.type in ("html_block", "html_inline"):
        return f"HTML, {token.content.strip()[:40]!r}"
    if token.type == "image":
        return "an image, of which a link would be made"
    if token.type == "link_open" and not _is_address(found := str(token.attrs["href"])):
        return f"a link to {found[:40]!r}, which isn't whole: allowed: http://... or https://..."
    return ""


def _all(tokens: Sequence[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from token.children or ()


def _lines(tokens: Sequence[Token]) -> Iterator[tuple[int, Token]]:
    """Give each token with the line that it is in."""
    line = 1
    for token in tokens:
        line = token.map[0] + 1 if token.map else line
        yield line, token
        for child in token.children or ():
            line += child.type in ("softbreak", "hardbreak")
            yield line, child
