"""A page: a template and what it shows, the frame around it, and the headers that keep it to itself."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import Response
from jinja2 import Environment, PackageLoader, StrictUndefined

from gputally.collector.web import links

STATIC = Path(__file__).with_name("static")
STYLE = "gputally.css"
ICON = "favicon.svg"
HEADERS: Mapping[str, str] = {
    # Neither scripts nor anything from elsewhere, and nobody frames it.
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",  # money and names: not on a shared machine's disk
}


@dataclass(frozen=True, slots=True)
class Page:
    """`current` is the address of the part of the menu that it belongs to; `values` are the template's."""

    template: str
    title: str
    current: str
    values: Mapping[str, Any]
    status: int = 200


MENU = (
    ("Overview", links.OVERVIEW),
    ("Workloads", links.WORKLOADS),
    ("Queues", links.QUEUES),
    ("Idle now", links.IDLE),
    ("Advice", links.ADVICE),
    ("GPUs", links.GPUS),
    ("Statement", links.STATEMENT),
    ("About the numbers", links.ABOUT),
)


def answer(page: Page, headers: Mapping[str, str] | None = None) -> Response:
    """The page as it is sent."""
    frame = {"title": page.title, "current": page.current, "menu": MENU, "links": links, "version": version()}
    text = _environment().get_template(page.template).render(**frame, **page.values)
    return Response(text, page.status, {**HEADERS, **(headers or {})}, "text/html")


def static(name: str) -> bytes:
    """A file that pages refer to."""
    return (STATIC / name).read_bytes()


@cache
def version() -> str:
    """Of the files that pages refer to: with other content they have another address."""
    return hashlib.sha256(static(STYLE) + static(ICON)).hexdigest()[:12]


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("gputally.collector.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
