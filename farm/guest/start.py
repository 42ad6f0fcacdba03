# SPDX-License-Identifier: GPL-2.0
"""Starts a guest on a host whose KVM may be broken: no kernel is blamed before TCG was tried."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from farm.artifact import exists, parse
from farm.base import cache
from farm.base.errors import BootFailed, FarmError
from farm.guest import accel, vm
from farm.guest.image import Image
from farm.matrix import Machine

#: How long a kernel may take to be ready under a KVM that has not booted one yet. With a
#: working KVM it takes a second; with a broken one it stays silent forever.
UNPROVED_SECONDS = 20.0


def start(stack: ExitStack, spec: vm.Spec, log: Callable[[], Path]) -> tuple[vm.Guest, str]:
    """A guest that is ready and lives until `stack` is closed. `log()` gives the file for its console.

    A kernel that does not boot under KVM is tried under TCG. If it boots there, this host's
    KVM is distrusted from now on, and the second value says why; otherwise that is empty.
    Raises what `vm.boot` raises: BootFailed only if the kernel boots under neither.
    """
    if spec.accel != "kvm":
        return stack.enter_context(vm.boot(spec, log())), ""
    known = accel.experience()
    proved = known is not None and known.works
    try:
        guest = stack.enter_context(vm.boot(spec, log(), vm.BOOT_SECONDS if proved else UNPROVED_SECONDS))
    except vm.QemuKilled:
        raise  # this says nothing about KVM
    except (BootFailed, FarmError) as failed:
        guest = stack.enter_context(vm.boot(replace(spec, accel="tcg"), log()))
        why = f"a kernel that boots under TCG did not under KVM: {failed}"
        accel.distrust(why, _written(spec))
        return guest, why
    if not proved:
        accel.trust("it ran a kernel", _written(spec))
    return guest, ""


def try_again() -> None:
    """Find out again whether guests run under KVM, with the last kernel that was tried under it, if that
    is still in the cache. After this, `accel.choose` knows the answer."""
    known = accel.experience()
    accel.forget()
    if known is None or not known.guest or accel.choose("auto").name != "kvm":
        return
    try:
        spec = _read(known.guest)
    except (KeyError, TypeError, ValueError):
        return  # another version of the farm wrote it
    if not all(map(exists, (spec.kernel, spec.image.ref, spec.image.key_pair))):
        return
    try:
        with cache.scratch("consoles") as directory, vm.boot(spec, directory / "console.log", UNPROVED_SECONDS):
            accel.trust("it ran a kernel", known.guest)
    except (BootFailed, FarmError) as failed:
        accel.distrust(f"a kernel did not boot: {failed}", known.guest)


def _written(spec: vm.Spec) -> dict[str, Any]:
    refs = {"kernel": spec.kernel, "image": spec.image.ref, "keys": spec.image.key_pair}
    return {"arch": spec.arch, **{name: str(ref) for name, ref in refs.items()}, "machine": asdict(spec.machine)}


def _read(guest: dict[str, Any]) -> vm.Spec:
    kernel, image, keys = (parse(guest[name]) for name in ("kernel", "image", "keys"))
    return vm.Spec(guest["arch"], kernel, Image(image, keys), Machine(**guest["machine"]), "kvm")
