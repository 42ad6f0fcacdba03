# SPDX-License-Identifier: GPL-2.0
"""A guest of a kernel, where KVM may lie: nobody is blamed before TCG was tried."""

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

#: How long a kernel may take to be ready under a KVM that has booted none yet. One
#: that works takes a second; one that lies is silent for as long as one waits.
UNPROVED_SECONDS = 20.0


def start(stack: ExitStack, spec: vm.Spec, log: Callable[[], Path]) -> tuple[vm.Guest, str]:
    """A guest that is ready and lives until `stack` is closed; `log()` gives the file for its console.

    A kernel that does not come up under KVM is tried under TCG. If it comes up there,
    this host's KVM is distrusted from now on; the second value says why, and is empty
    otherwise. Raises as `vm.boot` does: BootFailed only where the kernel comes up under
    neither.
    """
    if spec.accel != "kvm":
        return stack.enter_context(vm.boot(spec, log())), ""
    known = accel.experience()
    proved = known is not None and known.works
    try:
        guest = stack.enter_context(vm.boot(spec, log(), vm.BOOT_SECONDS if proved else UNPROVED_SECONDS))
    except vm.QemuKilled:
        raise  # which says nothing of KVM
    except (BootFailed, FarmError) as failed:
        guest = stack.enter_context(vm.boot(replace(spec, accel="tcg"), log()))
        why = f"a kernel that boots under TCG did not under KVM: {failed}"
        accel.distrust(why, _written(spec))
        return guest, why
    if not proved:
        accel.trust("it ran a kernel", _written(spec))
    return guest, ""


def try_again() -> None:
    """Find out anew whether guests run under KVM, by the kernel that spoke for or against it last if
    that is still there; `accel.choose` knows the answer."""
    known = accel.experience()
    accel.forget()
    if known is None or not known.guest or accel.choose("auto").name != "kvm":
        return
    try:
        spec = _read(known.guest)
    except (KeyError, TypeError, ValueError):
        return  # another version of the farm has written it
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
