#!/usr/bin/env bash
# Put promtool, Prometheus' tool that reads alerts, into build/tools: as a Debian package that is unpacked and not
# installed. So nothing needs root, no daemon is started, and what apt knows of this machine stays as it is.
#
#   bash tools/promtool.sh        nothing where promtool is on the PATH already
set -euo pipefail
cd "$(dirname "$0")/.."

target=$PWD/build/tools
if command -v promtool >/dev/null || [ -x "$target/usr/bin/promtool" ]; then exit 0; fi
if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    echo "promtool is not here, and neither is apt; install Prometheus, so that promtool is on the PATH" >&2
    exit 1
fi
echo "fetching promtool"
mkdir -p "$target/lists/partial" "$target/archives/partial"
# Lists and packages of its own: those of the machine are root's, and empty in most images.
apt=(apt-get -qq -o "Dir::State::lists=$target/lists" -o "Dir::Cache=$target" -o "Dir::Cache::archives=$target/archives"
    -o APT::Sandbox::User= -o Debug::NoLocking=true -o Acquire::Retries=3)
"${apt[@]}" update
(cd "$target" && "${apt[@]}" download prometheus)
dpkg-deb --fsys-tarfile "$target"/prometheus_*.deb | tar -x -C "$target" ./usr/bin/promtool
rm -rf "$target"/lists "$target"/archives "$target"/*.bin "$target"/prometheus_*.deb
"$target/usr/bin/promtool" --version >/dev/null
