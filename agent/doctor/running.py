"""What an agent that runs here says of itself: its /readyz names all that it lacks."""

import http.client
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gputally.agent.doctor.finding import Finding, fail, ok, warn
from gputally.agent.quantity import Address

NAME = "running-agent"
_TIMEOUT_S = 5.0
_MOST_BYTES = 1 << 16
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what the agent listens on, not us
_RELEASED = "the driver is released"


@dataclass(frozen=True, slots=True)
class Page:
    """What /readyz answered; `status` 0: nobody listens there. `server`: as the answer's header names it."""

    status: int = 0
    server: str = ""
    lines: tuple[str, ...] = ()

    @property
    def releases_driver(self) -> bool:
        """Whether the agent says that it let go of the driver."""
        return any(_RELEASED in line for line in self.lines)


def ask(listen: Address) -> Page:
    """Ask for /readyz on this machine; no agent listens on port 0, from which the system chooses another."""
    if not listen.port:
        return Page()
    connection = http.client.HTTPConnection(_ANYWHERE.get(listen.host, listen.host), listen.port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        lines = answer.read(_MOST_BYTES).decode(errors="replace").splitlines()
        return Page(answer.status, answer.headers.get("Server", ""), tuple(lines))
    except ConnectionError:
        return Page()
    except (OSError, http.client.HTTPException) as error:
        return Page(-1, str(error))
    finally:
        connection.close()


def check(page: Callable[[], Page], listen: Address) -> Iterator[Finding]:
    """Judge what answers on the agent's own address."""
    yield from judge(page(), listen)


def judge(page: Page, listen: Address) -> Iterator[Finding]:
    """Whether the agent there lacks something. Where none runs, all the other lines are of what one would find."""
    if page.status == 0:
        yield ok(NAME, f"none answers on {listen}: what stands here is what one would find")
    elif not page.server.startswith("gputally-agent"):
        yield warn(NAME, f"something else answers on {listen}", "give the agent another port: --http-listen")
    elif page.status == http.client.OK:
        yield ok(NAME, f"it answers on {listen}, and is ready")
    else:
        for line in page.lines:
            yield fail(NAME, f"not ready: {line}", "docs/operations.md explains the line")
