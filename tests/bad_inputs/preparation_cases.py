"""Preparing benchmarks that are not there or are damaged."""

from cases import both, written
from tool_cases import tool

PREPARATION_CASES = [
    tool("prepare_ade20k_sem_seg", "no process", "argument --workers: 0 is not a positive number", ("--workers", "0")),
    tool(
        "prepare_coco_stuff_10k", "no process", "argument --workers: -1 is not a positive number", ("--workers", "-1")
    ),
    tool(
        "prepare_pascal_context",
        "an unknown source",
        "argument --source: invalid choice: 'xml' (choose from 'mat', 'json')",
        ("--source", "xml"),
    ),
    tool(
        "prepare_pascal_context",
        "half a JSON",
        "HOME/voc/trainval_merged.json: not JSON, perhaps an incomplete download (Expecting property name "
        "enclosed in double quotes: line 1 column 2 (char 1))",
        ("--voc", "HOME/voc", "--workers", "1"),
        written("voc/trainval_merged.json", "{"),
    ),
    tool(
        "prepare_pascal_context",
        "labels that are no list",
        "HOME/voc/labels.txt: not a list of labels, with one line such as '2: aeroplane' per label",
        ("--voc", "HOME/voc", "--workers", "1"),
        both(written("voc/labels.txt", "aeroplane\n"), written("voc/trainval/a.mat", "")),
    ),
]
