"""Pages that people and commands write together."""

import pytest

from engines.bench.pages import PageError, fill, filled, table

PAGE = "By hand.\n<!-- part: made by `x` -->\nold\n<!-- end of part -->\nBy hand too.\n"


def test_only_what_stands_between_the_marks_changes() -> None:
    """Prose stays; filling twice is the same as filling once, whatever the text holds."""
    text = r"| \1 | new |"

    once = filled(PAGE, "part", text)

    assert once.startswith("By hand.\n")
    assert once.endswith("By hand too.\n")
    assert text in once
    assert "old" not in once
    assert filled(once, "part", text) == once


def test_a_page_without_the_marks_is_refused(tmp_path) -> None:
    """The error names the file and shows the marks that are missing."""
    (tmp_path / "page.md").write_text("nothing here")

    with pytest.raises(PageError, match=r"page\.md: 0 places for 'part'.*<!-- end of part -->"):
        fill(tmp_path / "page.md", {"part": "text"})


def test_a_missing_page_is_one_line(tmp_path) -> None:
    """No traceback for a file that is not there."""
    with pytest.raises(PageError, match="cannot be read"):
        fill(tmp_path / "page.md", {"part": "text"})


def test_tables_line_up_as_text() -> None:
    """Every line has the same width, numbers end at the same column."""
    lines = table(["name", "ms"], [["a", "5"], ["longer", "1234"]], right=[1]).splitlines()

    assert len({len(line) for line in lines}) == 1
    assert lines[1].endswith("-:|")
    assert lines[2] == "| a      |    5 |"
