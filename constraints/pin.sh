#!/usr/bin/env bash
# Pin what is installed: `constraints/pin.sh`, through `make pins`. Pins that are there already stay as they are, unless
# their names are given as arguments: `constraints/pin.sh grpcio` moves grpcio to its newest version that fits.
set -euo pipefail
cd "$(dirname "$0")/.."
UV=${UV:-.venv/bin/uv}
upgrades=("${@/#/--upgrade-package=}")

# pin NAME WHAT SOURCES...: NAME.txt with the hashes of every file of every version, for all platforms and Pythons.
pin() {
    local file=constraints/$1.txt what=$2
    shift 2
    "$UV" pip compile "$@" "${upgrades[@]}" --generate-hashes --universal --python-version 3.11 \
        --no-header --no-annotate --quiet --output-file "$file" >/dev/null
    {
        echo "# What $what installs: every package pinned to one version and to the hashes of its files."
        echo "# pyproject.toml says what is allowed, this file what is tested. Made by \`make pins\`."
        grep -v '^#' "$file"
    } >"$file.new"
    mv "$file.new" "$file"
}

pin dev 'make test and CI' pyproject.toml --extra dev
grep -oE '^[A-Za-z0-9._-]+==[^ ]+' constraints/dev.txt >constraints/.pins
trap 'rm -f constraints/.pins' EXIT
pin run 'make run' pyproject.toml --extra agent --extra collector --constraint constraints/.pins
pin agent "the agent's image" pyproject.toml --extra agent --constraint constraints/.pins
pin collector "the collector's image" pyproject.toml --extra collector --constraint constraints/.pins
pin build 'whoever builds the package' - --constraint constraints/.pins <<<hatchling
pin peer "make bench's peer" - <<<nvitop-exporter # another nvidia-ml-py than ours
