#!/usr/bin/env bash
# Build the image without an engine and without a registry of images, and try it as a pod would.
#
#   tools/image.sh [DIRECTORY]        default: build/image; needs root, and Debian's packages
#
# buildah takes the Dockerfile as it is. The two base images are stand-ins by the names the Dockerfile asks for, made of
# Debian's packages (the same interpreter, no registry). What the locks pin is fetched here, so the build needs no network.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

work=$(mkdir -p "${1:-build/image}" && cd "${1:-build/image}" && pwd)
python=$(sed -n 's/^ARG PYTHON=//p' Dockerfile)
suite=trixie # Whose python3 is the one that the Dockerfile names.
bin=.venv/bin

if ! command -v buildah >/dev/null || ! command -v mmdebstrap >/dev/null; then
    echo "installing buildah and mmdebstrap"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends buildah mmdebstrap >/dev/null
fi
export STORAGE_DRIVER="${STORAGE_DRIVER:-overlay}"
images=(buildah --root "$work/storage" --runroot "$work/run")
"${images[@]}" info >/dev/null 2>&1 || export STORAGE_DRIVER=vfs # An overlay cannot stand on an overlay.

# The machine's own sources of packages, for another suite.
listed=/etc/apt/sources.list.d/debian.sources
[ -f "$listed" ] || listed=/etc/apt/sources.list
sources=$(sed -E "s/\b(bookworm|trixie|forky|sid|stable|testing)\b/$suite/g" "$listed")

# base NAME PACKAGE...: a base image, kept until the suite changes.
base() {
    local name="$1"
    shift
    "${images[@]}" inspect --type image "localhost/python:$name" >/dev/null 2>&1 && return
    echo "making the base image python:$name from Debian $suite"
    mkdir -p "$work/$name"
    mmdebstrap --quiet --variant=minbase --include="$(IFS=,; echo "$*")" \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' "$suite" "$work/$name/root.tar" - <<<"$sources"
    # Docker's images have `python`, and a pip that may install.
    printf 'FROM scratch\nADD root.tar /\nRUN ln -sf python3 /usr/bin/python && rm -f /usr/lib/python3*/EXTERNALLY-MANAGED\n' \
        >"$work/$name/Containerfile"
    "${images[@]}" bud --isolation chroot --layers=false --quiet -t "localhost/python:$name" \
        -f "$work/$name/Containerfile" "$work/$name" >/dev/null
    rm -r "${work:?}/$name"
}
base "$python" python3 python3-venv python3-pip python3-dev gcc ca-certificates
base "$python-slim" python3 ca-certificates

echo "fetching what the locks pin"
rm -rf "$work/wheels"
$bin/python -m pip download --quiet --disable-pip-version-check --python-version "$python" --implementation cp \
    --require-hashes --only-binary :all: -r requirements.lock -r requirements-build.lock -d "$work/wheels"
printf '[global]\nno-index = true\nfind-links = /wheels\n' >"$work/pip.conf"

echo "building the image"
version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' sidecar/__init__.py)
"${images[@]}" bud --isolation chroot --layers=false --pull-never --secret "id=pip,src=$work/pip.conf" \
    -v "$work/wheels:/wheels:ro" --build-arg VERSION="$version" --build-arg REVISION="$(git rev-parse HEAD)" \
    -t localhost/sidecar:check . >"$work/build.log" 2>&1 || { tail -n 30 "$work/build.log"; exit 1; }

container=$("${images[@]}" from --pull-never localhost/sidecar:check)
trap '"${images[@]}" umount "$container" >/dev/null; "${images[@]}" rm "$container" >/dev/null' EXIT
ln -sfn "$("${images[@]}" mount "$container")" "$work/root"
"${images[@]}" inspect --type image localhost/sidecar:check |
    $bin/python -c 'import json, sys; json.dump(json.load(sys.stdin)["OCIv1"]["config"], sys.stdout)' >"$work/config.json"
echo "the image has $("${images[@]}" images --format '{{.Size}}' localhost/sidecar:check)," \
    "$(du -sh "$work/root/opt/sidecar" | cut -f1) of it ours"
$bin/python -m pytest --numprocesses=0 --image "$work" tests/image
