# SPDX-License-Identifier: GPL-2.0
"""shell.py: a VM that a person types into."""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from harness import debugger
from harness.debugger import debugging, gdb_line
from harness.symbols import symbol_file

ROOT = Path(__file__).parent.parent
# Seconds; generous, since a machine may be busy. Nothing waits this long when all is well.
PATIENCE = 300


def test_a_shell_needs_a_terminal() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "harness", "shell"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "needs a terminal" in done.stderr


def test_the_line_for_gdb() -> None:
    assert gdb_line(Path("/a b/gdb")) == "gdb -x '/a b/gdb/script'"


KALLSYMS = """\
0000000000000010 A per_cpu_start
ffffffff81000000 T _stext
ffffffff81000010 T do_exit
ffffffff81000100 t helper
ffffffff81001000 T _etext
ffffffff82000000 D _sdata
ffffffff82000010 d table
ffffffff82001000 D _edata
ffffffff83000000 T elsewhere
ffffffffc0000000 t uiov_open\t[udmabuf_iov]
"""


def gdb(*commands: str) -> str:
    words = (word for command in commands for word in ("-ex", command))
    return subprocess.run(
        ["gdb", "-batch", "-nx", *words], capture_output=True, text=True, check=False
    ).stdout


needs_gdb = pytest.mark.skipif(shutil.which("gdb") is None, reason="no gdb")


@needs_gdb
def test_gdb_reads_the_symbols_of_a_guest(tmp_path: Path) -> None:
    (tmp_path / "kallsyms").write_bytes(symbol_file(KALLSYMS.splitlines()))
    said = gdb(
        f"add-symbol-file {tmp_path}/kallsyms",
        "info symbol 0xffffffff81000014",
        "info symbol 0xffffffff81000100",
        "info symbol 0xffffffff82000011",
        "info address do_exit",
        "info address elsewhere",
        "info address uiov_open",
        "info address per_cpu_start",
    ).splitlines()[1:]
    assert said == [
        "do_exit + 4 in section .text",
        "helper in section .text",
        "table + 1 in section .data",
        'Symbol "do_exit" is at 0xffffffff81000010 in a file compiled without debugging.',
        'Symbol "elsewhere" is at 0xffffffff83000000 in a file compiled without debugging.',
    ]


def test_a_guest_that_hides_its_symbols() -> None:
    with pytest.raises(ValueError, match="read by root"):
        symbol_file(["0000000000000000 T _stext"])


MODULE = "add-symbol-file /work/udmabuf_iov.ko 0xffffffffc0000000"


@pytest.mark.parametrize("whole", [True, False])
def test_what_the_guest_tells_is_what_gdb_is_told(
    whole: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(debugger, "has_symbols", lambda vmlinux: whole)
    kernel = [] if whole else [f"add-symbol-file {tmp_path}/kallsyms"]
    with debugging(tmp_path, vmlinux=Path("/boot/vmlinux"), port=1234) as options:
        script = (tmp_path / "script").read_text()
        assert "nothing yet" in (tmp_path / "told").read_text()
        with socket.socket(socket.AF_UNIX) as guest:
            guest.connect(str(tmp_path / "port"))
            guest.sendall(f"{KALLSYMS}{MODULE} \n@end\n{MODULE}1\n@end\n{MODULE}2\n".encode())
    assert "-gdb tcp:127.0.0.1:1234" in options
    # The last that was told to its end, and the kernel that was told before.
    assert (tmp_path / "told").read_text().splitlines() == [*kernel, f"{MODULE}1"]
    assert ("no lines and no types" in script) is not whole
    assert script.index("file /boot/vmlinux") < script.index("target remote 127.0.0.1:1234")


@pytest.mark.parametrize("nonsense", ["nonsense T a", "f" * 17 + " T _stext", "0 T"])
def test_symbols_that_make_no_sense_are_no_end(nonsense: str, tmp_path: Path) -> None:
    """gdb is told of the modules all the same."""
    debugger.take([nonsense, MODULE], tmp_path, whole=False)
    assert (tmp_path / "told").read_text() == f"{MODULE}\n"


def test_a_guest_that_never_comes(tmp_path: Path) -> None:
    (tmp_path / "vmlinuz").write_bytes(b"MZ")
    with debugging(tmp_path, vmlinux=tmp_path / "vmlinuz", port=1):
        pass
    assert "nothing yet" in (tmp_path / "told").read_text()


@pytest.mark.vm
def test_a_session() -> None:
    child = pexpect.spawn(
        sys.executable,
        ["-m", "harness", "shell", "--gdb"],
        cwd=str(ROOT),
        env={**os.environ, "TERM": "dumb"},
        timeout=PATIENCE,
        encoding="utf-8",
        codec_errors="replace",
        dimensions=(24, 300),
    )
    try:
        dead = child.expect([r"udmabuf_iov, .* loaded", "end Kernel panic"])
        assert not dead, child.before
        child.expect(r"gdb -x (\S+)/script")
        match = child.match
        assert isinstance(match, re.Match)
        folder = Path(match[1])
        child.expect("guest# ")
        child.sendline("ioctl -r device.numbers")
        child.expect(r"ok 1 device\.numbers\r+\n")
        child.expect("guest# ")
        # What suites want of the kernel's own is there, too.
        child.sendline("grep -c ^vgem /proc/modules")
        child.expect(r"\n1\r+\n")
        child.expect("guest# ")
        child.sendline("symbols")
        child.expect(r"add-symbol-file (\S+)/udmabuf_iov\.ko 0x[0-9a-f]{16} -s \.data 0x")
        child.expect("guest# ")
        said = gdb(
            f"source {folder}/script",
            "info symbol do_sys_openat2",
            "info line uiov_ioctl",
            "print $rip > 0",
        )
        assert "no lines and no types" in said
        assert "do_sys_openat2 in section .text" in said
        assert re.search(r'Line \d+ of ".*main\.c" starts at address 0xffffffffc0', said), said
        assert "$1 = 1" in said
        child.sendline("exit")
        child.expect(pexpect.EOF)
    finally:
        child.close()
    assert child.exitstatus == 0
