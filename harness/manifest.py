# SPDX-License-Identifier: GPL-2.0
"""What a run was made of: manifest.json, written before the first boot and after every VM's end.

A VM without an end belongs to a harness that was killed: whatever the results say, its end was not
seen, and it is judged as lost.
"""

import re
from dataclasses import dataclass, fields, replace
from pathlib import Path

from harness import jsonfile
from harness.results import VmEnd, VmExit, vm_document, vm_from

MANIFEST = "manifest.json"
# Raise it when the meaning or the form of manifest.json changes.
SCHEMA = 3

# Instead of a module's name: the udmabuf that the kernel has built in.
BUILTIN = "builtin"

_UNSEEN = VmEnd(exit=VmExit.LOST, detail="the harness did not live to see its end")


@dataclass(frozen=True, slots=True, kw_only=True)
class VmRun:
    """One VM of a run; its files are in the run folder's `vm-N`.

    Attributes:
        nonce: marks the frames of its results, 32 hex digits.
        planned: the ids of the tests that it was to run.
        cmdline: kernel parameters beside the harness's own.
        cpus: virtual CPUs.
        argv: the command that made it; empty before its end.
        end: how it ended; None before it has.
        notes: what the reader should know, such as a snapshot that could not be used.
    """

    nonce: str
    planned: tuple[str, ...]
    cmdline: tuple[str, ...] = ()
    cpus: int = 1
    argv: tuple[str, ...] = ()
    end: VmEnd | None = None
    notes: tuple[str, ...] = ()

    @property
    def seen_end(self) -> VmEnd:
        """How it ended; lost where nobody saw it."""
        return self.end or _UNSEEN


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What was run. Everything but the VMs' output that a verdict depends on is here.

    Attributes:
        kernel: what the user asked for ("6.12").
        release: the `uname -r` that is to come up.
        driver: the module under test ("udmabuf_iov"), or "builtin" for the kernel's own.
        package: Debian package and version of the kernel; None when it is not from Debian.
        kernel_sha256: hash of that package, or of the image.
        compiler: the C compiler that built the module.
        accelerator: "kvm" or "tcg".
        accelerator_why: the reason for it, one line.
        qemu: QEMU's version.
        vng: virtme-ng's version.
        host: the host's kernel and CPU, one line.
        started: start of the run, ISO 8601 with zone.
        expected: the ids of all tests, in the order to report them in.
        vms: the VMs, in the order they were started in.
        extra: further facts by name, for the reader (module hash, git revision).
    """

    kernel: str
    release: str
    driver: str
    package: str | None
    kernel_sha256: str
    compiler: str
    accelerator: str
    accelerator_why: str
    qemu: str
    vng: str
    host: str
    started: str
    expected: tuple[str, ...]
    vms: tuple[VmRun, ...] = ()
    extra: tuple[tuple[str, str], ...] = ()

    def with_vm(self, number: int, run: VmRun) -> "Manifest":
        """Return a manifest in which the VM of this number is this one."""
        vms = list(self.vms)
        vms[number - 1 : number] = [run]
        return replace(self, vms=tuple(vms))


def vm_folder(run: Path, number: int) -> Path:
    """Return where the files of a run's VM are; VMs count from 1."""
    return run / f"vm-{number}"


_TEXTS = tuple(field.name for field in fields(Manifest) if field.type is str)


def save_manifest(run: Path, manifest: Manifest) -> None:
    """Write manifest.json; raises HarnessError when it cannot (disk full)."""
    document: dict[str, object] = {"schema": SCHEMA}
    document |= {field.name: getattr(manifest, field.name) for field in fields(Manifest)}
    document["vms"] = [_vm_document(vm) for vm in manifest.vms]
    document["extra"] = dict(manifest.extra)
    jsonfile.write_text(run / MANIFEST, jsonfile.dump(document))


def _vm_document(vm: VmRun) -> dict[str, object]:
    document = {field.name: getattr(vm, field.name) for field in fields(VmRun)}
    document["end"] = None if vm.end is None else vm_document(vm.end)
    return document


def load_manifest(run: Path) -> Manifest:
    """Read manifest.json.

    Raises:
        DocumentError: there is none, or it is not whole; names file and key.
    """
    path = run / MANIFEST
    entry = jsonfile.Fields.parse(jsonfile.read_text(path), source=str(path), schema=SCHEMA)
    texts = {name: entry.text(name) for name in _TEXTS}
    manifest = Manifest(
        **texts,
        package=entry.text_or_none("package"),
        expected=entry.texts("expected"),
        vms=tuple(_vm(vm) for vm in entry.objects("vms")),
        extra=entry.pairs("extra"),
    )
    entry.end()
    return manifest


def _vm(entry: jsonfile.Fields) -> VmRun:
    vm = VmRun(
        nonce=entry.text("nonce"),
        planned=entry.texts("planned"),
        cmdline=entry.texts("cmdline"),
        cpus=entry.take("cpus", int, "a number of CPUs"),
        argv=entry.texts("argv"),
        end=None if (end := entry.nested_or_none("end")) is None else vm_from(end),
        notes=entry.texts("notes"),
    )
    if not re.fullmatch("[0-9a-f]{32}", vm.nonce):
        raise entry.error("nonce", "expected 32 hex digits")
    entry.end()
    return vm
