#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Prove on new machines what the README promises: each release of Debian gets a
# directory of its own, and in it a user types `make run` and `make test`, in a
# clone of this checkout, with nothing installed and an empty cache.
#
#   hosts/prove.sh [RELEASE...]     bookworm and trixie, if none is named
#
# Of the environment: TARGETS (run test), CELLS (those of `make run`), HOSTS_DIR,
# which keeps the logs, and what makes the next proof quick: the bare releases,
# Debian's and Python's packages and ccache's objects.
#
# What runs there has processes and mounts of its own, which the kernel ends with
# it, whatever ends this script. Archives, proxies and certificates are the host's.
set -eu

checkout=$(cd "$(dirname "$0")/.." && pwd)
dir=${HOSTS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/ftrace-farm-hosts}
targets=${TARGETS:-run test}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

say() { printf '%s\n' "$*"; }
fail() {
	printf 'make hosts: %s\n' "$*" >&2
	exit 1
}

# Where the host's apt has Debian from: "URI" of what apt knows by that label.
archive() {
	# shellcheck disable=SC2016 # apt's own variables
	apt-get indextargets --format '$(LABEL)|$(ORIGIN)|$(REPO_URI)' 'Identifier: Packages' |
		sed -n "s/^$1|Debian|//p" | head -n 1
}

# The sources.list of a release.
sources() {
	main=$(archive Debian) security=$(archive Debian-Security)
	[ "$main" ] || fail "apt knows no archive of Debian here; was 'apt-get update' run?"
	[ "$security" ] || fail "apt knows no archive of Debian's security updates here"
	for line in "$main $1" "$main $1-updates" "$security $1-security"; do
		say "deb [signed-by=$keyring] $line main"
	done
}

# A tar file of the release: its essential packages and what a user starts with.
bare() {
	release=$1
	[ -e "$dir/$release.tar" ] && return
	mkdir -p "$dir/aptconf"
	# how this host reaches its archives: proxies, timeouts
	apt-config dump --format '%F "%v";%n' Acquire | grep -v 'IndexTargets' >"$dir/aptconf/acquire.conf"
	sources "$release" >"$dir/$release.list"
	mmdebstrap --variant=minbase --include=ca-certificates,git,make,sudo --aptopt="$dir/aptconf/acquire.conf" \
		"$release" "$dir/$release.partial.tar" "$dir/$release.list"
	mv "$dir/$release.partial.tar" "$dir/$release.tar"
}

# A new machine: the bare release, a user who may use sudo, a clone of the checkout.
machine() {
	release=$1 root=$dir/$release
	rm -rf --one-file-system "$root"
	mkdir -p "$root"
	tar --extract --file "$dir/$release.tar" --directory "$root" --numeric-owner
	cp "$dir/aptconf/acquire.conf" "$root/etc/apt/apt.conf.d/99host"
	cp --dereference /etc/resolv.conf /etc/hosts "$root/etc/"
	hostname >"$root/etc/hostname"
	for own in /usr/local/share/ca-certificates/*; do
		[ ! -e "$own" ] || cp -r "$own" "$root/usr/local/share/ca-certificates/"
	done
	chroot "$root" update-ca-certificates >/dev/null 2>&1
	chroot "$root" useradd --create-home --shell /bin/sh user
	say 'user ALL=(ALL) NOPASSWD: ALL' >"$root/etc/sudoers.d/user"
	git clone --quiet "file://$checkout" "$root/home/user/farm"
	chroot "$root" chown -R user: /home/user
	for kept in debs/"$release" pip ccache; do
		mkdir -p "$dir/$kept"
	done
	owner=$(chroot "$root" id -u user)
	chown "$owner" "$dir/pip" "$dir/ccache"
}

# What a user types there, in namespaces of its own.
inside() {
	release=$1 target=$2 root=$dir/$release
	mount -t proc proc "$root/proc"
	mount --rbind --make-rslave /sys "$root/sys"
	mount -t tmpfs -o mode=755,nosuid dev "$root/dev"
	mkdir "$root/dev/pts" "$root/dev/shm"
	mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 devpts "$root/dev/pts"
	mount -t tmpfs -o mode=1777,nosuid,nodev shm "$root/dev/shm"
	# no kvm: whether it works here is another question
	for node in null:3 zero:5 full:7 random:8 urandom:9; do
		mknod -m 666 "$root/dev/${node%:*}" c 1 "${node#*:}"
	done
	mknod -m 666 "$root/dev/tty" c 5 0
	ln -s pts/ptmx "$root/dev/ptmx"
	ln -s /proc/self/fd "$root/dev/fd"
	for n in 0:stdin 1:stdout 2:stderr; do
		ln -s "fd/${n%:*}" "$root/dev/${n#*:}"
	done
	mkdir -p "$root/home/user/.cache/pip" "$root/home/user/.cache/ccache"
	mount --bind "$dir/debs/$release" "$root/var/cache/apt/archives"
	mount --bind "$dir/pip" "$root/home/user/.cache/pip"
	mount --bind "$dir/ccache" "$root/home/user/.cache/ccache"
	chroot "$root" chown user: /home/user/.cache
	# "$@" of the environment: where this host's pip looks, and by which proxy
	set -- CCACHE_DIR=/home/user/.cache/ccache PIP_CERT=/etc/ssl/certs/ca-certificates.crt
	for key in index-url trusted-host proxy; do
		value=$(python3 -m pip config get "global.$key" 2>/dev/null) || continue
		set -- "$@" "PIP_$(say "$key" | tr 'a-z-' 'A-Z_')=$value"
	done
	for name in http_proxy https_proxy no_proxy; do
		value=$(printenv "$name") && set -- "$@" "$name=$value"
	done
	# no `exec`: this shell is the first process of the namespace, whose end is everybody's, and
	# unshare's leash on it would be lost to sudo, which is set-user-ID
	chroot "$root" sudo --user=user --login env "$@" \
		make -C farm "$target" ${CELLS:+CELLS="$CELLS"}
}

# One step, in processes and mounts of its own: its name, its log, its duration.
step() {
	release=$1 name=$2
	shift 2
	log=$dir/logs/$release-$(say "$name" | tr ' ' -).log
	before=$(date +%s)
	result=passed
	# the leash holds whatever ends this script, and reaches all that is in the namespaces
	setpriv --pdeathsig KILL unshare --mount --mount-proc --pid --fork --kill-child \
		"$0" "$@" >"$log" 2>&1 </dev/null || result=FAILED
	printf '%-10s %-10s %-6s %5d s\n' "$release" "$name" "$result" $(($(date +%s) - before))
	[ "$result" = passed ] && return
	tail -n 25 "$log" | sed 's/^/    /'
	say "    all of it: $log"
	return 1
}

prove() {
	release=$1
	step "$release" release bare "$release" || return
	step "$release" machine machine "$release" || return
	for target in $targets; do
		step "$release" "make $target" inside "$release" "$target" || return
	done
	rm -rf --one-file-system "${dir:?}/$release"
}

# a step is a process of its own, as `set -e` holds in none that is asked for its result
case ${1:-} in
bare)
	bare "$2"
	exit
	;;
machine)
	machine "$2"
	exit
	;;
inside)
	inside "$2" "$3"
	exit
	;;
esac

[ "$(id -u)" = 0 ] || fail "needs root, to make machines and to enter them: sudo make hosts"
for tool in mmdebstrap unshare setpriv git; do
	command -v "$tool" >/dev/null || fail "$tool is missing: apt-get install mmdebstrap debian-archive-keyring util-linux"
done
mkdir -p "$dir/logs"
dir=$(cd "$dir" && pwd)
export HOSTS_DIR="$dir"
exec 9>"$dir/lock"
flock --nonblock 9 || fail "another one is at work in $dir"
[ -z "$(git -C "$checkout" status --porcelain)" ] || say "what is not committed is not proved"

status=0
[ $# -gt 0 ] || set -- bookworm trixie
for release; do
	prove "$release" || status=1
done
exit $status
