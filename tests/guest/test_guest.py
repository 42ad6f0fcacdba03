# SPDX-License-Identifier: GPL-2.0
"""Guests that behave, guests that do not, and farms that die: on real machines."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from pathlib import Path

import paramiko
import pytest

from farm import artifact
from farm.arch.x86_64 import X86_64
from farm.artifact import Ref, locate
from farm.base import cache
from farm.base.deadline import Deadline
from farm.base.errors import BootFailed, FarmError, GuestCrashed, GuestHung, KernelError
from farm.guest import splat, ssh, vm
from farm.guest.agent import Agent, Refused
from farm.guest.ssh import Finished
from farm.kernel import builder
from farm.matrix import MATRIX, choose, load
from farm.worker.spec import guest_spec

Boot = Callable[..., AbstractContextManager[vm.Guest]]


@pytest.fixture(scope="session")
def spec() -> vm.Spec:
    """A guest of the first cell, its kernel from the cache or built now."""
    (cell,) = choose(load(), ["x86_64-regs"])
    process = builder.start(builder.Order([cell.name], None, None, str(MATRIX)))
    built = [event.built for event in builder.events(process) if event.built]
    assert process.wait() == 0
    assert built
    return guest_spec(cell, built[0], "tcg")


@pytest.fixture
def boot(spec: vm.Spec, tmp_path: Path) -> Boot:
    def start(cmdline: str = "", limit: float = vm.BOOT_SECONDS) -> AbstractContextManager[vm.Guest]:
        return vm.boot(replace(spec, cmdline=cmdline), tmp_path / "console.log", limit)

    return start


def test_commands_files_and_status(boot: Boot, tmp_path: Path) -> None:
    content = tmp_path / "content"
    content.write_bytes(bytes(range(256)) * 300)
    with boot() as guest:
        limit = guest.deadline(20)
        assert guest.connection.run("uname -s; echo oops >&2; exit 7", limit) == Finished(7, "Linux\n", "oops\n")
        guest.connection.put(content, "/tmp/a file", limit)
        assert guest.connection.run("wc -c < '/tmp/a file'", limit).stdout.strip() == "76800"
        with pytest.raises(GuestHung, match="sleep 60"):
            guest.connection.run("sleep 60", Deadline(1))


def test_guest_takes_no_more_than_promised(spec: vm.Spec) -> None:
    assert spec.machine.memory <= 256


def test_two_guests_at_once(spec: vm.Spec, tmp_path: Path) -> None:
    with vm.boot(spec, tmp_path / "a.log") as first, vm.boot(spec, tmp_path / "b.log") as second:
        for name, guest in (("first", first), ("second", second)):
            guest.connection.run(f"hostname {name}", guest.deadline(20))
        assert first.connection.run("hostname", first.deadline(20)).stdout == "first\n"


def test_agent_answers_and_forgets(boot: Boot) -> None:
    with boot() as guest:
        with guest.agent() as agent:
            map_free = {"type": 5, "insns": "b7000000000000009500000000000000", "license": "GPL"}
            fd = agent.request("prog_load", **map_free)["fd"]
            assert agent.request("prog_info", fd=fd)["type"] == 5
            with pytest.raises(FarmError, match="no_such_op"):
                agent.request("no_such_op")
        with guest.agent() as agent, pytest.raises(Refused) as refused:
            agent.request("prog_info", fd=fd)
        assert refused.value.name == "EBADFD"  # as bpf(2) says it


def test_panic_at_boot(boot: Boot) -> None:
    with pytest.raises(BootFailed, match="Attempted to kill init"), boot("rdinit=/bin/false"):
        pass


def test_boot_that_init_gives_up(boot: Boot) -> None:
    """Its reason, and at once: by itself such a guest does not end."""
    with (
        pytest.raises(BootFailed, match="ended before it was ready: farm: init: no network device eth0"),
        boot("initcall_blacklist=virtio_net_driver_init"),
    ):
        pass


def test_hang_at_boot(boot: Boot) -> None:
    with pytest.raises(BootFailed, match="was not ready within 12 s"), boot("rdinit=/bin/cat", limit=12):
        pass


def test_no_console(boot: Boot) -> None:
    with pytest.raises(BootFailed, match="its console stayed silent"), boot("8250.nr_uarts=0", limit=12):
        pass


def test_qemu_that_is_killed_is_no_crash(boot: Boot) -> None:
    """As by a host that is short of memory: what it ran is not to blame."""
    with boot() as guest:
        os.kill(guest.process, signal.SIGKILL)
        with pytest.raises(KernelError) as lost:
            guest.mark()
        told = guest.explain(lost.value)
        assert isinstance(told, vm.QemuKilled)
        assert str(told).startswith("QEMU was killed by signal 9")


def test_qemu_that_is_killed_at_boot_is_no_boot_failure(boot: Boot, tmp_path: Path) -> None:
    """A kernel that was not let boot is not to blame."""

    def kill() -> None:
        """The guest of this process, when its kernel has said something."""
        log = tmp_path / "console.log"
        assert any(log.exists() and log.stat().st_size for _ in Deadline(60).poll())
        for children in Path("/proc/self/task").glob("*/children"):
            for pid in children.read_text().split():
                if Path(f"/proc/{pid}/cmdline").read_text().startswith(X86_64.qemu):
                    os.kill(int(pid), signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    with pytest.raises(vm.QemuKilled, match="QEMU was killed by signal 9"), boot("rdinit=/bin/cat"):
        pass
    thread.join()


def test_no_kernel(spec: vm.Spec, tmp_path: Path) -> None:
    missing = replace(spec, kernel=Ref("kernels", "0123"))
    with pytest.raises(FarmError, match="has no kernels/0123"), vm.boot(missing, tmp_path / "console.log"):
        pass


def test_no_image_of_a_kernel(spec: vm.Spec, tmp_path: Path) -> None:
    def fill(directory: Path) -> None:
        (directory / X86_64.image_name).write_bytes(b"not a kernel at all" * 1000)

    bad = artifact.make("kernels", cache.digest("not a kernel"), fill)
    with pytest.raises(FarmError, match="QEMU did not start"), vm.boot(replace(spec, kernel=bad), tmp_path / "log"):
        pass


@pytest.fixture(scope="module")
def guest(spec: vm.Spec, tmp_path_factory: pytest.TempPathFactory) -> Iterator[vm.Guest]:
    """One for the tests that do a guest no harm."""
    with vm.boot(spec, tmp_path_factory.mktemp("guest") / "console.log") as machine:
        yield machine


@pytest.fixture
def hot(spec: vm.Spec) -> int:
    """The address of a function that every request to the agent comes through."""
    lines = (locate(spec.kernel) / "System.map").read_text().splitlines()
    (address,) = [int(line.split()[0], 16) for line in lines if line.endswith(" T ksys_read")]
    return address


def test_debugger_stops_where_it_was_told(guest: vm.Guest, hot: int) -> None:
    with guest.agent() as agent:
        with guest.debugger() as debugger:
            debugger.insert(hot)
            agent.send("hello")
            debugger.go()
            assert debugger.wait(guest.deadline(20), agent)
            found = debugger.registers()
            assert found["rip"] == debugger.pc() == hot
            debugger.write(found["rsp"] - 64, b"\x42" * 8)
            assert debugger.read_u64(found["rsp"] - 64) == 0x4242424242424242
            debugger.remove(hot)
            debugger.step()
            assert debugger.pc() != hot
            debugger.set_register("r11", 0x43)
            assert debugger.registers()["r11"] == 0x43
            debugger.go()
            assert not debugger.wait(guest.deadline(20), agent), "the answer comes before another stop"
        assert agent.receive()["ok"]


@pytest.mark.parametrize("leave", ["standing", "stopped", "running", "thrown out"])
def test_debugger_lets_go_on_every_path(guest: vm.Guest, hot: int, leave: str) -> None:
    with guest.agent() as agent:
        with suppress(ZeroDivisionError), guest.debugger() as debugger:
            debugger.insert(hot)
            agent.send("hello")
            if leave != "standing":
                debugger.go()
            if leave in ("stopped", "thrown out"):
                assert debugger.wait(guest.deadline(20))
            if leave == "thrown out":
                raise ZeroDivisionError
        assert agent.receive()["ok"]
        assert agent.request("hello")["ok"]


def test_no_breakpoint_is_a_hang(guest: vm.Guest) -> None:
    with guest.debugger() as debugger:
        debugger.go()
        with pytest.raises(GuestHung, match="came to no breakpoint within 1 s"):
            debugger.wait(Deadline(1))
    assert guest.control.request("hello")["ok"]


def test_guest_that_ends_under_the_debugger(boot: Boot) -> None:
    with boot() as guest, guest.agent() as agent, suppress(GuestCrashed), guest.debugger() as debugger:
        agent.send("file_write", path="/proc/sysrq-trigger", data="c")
        debugger.go()
        with pytest.raises(GuestCrashed) as raised:
            debugger.wait(guest.deadline(20))
        assert "sysrq triggered crash" in str(guest.explain(raised.value))


def _crash(guest: vm.Guest, agent: Agent) -> None:
    agent.request("file_write", path="/proc/sysrq-trigger", data="c")


def _stop(guest: vm.Guest, agent: Agent) -> None:
    guest.monitor.execute("stop")
    agent.request("hello")


def _quit(guest: vm.Guest, agent: Agent) -> None:
    with suppress(FarmError):  # the answer may or may not come through
        guest.monitor.execute("quit")
    agent.request("hello")


def _kill_agent(guest: vm.Guest, agent: Agent) -> None:
    guest.connection.run(f"kill -9 {agent.request('hello')['pid']}", guest.deadline(20))
    agent.request("hello")


@pytest.mark.parametrize(
    "harm, error, words",
    [
        (_crash, GuestCrashed, "sysrq triggered crash"),
        (_stop, GuestHung, "no answer to `hello`"),
        (_quit, GuestCrashed, "hello"),
        (_kill_agent, GuestCrashed, "the agent ended"),
    ],
)
def test_harm(boot: Boot, harm: Callable[[vm.Guest, Agent], None], error: type[Exception], words: str) -> None:
    with boot() as guest:
        agent = Agent(guest.connection, guest.arch.name, 5.0)
        with pytest.raises((GuestCrashed, GuestHung)) as raised:
            harm(guest, agent)
        told = guest.explain(raised.value)
        assert isinstance(told, error), repr(told)
        assert words in str(told)


def test_command_that_never_starts(boot: Boot) -> None:
    """paramiko has no limit of its own for the answer to this request."""
    with boot() as guest:
        transport = guest.connection._client.get_transport()
        assert transport
        channel = transport.open_session(timeout=20)
        guest.monitor.execute("stop")
        with pytest.raises(paramiko.SSHException):
            ssh.start(channel, "true", Deadline(1))


def test_kernel_that_complained_is_not_waited_for(boot: Boot) -> None:
    """What was asked of it may be allowed minutes; a task that died in the middle never answers."""
    limit = 60.0
    with boot() as guest:
        agent = Agent(guest.connection, guest.arch.name, limit, lambda: bool(guest.console.complaint), last=1.0)
        guest.control.request("file_write", path="/dev/kmsg", data="Oops: 0000 [#1] SMP\n")
        guest.mark()
        guest.monitor.execute("stop")
        began = time.monotonic()
        with pytest.raises(GuestHung, match="no answer to `hello` 1 s after the kernel complained") as raised:
            agent.request("hello")
        assert time.monotonic() - began < limit / 2
        guest.monitor.execute("cont")
        assert isinstance(guest.explain(raised.value), GuestCrashed)


def test_session_ends_with_its_first_lost_answer(boot: Boot) -> None:
    """Its answer comes after all, and is not taken for that of the next request."""
    with boot() as guest, guest.agent() as agent:
        guest.monitor.execute("stop")
        agent.limit = 1
        with pytest.raises(GuestHung, match="no answer to `hello` within 1 s"):
            agent.request("hello")
        guest.monitor.execute("cont")
        agent.limit = 20
        with pytest.raises(GuestHung, match="no request is made after `hello`"):
            agent.request("file_read", path="/proc/version")
        with guest.agent() as another:
            assert "Linux" in another.request("file_read", path="/proc/version")["data"]


def test_marks_enclose_what_the_kernel_says(boot: Boot) -> None:
    with boot() as guest, guest.agent() as agent:
        start = guest.mark()
        agent.request("file_write", path="/dev/kmsg", data="WARNING: CPU: 0 PID: 1 at nowhere.c:1 f+0x1/0x2\n")
        middle = guest.mark()
        end = guest.mark()
        assert [found.kind for found in splat.find(guest.console.text(start, middle))] == ["WARN"]
        assert splat.find(guest.console.text(middle, end)) == []


def test_dead_console_is_no_clean_log(boot: Boot) -> None:
    with boot() as guest:
        guest.mark()
        guest.monitor.execute("stop")
        with pytest.raises(GuestHung):
            guest.console.wait_mark(99, Deadline(1))


def test_guest_dies_with_a_killed_farm(spec: vm.Spec, tmp_path: Path) -> None:
    code = f"""
        import subprocess, sys
        from pathlib import Path
        from farm.artifact import Ref
        from farm.guest.image import Image
        from farm.guest import vm
        from farm.matrix import Machine
        spec = vm.{spec!r}
        with vm.boot(spec, Path({str(tmp_path / "console.log")!r})):
            print("up", flush=True)
            sys.stdin.read()
    """
    argv = [sys.executable, "-c", textwrap.dedent(code)]
    farm = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert farm.stdout
    assert farm.stdout.readline() == "up\n"
    children = Path(f"/proc/{farm.pid}/task/{farm.pid}/children").read_text().split()
    assert len(children) == 1, f"the guest and nothing else: {children}"
    assert "qemu" in Path(f"/proc/{children[0]}/cmdline").read_text()
    os.kill(farm.pid, signal.SIGKILL)
    farm.wait()
    for _ in Deadline(10).poll():
        if not Path(f"/proc/{children[0]}").exists():
            return
    pytest.fail("QEMU outlived the farm that started it")
