#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Install what debian-packages.txt lists and this host lacks. Where nothing is
# missing this needs neither root nor sudo nor the network.
set -eu
cd "$(dirname "$0")/.."

say() { printf '%s\n' "$*" >&2; }

wanted=$(sed 's/#.*//' debian-packages.txt)
# shellcheck disable=SC2086 # a list
states=$(dpkg-query --show --showformat='<${Package} ${db:Status-Status}>' $wanted 2>/dev/null) || true
missing=
for package in $wanted; do
	case $states in
	*"<$package installed>"*) ;;
	*) missing="$missing $package" ;;
	esac
done
[ -n "$missing" ] || exit 0

# shellcheck disable=SC1091 # of whatever host this is
release=$(. /etc/os-release && printf '%s' "${PRETTY_NAME:-}") || release=
elsewhere() {
	say "The farm is made for Debian 12 and 13, with their updates and security updates among apt's sources."
	say "Elsewhere, write into debian-packages.txt what brings the same, or work in a Debian 13 (README, Start)."
	exit 1
}

if ! command -v apt-get >/dev/null; then
	say "${release:-This host} has no apt-get to install packages with."
	elsewhere
fi
if [ "$(id -u)" = 0 ]; then
	as_root() { "$@"; }
elif command -v sudo >/dev/null; then
	as_root() { sudo "$@"; }
else
	say "Debian packages are missing, and there is no sudo. As root:"
	say "apt-get update && apt-get install --no-install-recommends$missing"
	exit 1
fi

echo "installing Debian packages:$missing"
as_root apt-get update -qq
unknown=
for package in $missing; do
	apt-cache show --no-all-versions "$package" >/dev/null 2>&1 || unknown="$unknown $package"
done
if [ -n "$unknown" ]; then
	say "${release:-This host} has no package named:$unknown"
	elsewhere
fi
# shellcheck disable=SC2086 # a list
as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends -qq $missing
