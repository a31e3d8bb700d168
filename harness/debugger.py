# SPDX-License-Identifier: GPL-2.0
"""What gdb is told of a VM: where to find it, and where kernel and modules have their symbols.

The guest knows that itself. It tells over a port of its own (guest/symbols), once it is up and
whenever it is asked to; a thread turns that into files that gdb's script reads.
"""

import shlex
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import jinja2
from elftools.elf.elffile import ELFFile

from harness.listener import listening
from harness.symbols import symbol_file

_TEMPLATE = Path(__file__).with_name("data") / "gdb.j2"
_PORT = "harness.symbols"
# Ends what the guest tells at a time.
_END = b"@end\n"


def gdb_line(folder: Path) -> str:
    """Return the command that attaches gdb to the VM whose files are in a folder."""
    return shlex.join(["gdb", "-x", str(folder / "script")])


@contextmanager
def debugging(folder: Path, *, vmlinux: Path, port: int) -> Iterator[tuple[str, ...]]:
    """Write gdb's files, and keep them up to date with what the guest tells.

    Args:
        folder: takes them; exists. `script` is the one to start from.
        vmlinux: the kernel that is booted.
        port: TCP port of this host on which QEMU is to serve gdb.

    Yields:
        QEMU's options.
    """
    whole = has_symbols(vmlinux)
    script = jinja2.Template(
        _TEMPLATE.read_text(), undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    (folder / "script").write_text(
        script.render(vmlinux=vmlinux, whole=whole, port=port, folder=folder)
    )
    _write(folder / "told", "echo The guest has told nothing yet.\\n\n")
    with listening(folder / "port") as listener:
        thread = threading.Thread(
            target=_listen, args=(listener, folder, whole), name="symbols", daemon=True
        )
        thread.start()
        try:
            yield (
                f"-gdb tcp:127.0.0.1:{port}",
                f"-chardev socket,id=symbols,path={folder / 'port'}",
                "-device virtio-serial-pci,id=symbols",
                f"-device virtserialport,bus=symbols.0,chardev=symbols,name={_PORT}",
            )
        finally:
            # Wakes accept(2) of a QEMU that never came.
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def has_symbols(vmlinux: Path) -> bool:
    """Tell whether an image has a symbol table, as one has that was built here."""
    with vmlinux.open("rb") as file:
        if file.read(4) != b"\x7fELF":
            return False
        return ELFFile(file).get_section_by_name(".symtab") is not None


def _listen(listener: socket.socket, folder: Path, whole: bool) -> None:
    # QEMU is killed, or never comes.
    with suppress(OSError):
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as stream:
            told: list[str] = []
            for line in stream:
                if line == _END:
                    take(told, folder, whole=whole)
                    told = []
                else:
                    told.append(line.decode(errors="replace").rstrip("\n"))


def take(told: list[str], folder: Path, *, whole: bool) -> None:
    """Write down what the guest has told: lines of kallsyms, and gdb commands for its modules.

    Args:
        told: the lines, without their ends.
        folder: of gdb's files.
        whole: the kernel's image has symbols itself.
    """
    commands = [line for line in told if line.startswith("add-symbol-file ")]
    kallsyms = folder / "kallsyms"
    if not whole:
        # No symbols, or such as no kernel has: gdb is not told of them, and of later ones it is.
        with suppress(ValueError, struct.error):
            # Told once: those of the kernel do not change.
            kallsyms.write_bytes(symbol_file(line for line in told if line not in commands))
        if kallsyms.exists():
            commands.insert(0, f"add-symbol-file {kallsyms}")
    _write(folder / "told", "".join(f"{command}\n" for command in commands))


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(text)
    temporary.replace(path)
