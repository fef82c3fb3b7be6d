"""A statement as one self-contained page that prints on A4: no script, no font, nothing from elsewhere."""

from functools import cache
from itertools import groupby
from operator import attrgetter

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from gputally.collector.exports.printed import facts, idle, kinds, losses, rows, summary, title, total
from gputally.collector.statement.view import View


def as_html(view: View, content_hash: str | None) -> str:
    """The page."""
    sections = [(name, list(of_name)) for name, of_name in groupby(rows(view), key=attrgetter("section"))]
    return _template().render(
        title=title(view),
        facts=facts(view, content_hash),
        sections=sections,
        summary=summary(view),
        total=total(view),
        idle=idle(view) if view.statement.waste is None else (),
        losses=losses(view),
        kinds=kinds(view),
        currency=view.statement.currency or "amount",
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("gputally.collector.exports", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("statement.html")
