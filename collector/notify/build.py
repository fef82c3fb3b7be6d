"""What tells people, as the settings have it."""

import secrets
from collections.abc import Callable, Mapping

from sqlalchemy import Engine

from gputally.collector.cluster.kube import open_pods
from gputally.collector.cluster.place import kube_place
from gputally.collector.notify.exempt import ExemptPods, nobody
from gputally.collector.notify.figures import Frame
from gputally.collector.notify.look import Exempt, Look
from gputally.collector.notify.notifier import Notifier
from gputally.collector.notify.webhook import Webhook
from gputally.collector.settings import CollectorSettings

_MINUTE_US = 60_000_000


def notifier_of(
    settings: CollectorSettings, engine: Engine, environ: Mapping[str, str], now_us: Callable[[], int]
) -> Notifier | None:
    """None where nobody is to be told; raises OSError where the Kubernetes API is asked for outside a pod."""
    if settings.webhook_url_file is None:
        return None
    frame = Frame(settings.zone, settings.public_url)
    after_us = settings.webhook_idle_after_minutes * _MINUTE_US
    look = Look(engine, frame, after_us, _exempt(settings, environ))
    webhook = Webhook(settings.webhook_url_file)
    # By chance, because a pod's name is another's on the next start, and a pid is 1 in every container.
    return Notifier(engine, look, webhook, settings.webhook_format, frame, secrets.token_hex(8), now_us)


def _exempt(settings: CollectorSettings, environ: Mapping[str, str]) -> Exempt:
    """Labels are known of the cluster that --cluster names, where its API is."""
    place = kube_place(settings, environ) if settings.cluster else None
    return nobody if place is None or settings.cluster is None else ExemptPods(settings.cluster, open_pods(place))
