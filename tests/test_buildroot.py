# SPDX-License-Identifier: GPL-2.0
"""Build roots: made once and whole, and commands see the host's folders in them."""

import os
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from harness.buildroot import BuildRoot, BuildRootError, open_buildroot
from harness.matrix import BuildRootSpec, load_matrix
from harness.progress import Progress
from harness.run import Spawner

MATRIX = Path(__file__).parents[1] / "kconfigs" / "matrix.toml"
SPEC = BuildRootSpec(suite="x", mirror="http://x", compiler="gcc-14", packages=("make", "kmod"))

# Stands for mmdebstrap: notes its arguments, writes the archive that a root is unpacked from.
FAKE = """\
#!/bin/sh
echo "$@" >>"$0.args"
for argument; do case $argument in */root.tar) archive=$argument ;; esac; done
cd "$0.root" && tar -cf "$archive" .
"""


@pytest.fixture
def spawner(tmp_path: Path) -> Spawner:
    return Spawner(env={"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "HOME": str(tmp_path)})


def fake(tmp_path: Path, text: str) -> Path:
    program = tmp_path / "bin" / "mmdebstrap"
    (tmp_path / "bin/mmdebstrap.root/dev").mkdir(parents=True)
    (tmp_path / "bin/mmdebstrap.root/dev/node").write_text("")
    (tmp_path / "bin/mmdebstrap.root/usr").mkdir()
    program.write_text(text)
    program.chmod(0o755)
    return program


def opened(tmp_path: Path, spawner: Spawner) -> BuildRoot:
    progress = Progress(Console(quiet=True))
    return open_buildroot(SPEC, cache=tmp_path / "cache", spawner=spawner, progress=progress)


def test_made_once_and_without_devices(tmp_path: Path, spawner: Spawner) -> None:
    program = fake(tmp_path, FAKE)
    root = opened(tmp_path, spawner)
    assert sorted(path.name for path in root.path.iterdir()) == ["dev", "usr"]
    assert list((root.path / "dev").iterdir()) == []
    assert opened(tmp_path, spawner) == root
    (call,) = program.with_name("mmdebstrap.args").read_text().splitlines()
    assert "--include=gcc-14,make,kmod" in call
    assert "--keyring=/usr/share/keyrings/debian-archive-keyring.gpg" in call
    assert call.endswith(" http://x")


def test_a_failure_leaves_nothing_and_says_what_would_do(tmp_path: Path, spawner: Spawner) -> None:
    fake(tmp_path, "#!/bin/sh\necho 'I: running'\necho 'E: no such suite' >&2\nexit 1\n")
    with pytest.raises(BuildRootError, match="mmdebstrap x: no such suite") as caught:
        opened(tmp_path, spawner)
    assert "install gcc-14" in (caught.value.hint or "")
    assert [path.suffix for path in (tmp_path / "cache/roots").iterdir()] == [".lock"]


def test_other_packages_are_another_root(tmp_path: Path, spawner: Spawner) -> None:
    fake(tmp_path, FAKE)
    first = opened(tmp_path, spawner)
    progress = Progress(Console(quiet=True))
    more = BuildRootSpec(suite="x", mirror="http://x", compiler="gcc-14", packages=("make",))
    second = open_buildroot(more, cache=tmp_path / "cache", spawner=spawner, progress=progress)
    assert first.path != second.path


def busybox_root(tmp_path: Path, spawner: Spawner) -> BuildRoot:
    """A root small enough to make in a test: what runs in it is a static busybox."""
    busybox = spawner.which("busybox")
    if busybox is None:
        pytest.skip("no busybox on this host")
    userns = ("unshare", "--user", "--map-root-user", "true")
    if os.geteuid() != 0 and spawner.run(userns, deadline=60, check=False).status != 0:
        pytest.skip("neither root nor user namespaces")
    path = tmp_path / "root"
    for folder in ("bin", "usr/bin", "proc", "dev"):
        (path / folder).mkdir(parents=True)
    shutil.copy(busybox, path / "bin/sh")
    shutil.copy(busybox, path / "usr/bin/env")
    return BuildRoot(path=path, spec=SPEC)


def test_commands_see_the_shown_folders_and_nothing_stays_mounted(
    tmp_path: Path, spawner: Spawner
) -> None:
    root = busybox_root(tmp_path, spawner)
    shown = tmp_path / "shown"
    shown.mkdir()
    (shown / "in").write_text("from the host")
    script = 'cat "$0/in" && echo made >"$0/out" && test -e /proc/self/exe && test -c /dev/null'
    script += " && test ! -e /etc && env"
    argv = root.command(("/bin/sh", "-c", script, str(shown)), visible=(shown,))
    completed = spawner.run(argv, deadline=60)
    assert completed.output.startswith("from the host")
    assert str(tmp_path / "bin") not in completed.output, "the host's PATH stays outside"
    assert (shown / "out").read_text() == "made\n"
    assert str(tmp_path) not in Path("/proc/mounts").read_text()


def test_an_ordinary_users_path_will_do(tmp_path: Path, spawner: Spawner) -> None:
    root = busybox_root(tmp_path, spawner)
    argv = root.command(("/bin/sh", "-c", "exit 0"), visible=())
    spawner.with_env(PATH="/usr/bin:/bin").run(argv, deadline=60)


def test_the_status_of_a_command_comes_through(tmp_path: Path, spawner: Spawner) -> None:
    root = busybox_root(tmp_path, spawner)
    argv = root.command(("/bin/sh", "-c", "exit 7"), visible=())
    assert spawner.run(argv, deadline=60, check=False).status == 7


@pytest.mark.parametrize("name", ["5.10", "6.1", "6.12", "7.2", "7.3"])
def test_every_series_has_a_root_with_a_compiler(name: str) -> None:
    for suite in load_matrix(MATRIX).find(name).suites:
        assert suite.buildroot.compiler.startswith("gcc-")
        assert {"make", "kmod"} <= set(suite.buildroot.packages)
