"""Findings on single files: unreadable files, colour label maps, wrong sizes, several images in a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from segvit.dataset_tools.doctor.finding import Finding
from segvit.dataset_tools.doctor.inspection import Inspection


def check_files(split: str, inspections: Sequence[Inspection]) -> Iterator[Finding]:
    """Unreadable files, colour label maps, wrong sizes, and files with several images in a split."""
    yield from _unreadable(split, inspections)
    yield from _colored(split, inspections)
    yield from _sizes(split, inspections)
    yield from _pages(split, inspections)


def _unreadable(split: str, inspections: Sequence[Inspection]) -> Iterator[Finding]:
    images = tuple(it.image_error for it in inspections if it.image_error)
    if images:
        yield Finding("unreadable_image", "error", split, "images cannot be read", images)
    label_maps = tuple(it.label_error for it in inspections if it.label_error)
    if label_maps:
        yield Finding("unreadable_label_map", "error", split, "label maps cannot be read", label_maps)


def _colored(split: str, inspections: Sequence[Inspection]) -> Iterator[Finding]:
    files = tuple(f"{it.pair.label_map}: {it.channels} channels" for it in inspections if it.channels > 1)
    if files:
        message = (
            "label maps are colour images, but each pixel must be one class id; "
            "check_dataset.py FOLDER --convert-to NEW_FOLDER converts the colours to ids"
        )
        yield Finding("colored_label_map", "error", split, message, files)


def _sizes(split: str, inspections: Sequence[Inspection]) -> Iterator[Finding]:
    readable = [it for it in inspections if not it.image_error and not it.label_error]
    wrong = [it for it in readable if it.image_size != it.label_size]
    if wrong:
        files = tuple(f"{it.pair.label_map}: {_size(it.label_size)}, its image {_size(it.image_size)}" for it in wrong)
        rotated = all(it.image_size == it.label_size[::-1] for it in wrong)
        hint = "; they are rotated by 90 degrees: images are read with their EXIF rotation" if rotated else ""
        yield Finding("sizes", "error", split, f"label maps differ in size from their image{hint}", files)


def _pages(split: str, inspections: Sequence[Inspection]) -> Iterator[Finding]:
    files = tuple(f"{it.pair.image}: {it.pages} images" for it in inspections if it.pages > 1)
    if files:
        message = "image files hold several images (pages or frames), of which only the first is used"
        yield Finding("several_pages", "warning", split, message, files)


def _size(size: tuple[int, int]) -> str:
    return f"{size[1]} x {size[0]}"
