# SPDX-License-Identifier: GPL-2.0
"""shell.py: a VM that a person types into."""

import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from harness.shell import gdb_line

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
    assert gdb_line(Path("/a b/vmlinux"), 1234) == (
        "gdb '/a b/vmlinux' -ex 'target remote 127.0.0.1:1234'"
    )


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
        child.expect(r"udmabuf_iov, .* loaded")
        child.expect(r"(gdb \S+ -ex 'target remote 127\.0\.0\.1:(\d+)')")
        match = child.match
        assert isinstance(match, re.Match)
        assert Path(shlex.split(match[1])[1]).is_file()
        child.expect("guest# ")
        child.sendline("ioctl -r device.numbers")
        child.expect(r"ok 1 device\.numbers\r+\n")
        child.expect("guest# ")
        child.sendline("symbols")
        child.expect(r"add-symbol-file (\S+)/udmabuf_iov\.ko 0x[0-9a-f]{16} -s \.data 0x")
        child.expect("guest# ")
        with socket.create_connection(("127.0.0.1", int(match[2])), timeout=PATIENCE) as server:
            # gdb's remote protocol: why has the target stopped?
            server.sendall(b"$?#3f")
            told = b""
            while not re.search(rb"\$[TS]05", told):
                more = server.recv(64)
                assert more, told
                told += more
            server.sendall(b"$D#44")
        child.sendline("exit")
        child.expect(pexpect.EOF)
    finally:
        child.close()
    assert child.exitstatus == 0
