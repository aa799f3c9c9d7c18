"""Every relative link and image in the documents has a target that exists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from readme_blocks import ROOT, documents

PAGES = [
    *documents(),
    *(ROOT / "CHANGELOG.md", ROOT / "examples" / "README.md"),
    *sorted((ROOT / ".github").glob("*.md")),
]

_FENCED = re.compile(r"^ *(`{3,}|~{3,}).*?^ *\1[`~]*\s*?$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"\]\(\s*<?([^)>\s]+)>?[^)]*\)|^ *\[[^\]]+\]:\s*(\S+)", re.MULTILINE)
_HEADING = re.compile(r"^#{1,6} +(.*?)(?: +#+)?$", re.MULTILINE)


def targets(markdown: str) -> list[str]:
    r"""Return the targets of links and images, except those in code.

    >>> targets("[a](b.md#c) ![p](d.png 'title') `[no](x)`\n\n[r]: e.md\n")
    ['b.md#c', 'd.png', 'e.md']
    """
    text = _CODE.sub("", _FENCED.sub("", markdown))
    return [inline or reference for inline, reference in _LINK.findall(text)]


def anchors(markdown: str) -> set[str]:
    r"""Return the anchors of a page's headings, derived as GitHub does.

    >>> sorted(anchors("# The `check` command: why?\n## A\n## A\n"))
    ['a', 'a-1', 'the-check-command-why']
    """
    found: dict[str, int] = {}
    for heading in _HEADING.findall(_FENCED.sub("", markdown)):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        found[anchor] = found.get(anchor, -1) + 1
    return {
        anchor if number == 0 else f"{anchor}-{number}"
        for anchor, last in found.items()
        for number in range(last + 1)
    }


def broken(markdown: str, page: Path) -> Iterator[str]:
    """Yield the relative targets of a page whose file or heading does not exist."""
    for target in targets(markdown):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = page.parent / name if name else page
        if not path.exists():
            yield target
        elif anchor:
            text = markdown if path == page else path.read_text(encoding="utf-8")
            if anchor not in anchors(text):
                yield target


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_target_exists(page: Path) -> None:
    """The files and headings that a page links to exist."""
    assert list(broken(page.read_text(encoding="utf-8"), page)) == []


@pytest.mark.parametrize("target", ["no.md", "#no", "README.md#no", "examples/no.png"])
def test_a_broken_link_is_found(target: str) -> None:
    """A missing file or heading is reported in a link, an image or a reference, not in code."""
    page = ROOT / "README.md"
    for markdown in (f"[a]({target})", f"![a]({target})", f"[a]: {target}\n"):
        assert list(broken(markdown, page)) == [target]
    assert list(broken(f"`[a]({target})`\n\n```text\n[a]({target})\n```\n", page)) == []
