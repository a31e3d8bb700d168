# SPDX-License-Identifier: GPL-2.0
"""A bzImage's header, and the ELF vmlinux that it holds compressed.

Fields and offsets: Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header".
"""

import lzma
import struct
import zlib
from pathlib import Path

from harness.errors import HarnessError
from harness.run import Spawner

_DECOMPRESS_DEADLINE = 120.0
# Protocol 2.08 (Linux 2.6.26) brought payload_offset and payload_length.
_MIN_PROTOCOL = 0x0208


class BzImageError(HarnessError):
    """The file is not an x86 kernel image that this code understands."""


def kernel_release(image: Path) -> str:
    """Return the release that a bzImage will report as `uname -r`.

    Raises:
        BzImageError: not a bzImage.
    """
    data = _read(image)
    (pointer,) = struct.unpack_from("<H", data, 0x20E)
    text = data[pointer + 0x200 :].split(b"\0", 1)[0]
    words = text.decode("ascii", "replace").split()
    if pointer == 0 or not words:
        raise BzImageError(f"{image}: its header names no release")
    return words[0]


def extract_vmlinux(image: Path, target: Path, *, spawner: Spawner) -> None:
    """Write the uncompressed kernel of a bzImage to `target`.

    Args:
        spawner: runs zstd or lz4, which Python 3.11 does not have.

    Raises:
        BzImageError: unknown compression, damage, or no ELF file inside.
    """
    data = _read(image)
    setup_sectors = data[0x1F1] or 4
    offset, length = struct.unpack_from("<II", data, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    payload = data[start : start + length]
    if len(payload) != length or length < 8:
        raise BzImageError(f"{image}: truncated")
    # The build appends the size of what was compressed (size_append in scripts/Makefile.lib).
    (size,) = struct.unpack_from("<I", payload, length - 4)
    vmlinux = _decompress(image, payload, target, spawner)
    if len(vmlinux) != size or not vmlinux.startswith(b"\x7fELF"):
        raise BzImageError(f"{image}: what it holds is not a vmlinux of {size} bytes")
    target.write_bytes(vmlinux)


def _read(image: Path) -> bytes:
    try:
        data = image.read_bytes()
    except OSError as error:
        raise BzImageError(f"{image}: {error.strerror}") from error
    if len(data) < 0x1000 or data[0x202:0x206] != b"HdrS":
        raise BzImageError(f"{image}: not an x86 kernel image (bzImage)")
    if struct.unpack_from("<H", data, 0x206)[0] < _MIN_PROTOCOL:
        raise BzImageError(f"{image}: boot protocol older than 2.08")
    return data


def _decompress(image: Path, payload: bytes, target: Path, spawner: Spawner) -> bytes:
    try:
        if payload.startswith(b"\x1f\x8b"):
            return zlib.decompressobj(wbits=31).decompress(payload)
        if payload.startswith(b"\xfd7zXZ\0"):
            return lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(payload)
        if payload.startswith(b"\x5d\0\0"):
            return lzma.LZMADecompressor(lzma.FORMAT_ALONE).decompress(payload)
    except (zlib.error, lzma.LZMAError) as error:
        raise BzImageError(f"{image}: damaged: {error}") from error
    for magic, program in ((b"\x28\xb5\x2f\xfd", "zstd"), (b"\x02\x21\x4c\x18", "lz4")):
        if payload.startswith(magic):
            return _decompress_with(program, image, payload[:-4], target, spawner)
    raise BzImageError(f"{image}: unknown compression (magic {payload[:6].hex()})")


def _decompress_with(
    program: str, image: Path, payload: bytes, target: Path, spawner: Spawner
) -> bytes:
    """Decompress with a program, through files beside the target."""
    if spawner.which(program) is None:
        raise BzImageError(
            f"{program} not found: the kernel in {image} is compressed with it",
            hint=f"apt-get install {program}",
        )
    packed, unpacked = target.with_suffix(".packed"), target.with_suffix(".unpacked")
    try:
        packed.write_bytes(payload)
        # zstd names its output with -o, lz4 has it as second operand.
        output = ("-o", unpacked) if program == "zstd" else (unpacked,)
        spawner.run((program, "-d", "-q", "-f", packed, *output), deadline=_DECOMPRESS_DEADLINE)
        return unpacked.read_bytes()
    finally:
        packed.unlink(missing_ok=True)
        unpacked.unlink(missing_ok=True)
