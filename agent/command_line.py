"""The settings from the command line, then the environment (`GPUTALLY_…`), then the defaults.

An empty variable counts as not set. All mistakes are found before any is reported. The prefix is shared with the
collector, and Kubernetes adds variables of its own to it for a service named `gputally…`, so an unknown variable is a
mistake only where it is nearly one of ours; an unknown flag always is.
"""

import argparse
import dataclasses
import difflib
import os
import re
import socket
import sys
import textwrap
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from gputally.agent.quantity import Address
from gputally.agent.settings import ENV_PREFIX, KUBELET_SOCKET, Nvml, Settings, described, yes_or_no

SETTINGS = described()
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")  # where the kubelet puts a pod's own token
_FLAG = {setting.field: setting.flag for setting in SETTINGS}
_NEARLY = 0.8  # difflib's ratio from which an unknown variable is taken for a misspelt one of ours
# What Kubernetes adds for a service named gputally…: GPUTALLY_COLLECTOR_PORT=tcp://10.0.0.1:9856 and its kin.
_SERVICE_LINK = re.compile(r".*_(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_.*)?)?)")
_NO_VALUE = "\0"  # a flag that stands without its value

_ABOUT = "Counts where every GPU-second of this node went, and sends it to the collector."
_EXAMPLES = """\
examples:
  gputally-agent --once
      this node's GPUs, who holds them and what runs on them, once
  gputally-agent --once --watch
      the same again every two seconds, until Ctrl-C
  gputally-agent doctor --node gpu-7 --cluster prod
      what usage would lack on this node, and what to change; exit 0 where nothing is lacking
  gputally-agent --node gpu-7 --cluster prod --collector gputally-collector:9856 \\
                 --collector-ca-file ca.crt --collector-token-file token
      count, and send what is counted to the collector of the cluster
  gputally-agent --node laptop --cluster test --nvml simulated --scenario day.json --collector localhost:9856
      the same with simulated GPUs
"""


@dataclass(frozen=True, slots=True)
class Machine:
    """What the defaults depend on."""

    environ: Mapping[str, str]
    is_root: bool
    hostname: str
    home: Path

    @staticmethod
    def this() -> "Machine":
        """The machine and the user that this process runs as."""
        return Machine(os.environ, os.geteuid() == 0, socket.gethostname(), Path.home())


class SettingsError(ValueError):
    """Settings that cannot be used; `mistakes` names all of them, one sentence each."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__("; ".join(mistakes))
        self.mistakes = tuple(mistakes)


class HelpAsked(Exception):
    """--help stands among the flags."""


def load(arguments: Sequence[str], machine: Machine) -> Settings:
    """The settings; raises SettingsError with every mistake, or HelpAsked."""
    texts, origins, mistakes = _given(arguments, machine.environ)
    for name, text in _defaults(texts, machine).items():
        texts.setdefault(name, text)
    values: dict[str, Any] = dict.fromkeys(_FLAG)  # None stays where a text cannot be read
    for field in dataclasses.fields(Settings):
        text = texts.get(field.name, "")
        try:
            values[field.name] = field.metadata["read"](text) if text else None
        except ValueError as error:
            mistakes.append(f"{origins.get(field.name, _FLAG[field.name])}: {error}")
    mistakes += _resolve_in_cluster(values, machine.environ)
    mistakes += _contradictions(values, origins)
    if mistakes:
        raise SettingsError(mistakes)
    return Settings(**values)


def load_or_exit(arguments: Sequence[str], machine: Machine) -> Settings:
    """As `load`; mistakes go to stderr with exit 2, help to stdout with exit 0."""
    try:
        return load(arguments, machine)
    except HelpAsked:
        sys.stdout.write(help_text())
        sys.exit(0)
    except SettingsError as error:
        sys.stderr.writelines(f"gputally-agent: {mistake}\n" for mistake in error.mistakes)
        sys.stderr.write("gputally-agent --help lists every setting\n")
        sys.exit(2)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise SettingsError([message])


def _given(arguments: Sequence[str], environ: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str], list[str]]:
    """What was set: texts and where each came from, by field; and what could not be understood."""
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("-h", "--help", action="store_true")
    for setting in SETTINGS:
        parser.add_argument(setting.flag, dest=setting.field, nargs="?", const=setting.alone or _NO_VALUE)
    found, rest = parser.parse_known_args(list(arguments))
    if found.help:
        raise HelpAsked
    texts, origins = {}, {}
    mistakes = [*_unknown_flags(rest), *_unknown_variables(environ)]
    for setting in SETTINGS:
        flag_text, variable_text = getattr(found, setting.field), environ.get(setting.variable)
        if flag_text in (_NO_VALUE, ""):
            mistakes.append(f"{setting.flag} needs a value: {setting.metavar}")
        elif flag_text is not None:
            texts[setting.field], origins[setting.field] = flag_text, setting.flag
        elif variable_text:
            texts[setting.field], origins[setting.field] = variable_text, setting.variable
    return texts, origins, mistakes


def _unknown_flags(rest: Iterable[str]) -> Iterator[str]:
    flags = [setting.flag for setting in SETTINGS]
    after_unknown = False
    for argument in rest:
        if argument.startswith("-"):
            name = argument.split("=", 1)[0]
            yield f"{name} is not a setting{_nearest(name, flags, 0.0)}"
        elif not after_unknown:
            yield f"unexpected argument {argument!r}"
        after_unknown = argument.startswith("-") and "=" not in argument


def _unknown_variables(environ: Mapping[str, str]) -> Iterator[str]:
    ours = [setting.variable.removeprefix(ENV_PREFIX) for setting in SETTINGS]
    for name in sorted(environ):
        own = name.removeprefix(ENV_PREFIX)  # the prefix alone would make any two names alike
        if own == name or own in ours or _SERVICE_LINK.fullmatch(name):
            continue
        near = difflib.get_close_matches(own, ours, 1, _NEARLY)
        if near:
            yield f"{name} is not a setting; did you mean {ENV_PREFIX}{near[0]}?"


def _nearest(name: str, known: Sequence[str], cutoff: float) -> str:
    near = difflib.get_close_matches(name, known, 1, cutoff)
    return f"; did you mean {near[0]}?" if near else ""


def _defaults(given: Mapping[str, str], machine: Machine) -> dict[str, str]:
    """The defaults as text; those that depend on the machine or on what was given are worked out here."""
    simulated = given.get("nvml") == Nvml.SIMULATED
    texts = {field.name: field.metadata["default"] for field in dataclasses.fields(Settings)}
    texts["spool_dir"] = str(_spool_dir(machine))
    texts["pod_resources_socket"] = "scenario" if simulated else str(KUBELET_SOCKET)
    if given.get("slurm_jobs"):
        texts["pod_resources_socket"] = "off"
    in_cluster = "KUBERNETES_SERVICE_HOST" in machine.environ and not simulated
    texts["kube_api"] = "in-cluster" if in_cluster else "off"
    if given.get("watch_us"):
        texts["once"] = "yes"
    if _is_yes(given.get("once", texts["once"])):
        # One look is sent nowhere, so nobody needs to tell this node from others.
        texts |= {"node": machine.hostname, "cluster": "-"}
    return texts


def _is_yes(text: str) -> bool:
    try:
        return yes_or_no(text)
    except ValueError:
        return False


def _spool_dir(machine: Machine) -> Path:
    if machine.is_root:
        return Path("/var/lib/gputally")
    state = machine.environ.get("XDG_STATE_HOME", "")
    # The XDG specification: a relative path there is invalid and counts as not set.
    base = Path(state) if state.startswith("/") else machine.home / ".local" / "state"
    return base / "gputally" / "agent"


def _resolve_in_cluster(values: dict[str, Any], environ: Mapping[str, str]) -> Iterator[str]:
    """Put the API's address and the pod's own token and CA where `in-cluster` stands; 'off' becomes None."""
    if values.get("kube_api") == "off":
        values["kube_api"] = None
    if values.get("kube_api") != "in-cluster":
        return
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        values["kube_api"] = None
        yield "--kube-api in-cluster: this is no pod (KUBERNETES_SERVICE_HOST is not set); give the API's URL, or off"
        return
    values["kube_api"] = f"https://{Address(host, int(port) if port.isdigit() else 443)}"
    values["kube_token_file"] = values.get("kube_token_file") or SERVICE_ACCOUNT / "token"
    values["kube_ca_file"] = values.get("kube_ca_file") or SERVICE_ACCOUNT / "ca.crt"


def _contradictions(settings: Mapping[str, Any], given: Container[str]) -> Iterator[str]:
    """What each value allows, and all together do not. A value that could not be read is None here."""
    yield from _missing(settings, given)
    yield from _connection_mistakes(settings, given)
    yield from _simulation_mistakes(settings, given)
    yield from _reservation_mistakes(settings)
    yield from _interval_mistakes(settings)
    if "format" in given and not settings["once"]:
        yield "--format says how --once prints; without --once nothing is printed"
    if settings["watch_us"] and settings["once"] is False:
        yield "--watch looks at this node, which is --once: leave --once no away"


def _missing(settings: Mapping[str, Any], given: Container[str]) -> Iterator[str]:
    if not settings["node"] and "node" not in given:
        yield "--node NAME is missing; in a DaemonSet set GPUTALLY_NODE from spec.nodeName"
    if not settings["cluster"] and "cluster" not in given:
        yield "--cluster NAME is missing: a node is known by its name and its cluster's"


def _connection_mistakes(settings: Mapping[str, Any], given: Container[str]) -> Iterator[str]:
    collector, encrypted = settings["collector"], "collector_ca_file" in given
    if collector and not encrypted and not collector.is_loopback and not settings["insecure_plaintext"]:
        yield (
            f"--collector {collector} is not on this machine, and the connection is not encrypted: whoever is on"
            " the way could read and change what is sent; give --collector-ca-file, or accept that with"
            " --insecure-plaintext"
        )
    if ("tls_cert_file" in given) != ("tls_key_file" in given):
        yield "--tls-cert-file and --tls-key-file go together"
    elif "tls_cert_file" in given and not encrypted:
        yield "--tls-cert-file needs --collector-ca-file: without it the connection is plain text"
    api, token = settings["kube_api"], settings["kube_token_file"]
    if not api:
        if token or settings["kube_ca_file"]:
            yield "--kube-token-file and --kube-ca-file are for --kube-api, which is off"
        return
    url = urlsplit(api)
    if url.scheme not in ("http", "https") or not url.hostname:
        yield f"--kube-api: {api!r} is neither a URL (https://HOST:PORT) nor in-cluster nor off"
    elif token and url.scheme == "http" and not Address(url.hostname, 0).is_loopback:
        yield f"--kube-api {api}: a token must not travel in plain text; use https"


def _simulation_mistakes(settings: Mapping[str, Any], given: Container[str]) -> Iterator[str]:
    simulated = settings["nvml"] is Nvml.SIMULATED
    if simulated and not settings["scenario"] and "scenario" not in given:
        yield "--nvml simulated needs --scenario FILE: what the GPUs and pods do"
    if settings["scenario"] and not simulated:
        yield "--scenario is for --nvml simulated; real GPUs follow no script"
    if settings["pod_resources_socket"] == "scenario" and not simulated:
        yield "--pod-resources-socket scenario is for --nvml simulated"


def _reservation_mistakes(settings: Mapping[str, Any]) -> Iterator[str]:
    if settings["slurm_jobs"] and settings["pod_resources_socket"] not in ("off", None):
        yield "--slurm-jobs and --pod-resources-socket: a GPU is handed out by Slurm or by the kubelet, not by both"


def _interval_mistakes(settings: Mapping[str, Any]) -> Iterator[str]:
    sample_us = settings["sample_interval_us"] or 0
    for name in ("process_interval_us", "window_us"):
        if settings[name] and settings[name] < sample_us:
            yield f"{_FLAG[name]} is shorter than --sample-interval"


def help_text() -> str:
    """What --help prints: every setting with its variable, its default and its reason."""
    lines = ["usage: gputally-agent [doctor [--json]] [SETTING VALUE]...", "", _ABOUT, "", "settings:"]
    for setting in SETTINGS:
        lines.append(f"  {setting.flag} {setting.metavar}".rstrip())
        text = f"{setting.reason} (default: {setting.default}; {setting.variable})"
        lines += textwrap.wrap(text, 110, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return "\n".join([*lines, "", _EXAMPLES])
