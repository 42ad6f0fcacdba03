#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# PID 1 of a guest: bring up what the farm needs, say so in the kernel's log,
# leave the rest to busybox's init. Everything said goes through /dev/kmsg, as
# the serial console is the kernel's alone.
export PATH=/sbin:/bin HOME=/root

fail() {
	echo "farm: init: $*" > /dev/kmsg
	exec poweroff -f
}

mount -t devtmpfs dev /dev
mount -t proc proc /proc || fail "no /proc"
mount -t sysfs sys /sys || fail "no /sys"
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
mount -t debugfs debug /sys/kernel/debug
mount -t tracefs trace /sys/kernel/tracing || fail "no tracefs"
exec > /dev/null 2>&1 < /dev/null
# only kernels that can be locked down have it
mount -t securityfs security /sys/kernel/security

hostname guest
ifconfig lo up
ifconfig eth0 10.0.2.15 netmask 255.255.255.0 || fail "no network device eth0"
if [ -e /payload/ftrace_target.ko ]; then
	insmod /payload/ftrace_target.ko || fail "the target module does not load"
fi
# -s: keys only. It returns once it listens.
dropbear -s -r /etc/dropbear/host_key || fail "dropbear does not start"
echo "farm: ready" > /dev/kmsg
exec init
