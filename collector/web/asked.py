"""What a page was asked for, by whom; parameters that do not exist are refused, as the API refuses them."""

from collections import Counter
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.requests import Request

from gputally.collector.allocation.query import Scope
from gputally.collector.api.parameters import month_of
from gputally.collector.api.problems import QueryMistakes
from gputally.collector.api.service import Service, scope_of
from gputally.collector.auth.reader import Reader
from gputally.collector.settings import nearest
from gputally.collector.statement.month import Month, following, month_at
from gputally.collector.web import links, words

_FIRST_US = 32 * 24 * 3_600_000_000  # before February 1970 there are no months to go back to

# A name in a URL. PostgreSQL has no text with a NUL in it.
Name = Annotated[str, Field(max_length=253, pattern=r"^[^\x00]*$")]


class Parameters(BaseModel):
    """What a page can be asked."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)


_NAME: TypeAdapter[str] = TypeAdapter(Name)
Model = TypeVar("Model", bound=Parameters)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for a page: `now_us` is when, microseconds since the epoch."""

    request: Request
    service: Service
    reader: Reader
    now_us: int

    @property
    def zone(self) -> ZoneInfo:
        """The billing time zone."""
        return self.service.zone

    @property
    def frame(self) -> dict[str, Any]:
        """What every page says of itself: as of when, in which time zone, and who reads it."""
        return {"now": words.moment(self.now_us, self.zone), "zone": self.zone.key, "reader": self.reader}

    @property
    def scope(self) -> Scope:
        """What the reader may see."""
        return scope_of(self.reader)

    def parameters(self, model: type[Model]) -> Model:
        """The parameters in the URL; raises QueryMistakes."""
        given = self.request.query_params.multi_items()
        twice = [name for name, count in Counter(name for name, _ in given).items() if count > 1]
        if twice:
            raise QueryMistakes([(name, "is there more than once") for name in twice])
        try:
            return model.model_validate(dict(given))
        except ValidationError as error:
            raise QueryMistakes([_mistake(model, dict(problem)) for problem in error.errors()]) from error

    def named(self, name: str) -> str:
        """A name that stands in the path; raises QueryMistakes."""
        text = str(self.request.path_params[name])
        try:
            return _NAME.validate_python(text)
        except ValidationError as error:
            raise QueryMistakes([(name, str(problem["msg"])) for problem in error.errors()]) from error

    def month(self, name: str | None) -> Month:
        """The month that is asked for, this one where none is; raises QueryMistakes."""
        if name is None:
            return month_at(self.now_us, self.zone)
        return month_at(month_of(name, self.zone, self.now_us).start_us, self.zone)


@dataclass(frozen=True, slots=True)
class Months:
    """The month that a page shows, and the ways to those around it; `later` is None for the one that goes on now."""

    name: str
    text: str
    earlier: str | None
    later: str | None


def months(asked: Asked, month: Month, path: str, **kept: str | None) -> Months:
    """The months around one, with the other parameters kept."""
    earlier, later = None, None
    if month.start_us > _FIRST_US:
        earlier = links.link(path, month=month_at(month.start_us - 1, asked.zone).name, **kept)
    if month.end_us <= asked.now_us:
        after = following(month, asked.zone)
        later = links.link(path, month=after.name, **kept)
    return Months(month.name, words.month(month.name), earlier, later)


def _mistake(model: type[Parameters], problem: dict[str, object]) -> tuple[str, str]:
    location = problem["loc"]
    name = str(location[0]) if isinstance(location, tuple) and location else ""
    known = [field.alias or name for name, field in model.model_fields.items()]
    if problem["type"] == "extra_forbidden":
        there_are = f": there are {', '.join(known)}" if known else ""
        return name, f"there is no such parameter{nearest(name, known) or there_are}"
    return name, str(problem["msg"])
