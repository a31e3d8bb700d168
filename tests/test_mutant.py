# SPDX-License-Identifier: GPL-2.0
"""Mutants' files: what the header says, what is refused, and that ours are all in order."""

from pathlib import Path

import pytest

from harness import need
from harness.mutant import MutantError, load_mutants, parse
from harness.spec import load_specs

ROOT = Path(__file__).parent.parent
HEADER = """\
SPDX-License-Identifier: GPL-2.0
Bug: B07 2.4c CVE-2023-2008 own
Wrong: what is
  wrong
Expect: mmap:map.*.read_only
  sg:*
"""
MORE = "Needs: >=6.12 <7.0 CONFIG_KASAN=y CONFIG_X=16\nQuick: yes\n"
PATCH = """
--- a/module/pin.c
+++ b/module/pin.c
@@ -1 +1 @@
-old
+new
"""
PATH = Path("selftests/mutants/a-mutant.patch")


def test_all_that_a_header_can_say() -> None:
    mutant = parse(PATH, HEADER + MORE + PATCH)
    assert mutant.name == "a-mutant"
    assert mutant.bugs == ("B07", "2.4c", "CVE-2023-2008", "own")
    assert mutant.wrong == "what is wrong"
    assert mutant.expect == ("mmap:map.*.read_only", "sg:*")
    assert mutant.needs == need.parse(">=6.12 <7.0 CONFIG_KASAN=y CONFIG_X=16")
    assert mutant.quick
    assert mutant.files == ("pin.c",)


def test_what_a_header_need_not_say() -> None:
    mutant = parse(PATH, HEADER + PATCH)
    assert (mutant.needs, mutant.quick) == ((), False)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("Bug: B07", "Bug: B7", "Bug: expected B07, M12"),
        ("Bug: B07 2.4c CVE-2023-2008 own\n", "", "Bug: expected something there"),
        ("Wrong: what is\n  wrong\n", "Wrong:\n", "Wrong: expected something there"),
        ("SPDX-License-Identifier: GPL-2.0\n", "", "SPDX-License-Identifier: expected"),
        ("Bug:", "Bugs:", "header: expected a key that is known, got 'Bugs:"),
        ("Bug:", "Quick: no\nQuick: no\nBug:", "Quick: expected one of it, got two"),
        ("Bug:", "Quick: maybe\nBug:", "Quick: expected yes or no, got 'maybe'"),
        ("Bug:", "Needs: >=6.1 =6.1\nBug:", "Needs: expected bounds such as"),
        ("Bug:", "Needs: KASAN=y\nBug:", "Needs: expected bounds such as"),
        ("\n--- a/", "--- a/", "header: expected a key that is known, got '--- a/module/pin.c'"),
        ("a/module/pin.c", "a/harness/pin.c", "patch: expected changes of a/module/FILE"),
        ("a/module/pin.c", "a/module/../pin.c", "patch: expected changes of a/module/FILE"),
        ("+++ b/module/pin.c", "+++ b/module/main.c", "patch: expected changes of a/module/FILE"),
        ("+++ b/module/pin.c", "+++ /dev/null", "patch: expected changes of a/module/FILE"),
        ("@@ -1 +1 @@\n", "", "patch: expected a unified diff"),
    ],
)
def test_what_is_refused(old: str, new: str, said: str) -> None:
    text = HEADER + PATCH
    assert old in text
    with pytest.raises(MutantError) as caught:
        parse(PATH, text.replace(old, new, 1))
    assert str(caught.value).startswith(f"{PATH}: {said}")
    assert "\n" not in str(caught.value)


def test_a_name_is_words_with_hyphens() -> None:
    with pytest.raises(MutantError, match="file name"):
        parse(Path("A_Mutant.patch"), HEADER + PATCH)


def test_an_expected_test_must_exist(tmp_path: Path) -> None:
    (tmp_path / "one.patch").write_text(HEADER + PATCH)
    known = ["mmap:map.anon.read_only", "sg:table.anon.read"]
    (mutant,) = load_mutants(tmp_path, known)
    assert [mutant.expects(id_) for id_ in (*known, "ioctl:create.x")] == [True, True, False]
    with pytest.raises(MutantError, match=r"none matches sg:\*"):
        load_mutants(tmp_path, known[:1])


def test_a_folder_without_mutants(tmp_path: Path) -> None:
    with pytest.raises(MutantError, match="at least one mutant"):
        load_mutants(tmp_path, [])


def test_ours_are_enough_and_cover_every_file() -> None:
    specs = load_specs(ROOT / "selftests/specs")
    tests = [id_ for spec in specs for id_ in spec.full_ids]
    mutants = load_mutants(ROOT / "selftests/mutants", tests)
    assert len(mutants) >= 70
    sources = {path.name for path in (ROOT / "module").glob("*.c")}
    assert {name for mutant in mutants for name in mutant.files} == sources
    quick = [mutant for mutant in mutants if mutant.quick]
    assert {name for mutant in quick for name in mutant.files} == sources
    anywhere = [mutant for mutant in mutants if not mutant.needs]
    bugs = {bug for mutant in anywhere for bug in mutant.bugs if bug.startswith(("B", "M", "2.4"))}
    assert bugs <= {bug for mutant in quick for bug in mutant.bugs}, "one of each, in every change"
    texts = [mutant.text.partition("\n\n")[2] for mutant in mutants]
    assert len(set(texts)) == len(texts)


def test_every_bug_has_a_mutant_or_a_reason() -> None:
    table = (ROOT / "selftests/mutants/README.md").read_text()
    specs = load_specs(ROOT / "selftests/specs")
    tests = [id_ for spec in specs for id_ in spec.full_ids]
    mutants = load_mutants(ROOT / "selftests/mutants", tests)
    known = [f"B{n:02}" for n in range(1, 34)] + [f"M{n}" for n in range(1, 25)]
    known += [f"2.4{letter}" for letter in "abcdefghi"]
    for bug in known:
        mine = {mutant.name for mutant in mutants if bug in mutant.bugs}
        rows = [line for line in table.splitlines() if line.startswith(f"| {bug} ")]
        assert len(rows) == 1, bug
        _, _, what, _ = rows[0].split("|")
        named = {word.strip("`,;") for word in what.split() if word.startswith("`")}
        assert named == mine, f"{bug}: the table says {named}, the headers {mine}"
        assert mine or len(what.split()) >= 4, f"{bug}: neither a mutant nor a reason"
