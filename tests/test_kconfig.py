# SPDX-License-Identifier: GPL-2.0
"""Options that fragments ask for: read strictly, and none is lost in silence."""

from pathlib import Path

import pytest

from harness.kconfig import (
    FragmentError,
    LostOptionError,
    check_config,
    parse_kconfig,
    read_fragments,
    wanted,
)
from harness.matrix import load_matrix
from tests.fakekernel import KCONFIG, make_tree

REAL = Path(__file__).parents[1] / "kconfigs"


def fragment(folder: Path, text: str, name: str = "one.config") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_what_a_fragment_asks_for(tmp_path: Path) -> None:
    text = 'CONFIG_A=y\n# a comment\n# CONFIG_B is not set\nCONFIG_C="x y"\n'
    found = read_fragments([fragment(tmp_path, text)])
    assert [(one.option, one.value, one.line) for one in found] == [
        ("CONFIG_A", "y", 1),
        ("CONFIG_B", "n", 3),
        ("CONFIG_C", '"x y"', 4),
    ]
    assert [one.text for one in found] == ["CONFIG_A=y", "# CONFIG_B is not set", 'CONFIG_C="x y"']


@pytest.mark.parametrize("line", ["CONFIG_A", "KASAN=y", "CONFIG_A =y", "CONFIG_A=", "config A"])
def test_a_line_that_is_no_option_is_named(tmp_path: Path, line: str) -> None:
    with pytest.raises(FragmentError, match=r"one\.config:2: expected CONFIG_NAME=VALUE"):
        read_fragments([fragment(tmp_path, f"CONFIG_X=y\n{line}\n")])


def test_fragments_that_contradict_each_other(tmp_path: Path) -> None:
    one = fragment(tmp_path, "CONFIG_A=y\nCONFIG_B=y\n")
    two = fragment(tmp_path, "CONFIG_A=y\n# CONFIG_B is not set\n", "two.config")
    with pytest.raises(FragmentError, match=r"two.config:2: CONFIG_B=n, but one.config:2 says y"):
        read_fragments([one, two])
    assert len(read_fragments([one, one])) == 2


def test_an_optional_option_is_asked_only_of_kernels_that_know_it(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree")
    text = "CONFIG_GONE_A=y\n# Where it exists: x\nCONFIG_GONE_B=y\nCONFIG_DEBUG=y\n\nCONFIG_C=y\n"
    found = wanted(read_fragments([fragment(tmp_path, text)]), tree)
    assert [one.option for one in found] == ["CONFIG_GONE_A", "CONFIG_DEBUG", "CONFIG_C"]


def test_conditions_of_an_option() -> None:
    found = parse_kconfig(KCONFIG)
    assert found == {
        "BASE": (),
        "DEBUG": ("BASE", "(DEBUG_FS || TRACING)", "!LOST"),
        "LOST": ("BASE", "(DEBUG_FS || TRACING)"),
    }


def test_a_lost_option_is_explained(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree")
    text = "CONFIG_BASE=y\nCONFIG_DEBUG=y\nCONFIG_GONE=y\nCONFIG_SIZE=3\n"
    requests = read_fragments([fragment(tmp_path, text)])
    config = tmp_path / ".config"
    config.write_text("CONFIG_BASE=y\n# CONFIG_DEBUG is not set\nCONFIG_LOST=y\nCONFIG_SIZE=4\n")
    with pytest.raises(LostOptionError) as caught:
        check_config(requests, config, tree, release="6.12.9")
    assert "Linux 6.12.9 does not give CONFIG_DEBUG, CONFIG_GONE, CONFIG_SIZE" in str(caught.value)
    assert caught.value.lines == (
        "one.config:2: asked for CONFIG_DEBUG=y, got # CONFIG_DEBUG is not set: it depends on "
        "BASE && (DEBUG_FS || TRACING) && !LOST (BASE=y, DEBUG_FS=n, TRACING=n, LOST=y)",
        "one.config:3: asked for CONFIG_GONE=y, got # CONFIG_GONE is not set: "
        "this kernel has no such option",
        "one.config:4: asked for CONFIG_SIZE=3, got CONFIG_SIZE=4: this kernel has no such option",
    )


def test_an_option_that_must_be_off_is_watched_too(tmp_path: Path) -> None:
    requests = read_fragments([fragment(tmp_path, "# CONFIG_LOST is not set\n")])
    config = tmp_path / ".config"
    config.write_text("CONFIG_BASE=y\n")
    check_config(requests, config, make_tree(tmp_path / "tree"), release="6.12.9")
    config.write_text("CONFIG_LOST=y\n")
    with pytest.raises(LostOptionError, match="CONFIG_LOST"):
        check_config(requests, config, tmp_path / "tree", release="6.12.9")


def test_the_real_profiles_ask_for_what_they_are_for() -> None:
    matrix = load_matrix(REAL / "matrix.toml")
    asked = {
        profile.name: {one.text for one in read_fragments(profile.fragments)}
        for profile in matrix.profiles
    }
    for option in (
        *("KASAN", "PROVE_LOCKING", "DMA_API_DEBUG", "DMA_API_DEBUG_SG", "DEBUG_KMEMLEAK"),
        *("FAULT_INJECTION_DEBUG_FS", "FAILSLAB", "FAIL_PAGE_ALLOC", "UBSAN", "DEBUG_VM"),
        *("DEBUG_SG", "DEBUG_ATOMIC_SLEEP", "DETECT_HUNG_TASK", "SOFTLOCKUP_DETECTOR"),
    ):
        assert f"CONFIG_{option}=y" in asked["debug"]
    assert "CONFIG_GCOV_KERNEL=y" in asked["coverage"]
    assert "CONFIG_GCOV_PROFILE_ALL=y" not in asked["coverage"]
    assert "CONFIG_FAILSLAB=y" in asked["coverage"]
    assert "CONFIG_KCSAN=y" in asked["kcsan"]
