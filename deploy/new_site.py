"""Write a folder for one cluster: a kustomization to apply, and the secrets that it needs.

python3 deploy/new_site.py SITE --cluster prod --driver gpu-operator --registry registry.example.com/platform
kubectl apply -k SITE

It needs Python's standard library and the program `openssl`. What is in the folder already is kept, and named where it
is not what was asked for, so that it can be run again: with secrets/tls.crt and tls.key removed, it makes a new
certificate from the same authority.
"""

import argparse
import json
import os
import re
import secrets
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import available_timezones

DEPLOY = Path(__file__).resolve().parent
DRIVERS = ("host", "gpu-operator", "gke")
TAG = "0.1.0"
NAMES = (
    "gputally-collector",
    "gputally-collector.gputally",
    "gputally-collector.gputally.svc",
    "gputally-collector.gputally.svc.cluster.local",
    "localhost",  # kubectl port-forward
)
_CLUSTER = re.compile(r"[A-Za-z0-9][-._A-Za-z0-9]{0,50}")  # it goes into YAML, and into a certificate's 64 characters
# As registries have them. A tag of digits is a number in YAML, so it is quoted.
_REGISTRY = re.compile(r"(?:[a-z0-9][-a-z0-9.]*(?::[0-9]+)?(?:/[a-z0-9][-._a-z0-9]*)*/?)?")
_TAG = re.compile(r"[A-Za-z0-9_][-.A-Za-z0-9_]{0,127}")
_AUTHORITY_DAYS = 3650
_CERTIFICATE_DAYS = 397  # a year, and a month to renew it in
_TRIAL_URL = "postgresql://gputally:{password}@gputally-postgres/gputally"
_EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
_AUTHORITY = """\
[req]
prompt = no
distinguished_name = name
x509_extensions = extensions
[name]
CN = gputally {cluster}
[extensions]
basicConstraints = critical, CA:true, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
"""
_CERTIFICATE = """\
[req]
prompt = no
distinguished_name = name
[name]
CN = gputally-collector
[extensions]
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = {names}
"""
_KUSTOMIZATION = """\
# The cluster {cluster}: kubectl apply -k .
# The folder secrets/ is not for a repository; docs/kubernetes.md says what else may make these Secrets.
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: gputally
resources:
  - "{deploy}/namespace"
  - "{deploy}/daemonset/overlays/{driver}"
  - "{deploy}/collector/base"
  {trial}- "{deploy}/collector/overlays/postgres-trial"  # no backup: for a trial only
  # - "{deploy}/daemonset/overlays/dra"  # GPUs are claimed by dynamic resource allocation
  # - "{deploy}/collector/overlays/workloads"  # reports name workloads for certain: may read what owns pods
  # - "{deploy}/collector/overlays/queues"  # quotas of Kueue's and Volcano's queues
  # - "{deploy}/daemonset/overlays/podmonitor"  # Prometheus Operator, from here ...
  # - "{deploy}/collector/overlays/servicemonitor"
  # - "{deploy}/collector/overlays/prometheusrule"  # ... to here
  # - "{deploy}/collector/overlays/grafana"  # dashboards for Grafana's sidecar
  # - "{deploy}/collector/overlays/books"  # rate card, teams and budgets from the ConfigMap gputally-books
images:
  - name: gputally-agent
    newName: {registry}gputally-agent
    newTag: "{tag}"
  - name: gputally-collector
    newName: {registry}gputally-collector
    newTag: "{tag}"
configMapGenerator:
  - name: gputally
    literals:
      - cluster={cluster}
      - timezone={timezone}
  - name: gputally-collector-ca
    files: [secrets/ca.crt]
    options: {{disableNameSuffixHash: true}}
secretGenerator:
  # Fixed names: a certificate that is renewed is read again by itself.
  - name: gputally-collector-tls
    type: kubernetes.io/tls
    files: [secrets/tls.crt, secrets/tls.key]
    options: {{disableNameSuffixHash: true}}
  - name: gputally-database
    files: [{database}]
    options: {{disableNameSuffixHash: true}}
"""


class NoOpenssl(Exception):
    """The program openssl is not installed."""


def arguments(given: Sequence[str]) -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description="Write a folder for one cluster, to be applied by kubectl apply -k.")
    parser.add_argument("folder", type=Path, metavar="SITE", help="where to write it")
    parser.add_argument(
        "--cluster", required=True, type=cluster_name, help="the cluster's name in the ledger; it cannot be renamed"
    )
    parser.add_argument("--driver", required=True, choices=DRIVERS, help="how the nodes got their driver")
    parser.add_argument(
        "--registry", default="", type=registry, help="where the images are, such as registry.example.com/platform"
    )
    parser.add_argument("--tag", default=TAG, type=tag, help=f"of both images (default: {TAG})")
    parser.add_argument("--timezone", default="UTC", type=zone, help="the billing time zone, for ever (default: UTC)")
    parser.add_argument(
        "--database-url",
        default="",
        type=database_url,
        help="a PostgreSQL of yours, or - to read its URL from standard input, as the list of processes shows "
        "passwords of command lines (default: one in the cluster, to try)",
    )
    return parser.parse_args(given)


def main(given: Sequence[str]) -> int:
    """The exit status."""
    asked = arguments(given)
    os.umask(0o077)
    try:
        write(asked)
    except NoOpenssl:
        sys.stderr.write("new_site.py needs the program openssl\n")
        return 1
    except subprocess.CalledProcessError as error:
        sys.stderr.write(f"openssl refuses: {error.stderr}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"new_site.py: {error.filename}: {error.strerror}\n")
        return 1
    sys.stdout.write(f"{asked.folder} is ready: kubectl apply -k {shlex.quote(str(asked.folder))}\n")
    return 0


def write(asked: argparse.Namespace) -> None:
    """Write all that is not there yet. Raises NoOpenssl, CalledProcessError and OSError."""
    hidden = asked.folder / "secrets"
    hidden.mkdir(parents=True, exist_ok=True)
    keep(asked.folder / ".gitignore", "secrets/\n")
    make_database(hidden, asked.database_url)
    make_authority(hidden, asked.cluster)
    make_certificate(hidden)
    keep(asked.folder / "kustomization.yaml", kustomization(asked))


def cluster_name(text: str) -> str:
    """A name that stands for itself wherever it is written; raises ArgumentTypeError."""
    if not _CLUSTER.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r}: at most 51 letters, digits, dots, dashes and underscores")
    return text


def registry(text: str) -> str:
    """A registry, with or without a folder in it; raises ArgumentTypeError."""
    if not _REGISTRY.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r}: such as registry.example.com:5000/platform, without https://")
    return text


def tag(text: str) -> str:
    """An image's tag; raises ArgumentTypeError."""
    if not _TAG.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no tag of an image")
    return text


def zone(text: str) -> str:
    """An IANA name, as far as this machine knows them; raises ArgumentTypeError."""
    known = available_timezones()
    if text not in known and known:
        raise argparse.ArgumentTypeError(f"{text!r} is no IANA time zone, such as Europe/Berlin")
    return text


def database_url(text: str) -> str:
    """A URL that the collector takes; raises ArgumentTypeError, which does not repeat it."""
    url = (sys.stdin.readline() if text == "-" else text).strip()
    parts = urlsplit(url)
    if url and not (parts.scheme == "postgresql" and parts.hostname and parts.path.strip("/")):
        raise argparse.ArgumentTypeError("expected postgresql://USER:PASSWORD@HOST/DATABASE")
    if text == "-" and not url:
        raise argparse.ArgumentTypeError("no URL on standard input")
    return url


def keep(path: Path, text: str) -> None:
    """Write a file, unless it is there: then say so, if it is not what would be written."""
    if not path.exists():
        path.write_text(text)
    elif path.read_text() != text:
        sys.stderr.write(f"kept as it is, and not what was asked for now: {path}\n")


def kustomization(asked: argparse.Namespace) -> str:
    """What refers to everything. The database's password is only there where the database is."""
    database = "url=secrets/database-url"
    return _KUSTOMIZATION.format(
        cluster=asked.cluster,
        driver=asked.driver,
        deploy=json.dumps(os.path.relpath(DEPLOY, asked.folder.resolve()), ensure_ascii=False)[1:-1],
        registry=f"{asked.registry.rstrip('/')}/" if asked.registry else "",
        tag=asked.tag,
        timezone=asked.timezone,
        trial="# " if asked.database_url else "",
        database=database if asked.database_url else f"{database}, password=secrets/database-password",
    )


def make_database(hidden: Path, url: str) -> None:
    """The URL of the database; for the one in the cluster with a password that nobody has to know."""
    if not url and (hidden / "database-url").exists():
        return  # as when a certificate is renewed
    if not url:
        password = secrets.token_hex(24)
        (hidden / "database-password").write_text(password)
        url = _TRIAL_URL.format(password=password)
    keep(hidden / "database-url", url)


def make_authority(hidden: Path, cluster: str) -> None:
    """The authority that agents are given. Its key stays in the folder, and signs nothing else."""
    if (hidden / "ca.crt").exists():
        return
    (hidden / "ca.cnf").write_text(_AUTHORITY.format(cluster=cluster))
    openssl(
        *("req", "-x509", *_EC, "-days", str(_AUTHORITY_DAYS), "-config", str(hidden / "ca.cnf")),
        *("-keyout", str(hidden / "ca.key"), "-out", str(hidden / "ca.crt")),
    )


def make_certificate(hidden: Path) -> None:
    """The collector's certificate."""
    if (hidden / "tls.crt").exists() and (hidden / "tls.key").exists():
        return
    (hidden / "ca.key").stat()  # it may be kept elsewhere
    settings, request = hidden / "tls.cnf", hidden / "tls.csr"
    settings.write_text(_CERTIFICATE.format(names=", ".join(f"DNS:{name}" for name in NAMES)))
    openssl("req", "-new", *_EC, "-config", str(settings), "-keyout", str(hidden / "tls.key"), "-out", str(request))
    openssl(
        *("x509", "-req", "-in", str(request), "-CA", str(hidden / "ca.crt"), "-CAkey", str(hidden / "ca.key")),
        *("-set_serial", f"0x{secrets.token_hex(15)}", "-days", str(_CERTIFICATE_DAYS)),
        *("-extfile", str(settings), "-extensions", "extensions", "-out", str(hidden / "tls.crt")),
    )


def openssl(*words: str) -> None:
    """Run it; raises CalledProcessError with what it said, NoOpenssl where it is not there."""
    program = shutil.which("openssl")
    if not program:
        raise NoOpenssl
    subprocess.run((program, *words), check=True, capture_output=True, text=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
