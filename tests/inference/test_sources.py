"""`Sources` lists files and folders, and gives each file a unique name."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segvit.inference.sources import Sources


def names(*paths):
    return [source.name for source in Sources(paths)]


def test_a_folder_lists_its_images_and_videos(tmp_path):
    for name in ("b.JPG", "a.png", "c.mp4", "notes.txt", ".hidden.png"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "d.png").symlink_to("nowhere.png")  # Reported when it is read.
    sources = Sources([tmp_path])
    assert [(source.path.name, source.is_video) for source in sources] == [
        ("a.png", False),
        ("b.JPG", False),
        ("c.mp4", True),
        ("d.png", False),
    ]


def test_files_are_listed_as_given():
    (source,) = Sources(["somewhere/photo.raw"])
    assert source.name == "photo" and source.path == Path("somewhere/photo.raw") and not source.is_video


def test_an_empty_folder_is_an_error(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ValueError, match=r"\.avif"):
        Sources([tmp_path])


def test_on_error_skips_an_empty_folder(tmp_path):
    errors = []
    (source,) = Sources([tmp_path, "photo.png"], on_error=errors.append)
    assert source.name == "photo" and str(errors[0]).startswith(f"{tmp_path}: ")
    with pytest.raises(ValueError, match="folder"):
        Sources([tmp_path], on_error=errors.append)


def test_names_are_as_short_as_possible():
    assert names("a.png", "b.jpg") == ["a", "b"]
    assert names("a.png", "a.jpg", "b.jpg") == ["a.png", "a.jpg", "b"]
    assert names("/x/a.png", "/y/a.png") == ["x/a", "y/a"]
    assert names("/x/a.png", "/x/a.jpg", "/y/a.png") == ["x/a", "a.jpg", "y/a"]
    assert len(set(names("a.jpg", "a.png", "a.jpg.bmp"))) == 3


def test_a_file_given_twice_is_listed_once():
    assert names("a.png", Path.cwd() / "a.png") == ["a"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["", "x/", "y/", "x/y/"]),
            st.sampled_from(["a", "a.png", "b"]),
            st.sampled_from(["", ".png", ".jpg"]),
        ),
        max_size=12,
    )
)
def test_no_two_files_share_a_name(parts):
    paths = ["/r/" + "".join(each) for each in parts]
    all_names = names(*paths)
    assert len(all_names) == len(set(all_names)) == len(set(paths))
    assert all(not name.startswith("/") and ".." not in name.split("/") for name in all_names)
