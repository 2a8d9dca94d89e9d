"""Which files a command is given, and that no two of them share a name."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segvit.inference.sources import find_sources


def names(*paths):
    return [source.name for source in find_sources(paths)]


def test_a_folder_gives_its_pictures_and_videos(tmp_path):
    for name in ("b.JPG", "a.png", "c.mp4", "notes.txt", ".hidden.png"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "d.png").symlink_to("nowhere.png")  # reported when it is read, and not passed over
    sources = find_sources([tmp_path])
    assert [(source.path.name, source.is_video) for source in sources] == [
        ("a.png", False),
        ("b.JPG", False),
        ("c.mp4", True),
        ("d.png", False),
    ]


def test_files_are_taken_as_given():
    (source,) = find_sources(["somewhere/photo.raw"])
    assert source.name == "photo" and source.path == Path("somewhere/photo.raw") and not source.is_video


def test_an_empty_folder(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ValueError, match=r"holds no file that ends in \.avif"):
        find_sources([tmp_path])


def test_an_empty_folder_beside_others(tmp_path):
    errors = []
    (source,) = find_sources([tmp_path, "photo.png"], on_error=errors.append)
    assert source.name == "photo" and str(errors[0]).startswith(f"{tmp_path}: the folder holds no file")
    with pytest.raises(ValueError, match="holds no file"):
        find_sources([tmp_path], on_error=errors.append)


def test_names_are_as_short_as_they_can_be():
    assert names("a.png", "b.jpg") == ["a", "b"]
    assert names("a.png", "a.jpg", "b.jpg") == ["a.png", "a.jpg", "b"]
    assert names("/x/a.png", "/y/a.png") == ["x/a", "y/a"]
    assert names("/x/a.png", "/x/a.jpg", "/y/a.png") == ["x/a", "a.jpg", "y/a"]
    assert len(set(names("a.jpg", "a.png", "a.jpg.bmp"))) == 3


def test_a_file_given_twice_is_taken_once(tmp_path):
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
    found = names(*paths)
    assert len(found) == len(set(found)) == len(set(paths))
    assert all(not name.startswith("/") and ".." not in name.split("/") for name in found)
