"""A folder of the user alone: made so, and refused where others could write."""

import os
import stat

import pytest

from textsr_jax.runtime import private_folder

pytestmark = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="files have no modes")


@pytest.fixture
def above(tmp_path):
    """A folder of the user's; above it, /tmp, in which everyone may write what is his."""
    folder = tmp_path / "above"
    folder.mkdir(mode=0o755)
    return folder


def test_a_new_folder_is_the_user_s(above):
    folder = above / "cache" / "textsr_jax"
    private_folder.make(folder)
    for made in (folder, folder.parent):
        assert stat.S_IMODE(made.stat().st_mode) == 0o700
    assert private_folder.fault(folder) is None


def test_an_older_folder_that_others_may_read_is_closed(above):
    above.chmod(0o755)
    assert private_folder.fault(above) is None
    private_folder.close(above)
    assert stat.S_IMODE(above.stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777, 0o1777])
def test_a_folder_that_others_may_write_in(mode, above):
    folder = above / "cache"
    folder.mkdir()
    folder.chmod(mode)
    assert private_folder.fault(folder) == f"others may write in {folder}: delete it"
    inside = folder / "inside"
    inside.mkdir(mode=0o700)
    # In a folder with the sticky bit nobody can exchange what is another's.
    found = None if mode == 0o1777 else f"others may write in {folder}: chmod go-w {folder}"
    assert private_folder.fault(inside) == found


def test_links(above):
    open_to_all, target = above / "open", above / "target"
    for folder in (open_to_all, target):
        folder.mkdir(mode=0o700)
    link = above / "link"
    link.symlink_to(target)
    assert private_folder.fault(link) is None
    hidden = open_to_all / "hidden"
    hidden.mkdir(mode=0o700)
    open_to_all.chmod(0o777)
    link.unlink()
    link.symlink_to(hidden)
    assert "others may write in" in private_folder.fault(link)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="gives files away")
def test_folders_of_others(above):
    folder = above / "cache"
    folder.mkdir(mode=0o700)
    os.chown(folder, 4711, -1)
    assert private_folder.fault(folder) == "it belongs to another user (4711)"
    inside = folder / "inside"
    inside.mkdir(mode=0o700)
    assert private_folder.fault(inside) == f"{folder} belongs to another user (4711)"
    link = above / "link"
    link.symlink_to(above)
    os.chown(link, 4711, -1, follow_symlinks=False)
    assert private_folder.fault(link) == f"{link} belongs to another user (4711)"
