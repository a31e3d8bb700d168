# SPDX-License-Identifier: GPL-2.0
"""The monitor of a QEMU that is fake, and the console of its kernel.

$FAKE_KERNEL says how the kernel takes a SysRq on its console: it "answers" (the default), is "late"
with it, namely until there is something in the pipe $FAKE_CUE, is "deaf" but for an NMI, or is
"dead".
"""

import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ANSWERS = {
    b"9": b"sysrq: Changing Loglevel\nsysrq: Loglevel set to 9\n",
    b"w": b"sysrq: Show Blocked State\ntask:stuck state:D\n",
    b"l": b"sysrq: Show backtrace of all active CPUs\nNMI backtrace for cpu 0\n",
    b"h": b"sysrq: HELP : loglevel(0-9)\n",
}
PANIC = b"Kernel panic - not syncing: NMI: Not continuing\n---[ end Kernel panic ]---\n"
KERNEL = os.environ.get("FAKE_KERNEL", "answers")


def option(expression: str, argv: list[str]) -> str | None:
    found = re.search(expression, "\0".join(argv))
    return found[1] if found else None


def connected(path: str) -> socket.socket:
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(path)
    return peer


def messages(peer: socket.socket) -> Iterator[dict[str, Any]]:
    """Take JSON objects from a stream; nothing stands between them."""
    text = ""
    while data := peer.recv(4096):
        text += data.decode()
        while text.strip():
            try:
                message, end = json.JSONDecoder().raw_decode(text)
            except json.JSONDecodeError:
                break
            text = text[end:].lstrip()
            yield message


class Monitor:
    """Obeys on a thread of its own; `loading` ends when the VM runs, or is to end (not `runs`)."""

    def __init__(self, argv: list[str], *, refuses: bool = False) -> None:
        path = option(r"id=qmp,path=([^, \0]+)", argv)
        assert path, argv
        self._peer = connected(path)
        self._refuses = refuses
        self._console: socket.socket | None = None
        self._negotiated = threading.Event()
        self.loading = threading.Event()
        self.runs = False
        threading.Thread(target=self._serve, daemon=True).start()

    def say_why(self, cause: str) -> None:
        """Send QEMU's last event."""
        self._negotiated.wait(10)
        self._event("SHUTDOWN", {"guest": cause.startswith("guest"), "reason": cause})

    def _event(self, name: str, data: dict[str, Any]) -> None:
        stamp = {"timestamp": {"seconds": 0, "microseconds": 0}}
        self._send({"event": name, "data": data} | stamp)

    def _send(self, message: dict[str, Any]) -> None:
        self._peer.sendall(json.dumps(message).encode() + b"\r\n")

    def _serve(self) -> None:
        try:
            self._send({"QMP": {"version": {}, "capabilities": []}})
            for message in messages(self._peer):
                answer = self._obey(message["execute"], message.get("arguments", {}))
                self._send(answer | ({"id": message["id"]} if "id" in message else {}))
                self._negotiated.set()
                if message["execute"] == "migrate":
                    self._event("MIGRATION", {"status": "completed"})
                if message["execute"] == "migrate-incoming":
                    self.loading.set()
                if message["execute"] == "quit":
                    break
        except OSError:
            # The harness has let go.
            pass
        self.loading.set()

    def _obey(self, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        uri = arguments.get("uri", "").removeprefix("exec:")
        if command == "migrate":
            subprocess.run(uri, shell=True, input=b"state", check=True)
        elif command == "migrate-incoming":
            if self._refuses:
                return {"error": {"class": "GenericError", "desc": "no such state"}}
            self.runs = subprocess.getoutput(uri) == "state"
        elif command == "chardev-change":
            self._console = connected(arguments["backend"]["data"]["addr"]["data"]["path"])
        elif command == "chardev-send-break" and KERNEL in ("answers", "late"):
            assert self._console
            threading.Thread(target=self._answer, args=(self._console,), daemon=True).start()
        elif command == "inject-nmi" and KERNEL != "dead":
            assert self._console
            self._console.sendall(PANIC)
        return {"return": {}}

    def _answer(self, console: socket.socket) -> None:
        key = console.recv(1)
        if KERNEL == "late" and key == b"9":
            with Path(os.environ["FAKE_CUE"]).open("rb") as cue:
                cue.read(1)
        console.sendall(ANSWERS.get(key, b""))


sys.dont_write_bytecode = True
