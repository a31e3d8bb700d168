# SPDX-License-Identifier: GPL-2.0
"""An interactive VM: what a check would boot, with its modules loaded and its tests at hand."""

import shutil
import socket
import sys
import termios
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import jinja2

from harness import runner
from harness.debugger import debugging, gdb_line
from harness.emulator import ONE_THREAD
from harness.errors import HarnessError
from harness.guestmodules import kernel_loads
from harness.guestroot import Load, Plan, SuiteRun, make_guest_root
from harness.place import Place
from harness.scratch import scratch_folder
from harness.vm import VmConfig, machine_argv

_DATA = Path(__file__).parent
_GUEST = ("guest/shell", "guest/symbols")
# su takes the shell from here.
_PASSWD = "root:x:0:0:root:/root:/harness/shell\n"


class ShellError(HarnessError):
    """There is nobody to talk to."""


def shell(place: Place, kernel_name: str, *, gdb: bool) -> None:
    """Boot a VM and leave it to the user until it ends.

    Args:
        place: where.
        kernel_name: as in `--kernel`.
        gdb: let QEMU serve gdb on a local port, and load the kernel where its symbols say.

    Raises:
        ShellError: the standard input is not a terminal.
        HarnessError: something cannot be had, does not compile, or does not start.
    """
    if not sys.stdin.isatty():
        raise ShellError(
            "a shell needs a terminal", hint="`harness check` is for scripts, ssh -t for hosts"
        )
    ready = runner.prepare(place, kernel_name)
    port = _free_port() if gdb else None
    config = VmConfig(
        kernel=ready.kernel,
        accelerator=ready.accelerator,
        cmdline=(*runner.cmdline(ready.kernel), *(("nokaslr",) if gdb else ())),
    )
    with scratch_folder() as scratch:
        root = scratch / "root"
        gdb_files = scratch / "gdb"
        gdb_files.mkdir()
        _fill(root, place, ready, None if port is None else gdb_files)
        for private in ("home", "tmp"):
            (scratch / private).mkdir()
        hermit = place.spawner.with_env(
            HOME=f"{scratch}/home", TMPDIR=f"{scratch}/tmp", TERM="linux"
        )
        with (
            _terminal(),
            nullcontext(())
            if port is None
            else debugging(gdb_files, vmlinux=ready.kernel.vmlinux, port=port) as served,
            hermit.spawn(
                _argv(config, root, served),
                stdin=sys.stdin.fileno(),
                stdout=sys.stdout.fileno(),
                stderr=sys.stderr.fileno(),
            ) as process,
        ):
            status = process.wait()
    if status != 0:
        raise ShellError(f"the VM ended with status {status}", hint="try `harness check` first")


def _argv(config: VmConfig, root: Path, served: Sequence[str]) -> tuple[str, ...]:
    """Return the command; nobody would repeat a boot that a bug of QEMU's ends (emulator.py)."""
    options = (*(() if config.accelerator.kvm else ONE_THREAD), *served)
    return (
        *machine_argv(config, root=root),
        *((f"--qemu-opts={' '.join(options)}",) if options else ()),
    )


def _fill(root: Path, place: Place, ready: runner.Ingredients, gdb: Path | None) -> None:
    """Make the guest's root, with our shell in it.

    Args:
        root: the folder to fill.
        place: where.
        ready: what is loaded and run there.
        gdb: the folder of gdb's files; None without gdb.
    """
    modules = (ready.driver.ko, *(one.ko for one in ready.helpers))
    suites = ready.selftests.suites
    wanted = dict.fromkeys(word for one in suites for word in one.kernel_modules)
    plan = Plan(
        nonce="0",
        loads=(
            *kernel_loads(ready.kernel, tuple(wanted), cache=place.cache),
            *(Load(ko=ko) for ko in modules),
        ),
        suites=tuple(SuiteRun(name=one.name, binary=one.binary) for one in suites),
    )
    tools = place.cache / "guest-tools"
    make_guest_root(root, kernel=ready.kernel, plan=plan, spawner=place.spawner, tools=tools)
    for name in _GUEST:
        shutil.copy(_DATA / name, root / "harness")
    (root / "etc/passwd").write_text(_PASSWD)
    if gdb is not None:
        (root / "harness/gdb").touch()
    lines = (f"{ko.stem.replace('-', '_')} {ko}\n" for ko in modules)
    (root / "harness/symbols.txt").write_text("".join(lines))
    words = jinja2.Template(
        (_DATA / "data/welcome.txt.j2").read_text(),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    ).render(
        release=ready.kernel.release,
        modules=[ko.stem for ko in modules],
        suites=[one.name for one in ready.selftests.suites],
        gdb="" if gdb is None else gdb_line(gdb),
    )
    (root / "harness/welcome").write_text(words)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@contextmanager
def _terminal() -> Iterator[None]:
    """Give the terminal back as it was: QEMU has it raw, and may be killed."""
    before = termios.tcgetattr(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
