"""`register_hugging_face`: "hf:PATH_OR_NAME:SPLIT" in DATASETS.TRAIN and DATASETS.TEST, read by the library `datasets`.

Images and label maps stay encoded in their table until they are used. Their names are addresses of rows,
"hf-rows:PATH/SPLIT/COLUMN/000012.png", which `read_image` and `read_label_map` open as they open files.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, unquote

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils.file_io import PathManager
from iopath.common.file_io import PathHandler
from PIL import Image

from segvit.classes.class_list import ClassList, read_class_list
from segvit.errors import UserError
from segvit.image_reading import ROWS

PREFIX = "hf:"
# In the address of a row, before a column whose ids are reduced by one.
REDUCED = "reduced:"
# Columns of class labels whose names are those of the label maps' ids.
CLASS_COLUMNS = ("classes", "class_labels", "categories", "labels")
ID_TO_LABEL = "id2label.json"


def register_hugging_face(cfg: CfgNode, *, model_names_classes: bool = False) -> None:
    """Register the datasets "hf:..." of a config; local folders are opened here, others by `DatasetCatalog.get`.

    MODEL.SEM_SEG_HEAD.NUM_CLASSES 0 becomes the number of their classes, in place, unless the model has its own names.

    Raises:
        UserError: a name is malformed; or a dataset that is asked for its classes cannot be opened, or has none.
    """
    names = [name for name in dict.fromkeys((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)) if name.startswith(PREFIX)]
    if cfg.DATASETS.HF_REDUCE_LABELS and not names:
        raise UserError("DATASETS.HF_REDUCE_LABELS True: neither DATASETS.TRAIN nor DATASETS.TEST has a dataset hf:...")
    for name in names:
        path, _, split = name.removeprefix(PREFIX).rpartition(":")
        if not path or not split:
            key = "DATASETS.TRAIN" if name in cfg.DATASETS.TRAIN else "DATASETS.TEST"
            raise UserError(f"{key} {name!r} must be hf:PATH_OR_NAME:SPLIT, such as hf:/path/to/folder:train")
        register_split(
            path,
            split,
            columns=_columns(cfg),
            reduces=cfg.DATASETS.HF_REDUCE_LABELS,
            classes=cfg.DATASETS.HF_CLASSES,
            ignore_value=cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE,
        )
    needs_classes = not cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES and not model_names_classes
    for name in names:
        if Path(name.removeprefix(PREFIX).rpartition(":")[0]).is_dir() or (needs_classes and name == names[0]):
            # A finished model predicts without its dataset; training and evaluation raise the error again.
            with nullcontext() if needs_classes else suppress(UserError):
                DatasetCatalog.get(name)
    if names and needs_classes:
        cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = len(MetadataCatalog.get(names[0]).stuff_classes)


def register_split(
    path: str, split: str, *, columns: Sequence[str], reduces: bool, classes: str, ignore_value: int
) -> str:
    """Register one split, in place of an earlier one, and return its name; `DatasetCatalog.get` opens it.

    Args:
        path: of a folder, or the name of a dataset on the hub.
        columns, reduces, classes: DATASETS.HF_COLUMNS, HF_REDUCE_LABELS and HF_CLASSES.
        ignore_value: the id of ignored pixels.
    """
    name = f"{PREFIX}{path}:{split}"
    if name in DatasetCatalog:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    source = _Source(
        path=str(Path(path).resolve()) if Path(path).exists() else path,
        split=split,
        image=columns[0],
        labels=columns[1],
        reduces=reduces,
        classes=classes,
    )
    DatasetCatalog.register(name, lambda: source.records(name))
    MetadataCatalog.get(name).set(evaluator_type="sem_seg", ignore_label=ignore_value)
    return name


def _columns(cfg: CfgNode) -> tuple[str, str]:
    columns = cfg.DATASETS.HF_COLUMNS
    if len(columns) != 2:
        raise UserError(f"DATASETS.HF_COLUMNS {columns} must name two columns, that of images and that of label maps")
    return columns[0], columns[1]


class _Source:
    """A split of a dataset, and how its columns are read."""

    def __init__(self, *, path: str, split: str, image: str, labels: str, reduces: bool, classes: str) -> None:
        self.path = path
        self.split = split
        self.image = image
        self.labels = labels
        self.reduces = reduces
        self.classes = classes

    def records(self, name: str) -> list[dict[str, str]]:
        """Records with the addresses of image and label map; sets the classes of the dataset's metadata."""
        table = open_split(self.path, self.split)
        for column in (self.image, self.labels):
            if type(table.features.get(column)).__name__ != "Image":
                raise UserError(
                    f"{name}: column {column!r} holds no images; its columns are {list(table.features)}: name those of "
                    "images and label maps by DATASETS.HF_COLUMNS"
                )
        classes = _classes(self.path, table, file=self.classes, name=name)
        MetadataCatalog.get(name).set(stuff_classes=list(classes.names), stuff_colors=list(classes.colors))
        labels = REDUCED + self.labels if self.reduces else self.labels
        return [
            {"file_name": self._address(self.image, row), "sem_seg_file_name": self._address(labels, row)}
            for row in range(len(table))
        ]

    def _address(self, column: str, row: int) -> str:
        return "/".join((ROWS + quote(self.path, safe=""), quote(self.split), quote(column, safe=""), f"{row:06d}.png"))


@lru_cache(maxsize=8)
def open_split(path: str, split: str) -> Any:
    """A table of `datasets`: a folder of `save_to_disk` or of Parquet files, or a dataset of the hub by its name.

    Raises:
        UserError: the library is missing, or cannot open it.
    """
    datasets = _library()
    folder = Path(path)
    try:
        if not folder.is_dir():
            return datasets.load_dataset(path, split=split)
        if (folder / "dataset_dict.json").is_file():
            return datasets.load_from_disk(path)[split]
        if (folder / "state.json").is_file():
            return datasets.load_from_disk(path)
        files = sorted(str(file) for file in folder.rglob("*.parquet") if re.split(r"[-.]", file.name)[0] == split)
        if files:
            return datasets.load_dataset("parquet", data_files={split: files}, split=split)
    except Exception as error:  # the library raises errors of many types
        raise UserError(f"hf:{path}:{split}: {type(error).__name__}: {error}") from error
    raise UserError(
        f"hf:{path}:{split}: the folder has no dataset of save_to_disk and no Parquet file {split}*.parquet below it"
    )


def _library() -> Any:
    """The library `datasets`, which has the name of a folder of this project."""
    try:
        return import_module("datasets")
    except ImportError as error:
        raise UserError("datasets hf:... need the library datasets: pip install 'segvit[huggingface]'") from error


def _classes(path: str, table: Any, *, file: str, name: str) -> ClassList:
    """The classes: of DATASETS.HF_CLASSES, of a file in the folder, or of a column of class labels."""
    folder = Path(path)
    given = Path(file).expanduser() if file else folder / ID_TO_LABEL
    if given.is_dir():
        return read_class_list(given)
    if given.is_file():
        return _read_id_to_label(given)
    if file:
        raise UserError(
            f"DATASETS.HF_CLASSES {file!r} does not exist: name a folder with classes.txt, or {ID_TO_LABEL}"
        )
    if any((folder / known).is_file() for known in ("classes.txt", "classes.json")):
        return read_class_list(folder)
    for column in CLASS_COLUMNS:
        feature = table.features.get(column)
        names = getattr(getattr(feature, "feature", feature), "names", None)
        if names:
            return ClassList.with_default_colors(names)
    raise UserError(
        f"{name} does not name its classes: set DATASETS.HF_CLASSES to a folder with classes.txt, or to {ID_TO_LABEL}"
    )


def _read_id_to_label(path: Path) -> ClassList:
    """{"0": "wall", "1": "building", ...}, or a list of names."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict):
            by_id = {int(index): str(name) for index, name in content.items()}
            content = [by_id[index] for index in range(len(by_id))]
        if not content or len(set(map(str, content))) < len(content):
            raise UserError("a class is missing or named twice")
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f'{path} must map the ids 0, 1, ... to names, as {{"0": "wall", "1": "building"}}: {error}'
        ) from error
    return ClassList.with_default_colors([str(name) for name in content])


class RowHandler(PathHandler):
    """Opens addresses of rows for Detectron2's `PathManager`, in any process."""

    def _get_supported_prefixes(self) -> list[str]:
        return [ROWS]

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **kwargs: Any) -> IO[Any]:
        """The encoded image of a row."""
        source, split, column, row = path.removeprefix(ROWS).split("/")
        source, split, column = unquote(source), unquote(split), unquote(column)
        content = _encoded(source, split, column.removeprefix(REDUCED), int(row.removesuffix(".png")))
        return io.BytesIO(_reduced(content) if column.startswith(REDUCED) else content)


def _encoded(source: str, split: str, column: str, row: int) -> bytes:
    cell = _undecoded(source, split, column)[row][column]
    return cell["bytes"] if cell["bytes"] is not None else Path(cell["path"]).read_bytes()


@lru_cache(maxsize=16)
def _undecoded(source: str, split: str, column: str) -> Any:
    """The column alone, whose images come as bytes."""
    datasets = _library()
    return open_split(source, split).select_columns([column]).cast_column(column, datasets.Image(decode=False))


def _reduced(content: bytes) -> bytes:
    """A PNG of ids reduced by one; 0 becomes 255."""
    with Image.open(io.BytesIO(content)) as image:
        labels = np.asarray(image)
    reduced = np.where((labels == 0) | (labels == 255), 255, labels.astype(np.int64) - 1)
    encoded = io.BytesIO()
    Image.fromarray(reduced.astype(np.uint8 if reduced.max(initial=0) < 256 else np.uint16)).save(encoded, format="PNG")
    return encoded.getvalue()


PathManager.register_handler(RowHandler(), allow_override=True)
