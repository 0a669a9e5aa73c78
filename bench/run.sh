#!/usr/bin/env bash
# What `make bench` runs: installs what is missing, measures, and writes bench/RESULTS.md.
#
#   bash bench/run.sh                        all parts; about five minutes
#   bash bench/run.sh streaming startup      some of them; the report takes the others from earlier runs, with their times
#   bash bench/run.sh hotspots               py-spy on the sidecar under load; no part of the report
#   QUICK=1 bash bench/run.sh                a smoke run: does everything work? Its figures mean nothing
#   PYTHON=python3.13 bash bench/run.sh      the interpreter
#   LABEL='make bench' bash bench/run.sh     what RESULTS.md names as the command that made it
set -euo pipefail
cd "$(dirname "$0")/.."

# The system's own build of Python is optimised, as the image's is; one that was built by hand often is not.
if [ -z "${PYTHON:-}" ]; then
    PYTHON=python3
    if /usr/bin/python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then PYTHON=/usr/bin/python3; fi
fi
VENV=.venv-bench
WORK=bench/.work
ALL=(side_by_side streaming concurrency startup)
PARTS=("$@")

install_system_packages() {
    local missing=() pair
    for pair in nginx:nginx-light wrk:wrk openssl:openssl taskset:util-linux cc:gcc; do
        command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
    done
    if [ "$PYTHON" = /usr/bin/python3 ]; then
        "$PYTHON" -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
        [ -n "$(ls /usr/include/python3*/Python.h 2>/dev/null)" ] || missing+=(python3-dev)
    fi
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "missing: ${missing[*]}; install them, or run this as root where apt-get is" >&2
        exit 1
    fi
    apt-get update -qq
    # Installing nginx must not start one.
    DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${missing[@]}"
}

# The stamp is written last: when it is newer than both locks, the environment is whole.
make_environment() {
    local stamp=$VENV/.made
    if [ "$stamp" -nt requirements.lock ] && [ "$stamp" -nt requirements-build.lock ] \
        && [ "$stamp" -nt bench/requirements.lock ]; then
        return 0
    fi
    echo "making $VENV"
    "$PYTHON" -m venv --clear "$VENV"
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
        -r requirements.lock -r requirements-build.lock -r bench/requirements.lock
    touch "$stamp"
}

# What is measured is the package as the image has it.
compile_sidecar() {
    local target=bench/.work/compiled
    if [ -n "$(find sidecar tools -name '*.py' -newer "$target/.made" 2>/dev/null | head -n 1)" ] || [ ! -e "$target/.made" ]; then
        echo "compiling the hot path"
        mkdir -p "$target"
        "$VENV/bin/python" tools/compile.py "$target" >bench/.work/compile.log 2>&1
        touch "$target/.made"
    fi
}

# Arguments of a part, for a real run and for a smoke run.
arguments_of() {
    case "${QUICK:+quick}:$1" in
    :side_by_side) echo "--rounds 5 --seconds 5" ;;
    :streaming) echo "--mib 1024" ;;
    :concurrency) echo "--connections 1000 --seconds 10" ;;
    :startup) echo "--starts 10" ;;
    :hotspots) echo "--seconds 10" ;;
    quick:side_by_side) echo "--rounds 1 --seconds 1" ;;
    quick:streaming) echo "--mib 32" ;;
    quick:concurrency) echo "--connections 100 --seconds 1" ;;
    quick:startup) echo "--starts 1" ;;
    quick:hotspots) echo "--seconds 1" ;;
    *)
        echo "there is no part $1" >&2
        return 1
        ;;
    esac
}

measure() {
    local part=$1 directory=$2 arguments output=()
    arguments=$(arguments_of "$part")
    [ "$part" = hotspots ] || output=(--output "$directory/$part.json")
    echo "== $part $arguments"
    # A part that takes too long gets SIGTERM, and then ends what it started.
    # shellcheck disable=SC2086  # the arguments are words
    timeout --kill-after=30 900 "$VENV/bin/python" -m "bench.$part" $arguments "${output[@]}"
}

install_system_packages
make_environment
compile_sidecar
PATH=$PWD/$VENV/bin:$PATH
export PATH

report=bench/RESULTS.md note=
if [ -n "${QUICK:-}" ]; then
    WORK=$WORK/quick
    report=$WORK/RESULTS.md
    note="A smoke run: its figures mean nothing."
fi
mkdir -p "$WORK"
if [ ${#PARTS[@]} -eq 0 ]; then
    PARTS=("${ALL[@]}")
    rm -f "$WORK"/*.json
fi
for part in "${PARTS[@]}"; do
    arguments_of "$part" >/dev/null
done
for part in "${PARTS[@]}"; do
    measure "$part" "$WORK"
done
if [ "${PARTS[*]}" != hotspots ]; then
    "$VENV/bin/python" -m bench.report --results "$WORK" --output "$report" --command "${LABEL:-make bench}" --note "$note"
    echo "written: $report"
fi
