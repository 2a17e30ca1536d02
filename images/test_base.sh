#!/usr/bin/env bash
# Base images for tests on a machine that reaches no image registry: Debian 12 with its Python 3.11.
#
#   images/test_base.sh [WHEELS]
#
# maskline-test-base     what the images are built FROM (BASE); made by debootstrap, nothing of this machine in it
# maskline-test-builder  the same for the build stage (BUILDER), with this machine's CA bundle and, where WHEELS
#                        names a folder, its wheels
#
# Needs root, a Docker engine, debootstrap. A base that is there already is kept; the builder is made anew.
set -euo pipefail

BASE=maskline-test-base
BUILDER=maskline-test-builder
BUNDLE=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
WHEELS=${1:-}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

if ! docker image inspect "$BASE" >/dev/null 2>&1; then
    debootstrap --variant=minbase --include=ca-certificates,python3,python3-pip,python3-venv \
        bookworm "$scratch/root" "${DEBIAN_MIRROR:-http://deb.debian.org/debian}" >"$scratch/log" 2>&1 ||
        { tail -20 "$scratch/log" >&2; exit 1; }
    rm -rf "$scratch/root/var/cache/apt/archives" "$scratch/root/var/lib/apt/lists" \
        "$scratch"/root/usr/lib/python3*/EXTERNALLY-MANAGED
    tar -C "$scratch/root" -c . | docker import - "$BASE" >/dev/null
fi

mkdir -p "$scratch/context/wheels"
cp "$BUNDLE" "$scratch/context/ca.crt"
[ -z "$WHEELS" ] || cp "$WHEELS"/*.whl "$scratch/context/wheels/"
docker build --quiet --build-arg "BASE=$BASE" --tag "$BUILDER" --file - "$scratch/context" <<'DOCKERFILE'
ARG BASE
FROM $BASE
COPY . /build
ENV PIP_CERT=/build/ca.crt SSL_CERT_FILE=/build/ca.crt REQUESTS_CA_BUNDLE=/build/ca.crt PIP_FIND_LINKS=/build/wheels
DOCKERFILE
