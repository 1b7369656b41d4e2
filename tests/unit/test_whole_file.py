"""Files appear whole, and what is no file is not replaced by one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_certload.report.whole_file import write_text


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "page.md", tmp_path / "page.md"
    target.write_text("old")
    link.symlink_to(target)
    write_text(link, "new")
    assert link.is_symlink()
    assert target.read_text("utf-8") == "new\n"
    assert [path.name for path in target.parent.iterdir()] == ["page.md"]


def test_a_link_to_nothing_yet(tmp_path: Path) -> None:
    link = tmp_path / "page.md"
    link.symlink_to(tmp_path / "later.md")
    write_text(link, "new")
    assert link.is_symlink()
    assert (tmp_path / "later.md").read_text("utf-8") == "new\n"


def test_a_pipe_is_written_into(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_text(pipe, "said")
        assert os.read(reader, 100) == b"said\n"
    finally:
        os.close(reader)
    assert pipe.is_fifo()


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        write_text(tmp_path, "new")
    assert not any(tmp_path.iterdir())
