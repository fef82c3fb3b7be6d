"""`gputally notify`: try the webhook before anybody relies on it."""

import sys
from typing import Annotated, Any

import typer

from gputally.collector.cli.database import fail
from gputally.collector.cli.files import now_us
from gputally.collector.notify.figures import Frame
from gputally.collector.notify.formats import written
from gputally.collector.notify.message import Event, Level, Message
from gputally.collector.notify.webhook import Webhook
from gputally.collector.settings import CollectorSettings, SettingsError, load
from gputally.collector.web import links

app = typer.Typer(
    help="The webhook that is told of idle spells and budgets.", no_args_is_help=True, rich_markup_mode=None
)
_FIELDS = CollectorSettings.model_fields


@app.callback()
def notify() -> None:
    """The webhook that is told of idle spells and budgets."""


def _option(name: str, metavar: str) -> Any:
    return typer.Option(help=_FIELDS[name].description, metavar=metavar)


@app.command("test")
def send_test(
    webhook_url_file: Annotated[str | None, _option("webhook_url_file", "FILE")] = None,
    webhook_format: Annotated[str | None, _option("webhook_format", "json|slack")] = None,
    public_url: Annotated[str | None, _option("public_url", "URL")] = None,
) -> None:
    """Send one message to the webhook, and print what it answers; status 1 where it does not take it.

    Needs no database and no collector. Settings are read from the environment too, so that in a collector's pod it
    needs no flag:

      gputally notify test

      gputally notify test --webhook-url-file slack-url --webhook-format slack

      kubectl exec deploy/gputally-collector -- gputally notify test
    """
    flags = {"webhook_url_file": webhook_url_file, "webhook_format": webhook_format, "public_url": public_url}
    try:
        settings = load(CollectorSettings, {name: value for name, value in flags.items() if value is not None})
    except SettingsError as error:
        fail(2, error.mistakes)
    if settings.webhook_url_file is None:
        fail(2, ["there is no webhook: give --webhook-url-file, or GPUTALLY_WEBHOOK_URL_FILE"])
    message = _message(Frame(settings.zone, settings.public_url))
    answer = Webhook(settings.webhook_url_file).send(written(message, settings.webhook_format))
    sys.stdout.write(f"{answer.said}\n")
    if answer.body:
        sys.stdout.write(f"{answer.body}\n")
    if answer.failure:
        fail(1, ["the message was not taken"])


def _message(frame: Frame) -> Message:
    return Message(
        Event.TEST,
        "test",
        Level.RESOLVED,
        now_us(),
        "GPU Tally can reach you here",
        ("This is a test. You will be told of GPUs that are held idle, and of budgets that do not last.",),
        frame.link(links.IDLE),
    )
