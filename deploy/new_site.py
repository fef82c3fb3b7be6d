"""Write a folder for one cluster: a kustomization to apply, and the secrets that it needs.

python3 deploy/new_site.py SITE --cluster prod --driver gpu-operator --registry registry.example.com/platform
kubectl apply -k SITE

It needs Python's standard library and the program `openssl`. What is in the folder already is kept, so that it can be
run again: with secrets/tls.crt and tls.key removed, it makes a new certificate from the same authority.
"""

import argparse
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

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
_AUTHORITY_DAYS = 3650
_CERTIFICATE_DAYS = 397  # more is refused by browsers
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
  - {deploy}/namespace
  - {deploy}/daemonset/overlays/{driver}
  - {deploy}/collector/base
  {trial}- {deploy}/collector/overlays/postgres-trial  # no backup: for a trial only
  # - {deploy}/daemonset/overlays/dra  # GPUs are claimed by dynamic resource allocation
  # - {deploy}/daemonset/overlays/podmonitor  # Prometheus Operator, from here ...
  # - {deploy}/collector/overlays/servicemonitor
  # - {deploy}/collector/overlays/prometheusrule  # ... to here
  # - {deploy}/collector/overlays/grafana  # dashboards for Grafana's sidecar
  # - {deploy}/collector/overlays/books  # rate card, teams and budgets from the ConfigMap gputally-books
images:
  - name: gputally-agent
    newName: {registry}gputally-agent
    newTag: {tag}
  - name: gputally-collector
    newName: {registry}gputally-collector
    newTag: {tag}
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


def arguments(given: Sequence[str]) -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description="Write a folder for one cluster, to be applied by kubectl apply -k.")
    parser.add_argument("folder", type=Path, metavar="SITE", help="where to write it")
    parser.add_argument(
        "--cluster", required=True, type=cluster_name, help="the cluster's name in the ledger; it cannot be renamed"
    )
    parser.add_argument("--driver", required=True, choices=DRIVERS, help="how the nodes got their driver")
    parser.add_argument("--registry", default="", help="where the images are, such as registry.example.com/platform")
    parser.add_argument("--tag", default=TAG, help=f"of both images (default: {TAG})")
    parser.add_argument("--timezone", default="UTC", help="the billing time zone, for ever (default: UTC)")
    parser.add_argument(
        "--database-url", default="", help="a PostgreSQL of yours (default: one in the cluster, to try)"
    )
    return parser.parse_args(given)


def main(given: Sequence[str]) -> int:
    """The exit status."""
    asked = arguments(given)
    hidden = asked.folder / "secrets"
    os.umask(0o077)
    hidden.mkdir(parents=True, exist_ok=True)
    keep(asked.folder / ".gitignore", "secrets/\n")
    make_database(hidden, asked.database_url)
    try:
        make_authority(hidden, asked.cluster)
        make_certificate(hidden)
    except FileNotFoundError:
        sys.stderr.write("new_site.py needs the program openssl\n")
        return 1
    except subprocess.CalledProcessError as error:
        sys.stderr.write(f"openssl refuses: {error.stderr}\n")
        return 1
    keep(asked.folder / "kustomization.yaml", kustomization(asked))
    sys.stdout.write(f"{asked.folder} is ready: kubectl apply -k {asked.folder}\n")
    return 0


def cluster_name(text: str) -> str:
    """A name that stands for itself wherever it is written; raises ArgumentTypeError."""
    if not _CLUSTER.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r}: at most 51 letters, digits, dots, dashes and underscores")
    return text


def keep(path: Path, text: str) -> None:
    """Write a file, unless it is there."""
    if not path.exists():
        path.write_text(text)


def kustomization(asked: argparse.Namespace) -> str:
    """What refers to everything. The database's password is only there where the database is."""
    database = "url=secrets/database-url"
    return _KUSTOMIZATION.format(
        cluster=asked.cluster,
        driver=asked.driver,
        deploy=os.path.relpath(DEPLOY, asked.folder.resolve()),
        registry=f"{asked.registry.rstrip('/')}/" if asked.registry else "",
        tag=asked.tag,
        timezone=asked.timezone,
        trial="# " if asked.database_url else "",
        database=database if asked.database_url else f"{database}, password=secrets/database-password",
    )


def make_database(hidden: Path, url: str) -> None:
    """The URL of the database; for the one in the cluster with a password that nobody has to know."""
    if not url:
        keep(hidden / "database-password", secrets.token_hex(24))
        url = _TRIAL_URL.format(password=(hidden / "database-password").read_text())
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
    if (hidden / "tls.crt").exists():
        return
    settings, request = hidden / "tls.cnf", hidden / "tls.csr"
    settings.write_text(_CERTIFICATE.format(names=", ".join(f"DNS:{name}" for name in NAMES)))
    openssl("req", "-new", *_EC, "-config", str(settings), "-keyout", str(hidden / "tls.key"), "-out", str(request))
    openssl(
        *("x509", "-req", "-in", str(request), "-CA", str(hidden / "ca.crt"), "-CAkey", str(hidden / "ca.key")),
        *("-set_serial", f"0x{secrets.token_hex(15)}", "-days", str(_CERTIFICATE_DAYS)),
        *("-extfile", str(settings), "-extensions", "extensions", "-out", str(hidden / "tls.crt")),
    )


def openssl(*words: str) -> None:
    """Run it; raises CalledProcessError with what it said, FileNotFoundError where it is not there."""
    program = shutil.which("openssl")
    if not program:
        raise FileNotFoundError("openssl")
    subprocess.run((program, *words), check=True, capture_output=True, text=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
