"""What lies in the folders of a split: pairs, and files that do not pair up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from segvit.dataset_tools.doctor.finding import Finding
from segvit.datasets.pairs import ANNOTATION_EXTENSIONS, IMAGE_EXTENSIONS, files_by_stem

FilesByStem = Mapping[str, list[Path]]


@dataclass(frozen=True)
class Pair:
    """An image and its label map."""

    stem: str
    image: Path
    label_map: Path


@dataclass(frozen=True)
class Split:
    """A split by name, with the pairs in it and what is wrong with its listing."""

    name: str
    pairs: tuple[Pair, ...]
    findings: tuple[Finding, ...]


def list_split(name: str, image_dir: Path, annotation_dir: Path, *, is_required: bool = True) -> Split:
    """Pair the files of two folders by stem; whatever does not pair up becomes a finding, nothing is raised.

    A split that is not required may lack a folder: images to predict for have no label maps.
    """
    try:
        images = files_by_stem(image_dir, IMAGE_EXTENSIONS)
        pictures = files_by_stem(annotation_dir, IMAGE_EXTENSIONS)
    except FileNotFoundError as error:
        return Split(name, (), (Finding("missing_folder", "error" if is_required else "warning", name, str(error)),))
    label_maps = {stem: maps for stem, files in pictures.items() if (maps := _label_maps(files))}
    findings = tuple(_listing_findings(name, images, pictures, label_maps))
    matched = sorted(set(images) & set(label_maps))
    pairs = [Pair(stem, images[stem][0], label_maps[stem][0]) for stem in matched]
    if not pairs:
        findings += (
            Finding("empty", "error", name, f"no pair of image and label map in {image_dir}, {annotation_dir}"),
        )
    return Split(name, tuple(pairs), findings)


def _label_maps(files: Iterable[Path]) -> list[Path]:
    return [path for path in files if path.suffix.lower() in ANNOTATION_EXTENSIONS]


def _listing_findings(
    name: str, images: FilesByStem, pictures: FilesByStem, label_maps: FilesByStem
) -> Iterator[Finding]:
    def finding(kind: str, message: str, files: Iterable[Path]) -> Iterator[Finding]:
        named = tuple(str(path) for path in files)
        if named:
            yield Finding(kind, "error", name, message, named)

    yield from finding(
        "same_stem",
        "files share their name up to the extension with another one",
        [path for files in (*images.values(), *label_maps.values()) if len(files) > 1 for path in files],
    )
    yield from finding(
        "label_map_format",
        "label maps are no PNGs: other formats alter ids or are not looked for; save them as PNGs with one channel",
        [path for stem, files in pictures.items() if stem not in label_maps for path in files],
    )
    yield from finding(
        "image_without_label_map",
        "images have no label map of the same name",
        [files[0] for stem, files in images.items() if stem not in pictures],
    )
    yield from finding(
        "label_map_without_image",
        "label maps have no image of the same name",
        [files[0] for stem, files in label_maps.items() if stem not in images],
    )
