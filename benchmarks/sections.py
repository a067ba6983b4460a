"""Sections of a Markdown document that commands write, each between two comments of its own."""

from __future__ import annotations

from pathlib import Path

__all__ = ["with_section", "write_section"]


def with_section(document: str, name: str, section: str) -> str:
    """Return the document with the section of this name replaced, or appended."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    block = f"{begin}\n{section.strip()}\n{end}"
    before, found, rest = document.partition(begin)
    if not found:
        return f"{document.rstrip()}\n\n{block}\n" if document.strip() else f"{block}\n"
    _, closed, after = rest.partition(end)
    if not closed:
        raise ValueError(f"the section {name} begins and does not end; remove its comment")
    return before + block + after


def write_section(path: Path, name: str, section: str) -> None:
    """Replace or append the section in a file; the rest of the file stays as it is."""
    document = path.read_text() if path.is_file() else ""
    text = with_section(document, name, section)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
