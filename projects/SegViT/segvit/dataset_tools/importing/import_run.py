"""`import_source`: draw all label maps of a source, divide the images, and write the new folder at once.

Shape shorthand: N images, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from segvit.dataset_tools.importing.class_plan import ClassPlan
from segvit.dataset_tools.importing.dataset_writing import (
    Imported,
    ImportReport,
    count_images,
    write_dataset,
    write_report,
)
from segvit.dataset_tools.importing.image_names import unique_stems
from segvit.dataset_tools.importing.label_drawing import DrawingJob, LabelDrawer
from segvit.dataset_tools.importing.source import IGNORED, DrawingRules, Skipped, Source, first_reason
from segvit.dataset_tools.parallel import run_in_processes
from segvit.dataset_tools.preparation.readers import read_index_png
from segvit.dataset_tools.splitting import PooledImage, SplitOptions, Splits, make_splits
from segvit.errors import UserError
from segvit.label_png import write_label_png
from segvit.output_files import new_folder

# The folder of all label maps within the unfinished one.
LABELS = ".labels"


def import_source(
    source: Source,
    plan: ClassPlan,
    target: Path,
    *,
    rules: DrawingRules,
    splits: SplitOptions,
    workers: int,
    drop_unused: bool = False,
) -> ImportReport:
    """Write `target`, which appears complete or not at all.

    Args:
        source: as read.
        plan: its classes.
        target: the new folder.
        rules: of drawing.
        splits: how images are divided.
        workers: processes.
        drop_unused: leave out classes without a pixel.

    Raises:
        FileExistsError: `target` exists.
        UserError: no image or no object is left, or see `make_splits`.
    """
    skipped = list(source.skipped)
    with new_folder(target) as folder:
        imported = _draw_all(source, plan, folder / LABELS, rules, workers, skipped)
        if not imported:
            raise UserError(f"no image can be imported: {first_reason(skipped)}")
        _require_objects(plan, imported, skipped)
        if not splits.lists and not splits.divides_anew:
            _require_splits(source, imported, skipped)
        plan, imported, notes = _without_unused(plan, imported, drop_unused)
        made = make_splits([_pooled(it) for it in imported], splits)
        folders = [Path()] if len(made.assignments) == 1 else [Path(f"fold{k + 1}") for k in range(splits.folds)]
        for subfolder, assignment in zip(folders, made.assignments):
            write_dataset(imported, assignment, plan, folder / subfolder)
        skipped.extend(_left_out(imported, made))
        for it in imported:
            it.label_map.unlink()
        (folder / LABELS).rmdir()
        report = ImportReport(
            names=plan.names,
            pixels=np.sum([it.pixels for it in imported], axis=0),
            folders=[target / subfolder for subfolder in folders],
            sizes=[count_images(assignment) for assignment in made.assignments],
            skipped=skipped,
            notes=[*source.notes, *plan.notes, *notes, *made.notes],
            ignore_value=plan.ignore_value,
        )
        write_report(report, source.title, imported, folder)
    return report


def _draw_all(
    source: Source, plan: ClassPlan, folder: Path, rules: DrawingRules, workers: int, skipped: list[Skipped]
) -> list[Imported]:
    """Draw the label maps into a folder; what cannot be drawn is added to `skipped`."""
    images = []
    seen: set[Path] = set()
    for image in source.images:
        path = image.path.resolve()
        if path in seen:
            skipped.append(Skipped(image.key, "is annotated more than once: the first annotation is used"))
        else:
            images.append(image)
        seen.add(path)
    stems = unique_stems([image.key for image in images])
    folder.mkdir()
    jobs = [DrawingJob(image, folder / f"{stem}.png") for image, stem in zip(images, stems)]
    imported = []
    drawer = LabelDrawer(plan, rules)
    for job, stem, drawn in zip(jobs, stems, run_in_processes(drawer, jobs, workers=workers, title="importing")):
        skipped.extend(drawn.skipped)
        if drawn.pixels is not None:
            imported.append(Imported(job.image, stem, job.target, drawn.pixels, drawn.fingerprint))
    return imported


def _require_objects(plan: ClassPlan, imported: Sequence[Imported], skipped: Sequence[Skipped]) -> None:
    """Raise UserError if something was skipped and no pixel has a class but that of unlabelled pixels."""
    pixels = np.sum([it.pixels[:-1] for it in imported], axis=0)
    if plan.unlabelled != IGNORED:
        pixels[plan.unlabelled] = 0
    if skipped and not pixels.any():
        raise UserError(f"no pixel gets a class: {first_reason(skipped)}")


def _require_splits(source: Source, imported: Sequence[Imported], skipped: Sequence[Skipped]) -> None:
    """Raise UserError if all images of the source's train or val were skipped: the others would be divided anew."""
    given = {image.split for image in source.images}
    lost = given - {it.image.split for it in imported}
    if {"train", "val"} <= given and lost & {"train", "val"}:
        raise UserError(
            f"no image of the source's {' and '.join(sorted(lost))} can be imported: {first_reason(skipped)}. "
            "Repair it, or divide the other images by --val-share 0.2"
        )


def _without_unused(
    plan: ClassPlan, imported: list[Imported], drop_unused: bool
) -> tuple[ClassPlan, list[Imported], list[str]]:
    """Leave out the added background, if no pixel needs it, and by `drop_unused` all classes without a pixel.

    Rewrites the label maps. Returns the plan, the images with their counts of pixels, and notes.
    """
    pixels = np.sum([it.pixels for it in imported], axis=0)
    unused = np.flatnonzero(pixels[:-1] == 0).tolist()
    added = plan.unlabelled if plan.is_background_added else None
    dropped = unused if drop_unused else [class_id for class_id in unused if class_id == added]
    stay = [plan.names[class_id] for class_id in unused if class_id not in dropped]
    notes = [f"classes without a pixel: {', '.join(stay)} (--drop-unused leaves them out)"] if stay else []
    named = [plan.names[class_id] for class_id in dropped if class_id != added]
    notes += [f"classes without a pixel are left out: {', '.join(named)}"] if named else []
    if not dropped:
        return plan, imported, notes
    smaller, new_ids = plan.without(dropped)
    for it in imported:
        write_label_png(it.label_map, new_ids[read_index_png(it.label_map)], smaller.colors)
    kept = np.delete(np.arange(len(pixels)), dropped)
    return smaller, [replace(it, pixels=it.pixels[kept]) for it in imported], notes


def _pooled(it: Imported) -> PooledImage:
    return PooledImage(it.image.key, it.file_name, it.image.split, it.pixels[:-1] > 0, it.fingerprint)


def _left_out(imported: Sequence[Imported], made: Splits) -> list[Skipped]:
    """Images that belong to no split."""
    return [
        Skipped(it.image.key, "is in no split")
        for it, splits in zip(imported, zip(*made.assignments))
        if not any(splits)
    ]
