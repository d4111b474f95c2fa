"""Flowed text (RFC 3676): lines that end in a blank go on in the next one."""

from __future__ import annotations


def unflowed(text: str, *, delete_space: bool) -> str:
    """Return flowed text with each paragraph on one line; quoted lines keep one mark a level.

    With `delete_space` the blank that joins two lines is no part of the text.
    """
    lines: list[str] = []
    paragraph: list[str] = []
    depth_before = 0
    for line in text.split("\n"):
        depth = len(line) - len(line.lstrip(">"))
        content = line[depth:].removeprefix(" ")
        # The mark of a signature ends in a blank, and never flows.
        if paragraph and (depth != depth_before or content == "-- "):
            lines.append(_quoted("".join(paragraph), depth_before))
            paragraph = []
        depth_before = depth
        flows = content.endswith(" ") and content != "-- "
        paragraph.append(content[:-1] if flows and delete_space else content)
        if not flows:
            lines.append(_quoted("".join(paragraph), depth))
            paragraph = []
    if paragraph:
        lines.append(_quoted("".join(paragraph), depth_before))
    return "\n".join(lines)


def _quoted(content: str, depth: int) -> str:
    return f"{'>' * depth} {content}" if depth else content
