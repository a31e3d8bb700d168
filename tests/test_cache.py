# SPDX-License-Identifier: GPL-2.0
"""The cache's two promises: an entry is whole or not there, and one run at a time makes it."""

import errno
import os
import threading
from pathlib import Path

import pytest

from harness.cache import CacheError, cache_errors, check_folder, locked, making, remove_tree
from harness.run import Spawner


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_entry_appears_whole(tmp_path: Path) -> None:
    with making(tmp_path / "a" / "entry") as temp:
        (temp / "file").write_text("x")
        assert not (tmp_path / "a" / "entry").exists()
    assert names(tmp_path / "a") == ["entry"]
    assert (tmp_path / "a" / "entry" / "file").read_text() == "x"


def test_an_entry_is_replaced(tmp_path: Path) -> None:
    for text in ("old", "new"):
        with making(tmp_path / "entry") as temp:
            (temp / text).write_text("")
    assert names(tmp_path / "entry") == ["new"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_nothing_is_left_when_it_goes_wrong(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), making(tmp_path / "entry") as temp:
        (temp / "file").write_text("x")
        raise error
    assert names(tmp_path) == []


def test_what_a_killed_run_left_goes_and_what_another_makes_stays(tmp_path: Path) -> None:
    for name in (".making-entry@1", ".making-entry-two@1"):
        (tmp_path / name).mkdir()
    with making(tmp_path / "entry"):
        pass
    assert names(tmp_path) == [".making-entry-two@1", "entry"]


def test_the_lock_is_exclusive_and_tells_who_waits(tmp_path: Path) -> None:
    order: list[str] = []
    waits = threading.Event()

    def second() -> None:
        with locked(tmp_path / "entry", waiting=waits.set):
            order.append("second")

    with locked(tmp_path / "entry"):
        thread = threading.Thread(target=second)
        thread.start()
        assert waits.wait(30)
        order.append("first")
    thread.join(30)
    assert order == ["first", "second"]


def test_the_lock_is_free_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), locked(tmp_path / "entry"):
        raise KeyboardInterrupt
    with locked(tmp_path / "entry", waiting=lambda: pytest.fail("still locked")):
        pass


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_by_our_own_writes(tmp_path: Path, number: int) -> None:
    with pytest.raises(CacheError, match="no space left"), cache_errors(tmp_path):
        raise OSError(number, os.strerror(number))


def test_a_full_disk_is_told_by_a_commands_words(tmp_path: Path) -> None:
    spawner = Spawner(env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"})
    script = "dd if=/dev/zero of=/dev/full bs=1 count=1"
    with pytest.raises(CacheError, match="no space left"), cache_errors(tmp_path):
        spawner.run(["sh", "-c", script], deadline=30)


def test_other_errors_pass(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), cache_errors(tmp_path):
        (tmp_path / "none").read_text()


def test_folders_without_write_permission_are_removed_too(tmp_path: Path) -> None:
    inner = tmp_path / "tree" / "inner"
    inner.mkdir(parents=True)
    (inner / "file").write_text("")
    inner.chmod(0o500)
    remove_tree(tmp_path / "tree")
    remove_tree(tmp_path / "tree")
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["a b", "a:b", "a$b", "a'b", 'a"b', "a#b", "a%b", "a\nb"])
def test_folders_that_make_cannot_take(tmp_path: Path, name: str) -> None:
    with pytest.raises(CacheError, match="kernel builds do not work"):
        check_folder(tmp_path / name)
    assert check_folder(tmp_path / "a+b~c_d-1.2") == tmp_path / "a+b~c_d-1.2"
