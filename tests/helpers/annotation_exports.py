"""Datasets as annotation tools export them, written from images and label maps: `EXPORTS` has a writer per tool.

Shape shorthand: H x W pixels, K classes.
"""

import base64
import io
import json
from dataclasses import dataclass
from xml.sax.saxutils import quoteattr

import cv2
import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

VOID, VOID_ID = "void", 255


@dataclass(frozen=True)
class Scene:
    """An image (H, W, 3) and its label map (H, W) with 255 as void."""

    stem: str
    image: np.ndarray
    labels: np.ndarray


def regions(labels, names):
    """(class name, mask, filled mask) of each connected region, from large to small: what encloses comes first."""
    found = []
    for class_id in np.unique(labels):
        count, parts = cv2.connectedComponents((labels == class_id).astype(np.uint8), connectivity=4)
        for part in range(1, count):
            mask = (parts == part).astype(np.uint8)
            filled = cv2.drawContours(np.zeros_like(mask), _outlines(mask), -1, 1, thickness=-1)
            found.append((VOID if class_id == VOID_ID else names[class_id], mask, int(filled.sum())))
    return [(name, mask) for name, mask, _ in sorted(found, key=lambda it: -it[2])]


def _outlines(mask):
    return cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]


def pixel_polygon(mask):
    """(N, 2) through the centres of the border's pixels, as whole numbers: what outlines and `fillPoly` need."""
    points = _outlines(mask)[0].reshape(-1, 2)
    return points if len(points) >= 3 else np.repeat(points, 3, axis=0)


def edge_polygon(mask):
    """(N, 2) around the centres of the border's pixels, a quarter of a pixel off: what COCO's rule needs."""
    larger = mask.repeat(2, 0).repeat(2, 1)
    return (_outlines(larger)[0].reshape(-1, 2) + 0.5) / 2


def write_images(folder, scenes, extension=".png"):
    folder.mkdir(parents=True, exist_ok=True)
    for scene in scenes:
        Image.fromarray(scene.image).save(folder / f"{scene.stem}{extension}")


def coco_polygons(folder, scenes, names):
    """COCO instances; categories have ids from 10."""
    content = {"images": [], "annotations": [], "categories": []}
    content["categories"] = [{"id": 10 + i, "name": name} for i, name in enumerate([*names, VOID])]
    ids = {it["name"]: it["id"] for it in content["categories"]}
    for number, scene in enumerate(scenes):
        height, width = scene.labels.shape
        content["images"].append({"id": number, "file_name": f"{scene.stem}.png", "height": height, "width": width})
        for name, mask in regions(scene.labels, names):
            polygon = edge_polygon(mask).ravel().tolist()
            content["annotations"].append(
                {"id": len(content["annotations"]), "image_id": number, "category_id": ids[name], "iscrowd": 0}
                | {"segmentation": [polygon], "bbox": [0, 0, 1, 1], "area": int(mask.sum())}
            )
    write_images(folder / "images", scenes)
    (folder / "annotations").mkdir()
    (folder / "annotations" / "instances_default.json").write_text(json.dumps(content))


def coco_panoptic(folder, scenes, names):
    """A JSON and PNGs of segment numbers; void has none."""
    segments = folder / "annotations" / "panoptic_default"
    segments.mkdir(parents=True)
    content = {"images": [], "annotations": []}
    content["categories"] = [{"id": 10 + i, "name": name, "isthing": 0} for i, name in enumerate(names)]
    for number, scene in enumerate(scenes):
        height, width = scene.labels.shape
        numbers = np.where(scene.labels == VOID_ID, 0, 1000 + scene.labels.astype(np.int64) * 300)
        Image.fromarray(np.stack([numbers % 256, numbers // 256, numbers * 0], axis=2).astype(np.uint8)).save(
            segments / f"{scene.stem}.png"
        )
        content["images"].append({"id": number, "file_name": f"{scene.stem}.png", "height": height, "width": width})
        present = [int(it) for it in np.unique(scene.labels) if it != VOID_ID]
        infos = [{"id": 1000 + 300 * it, "category_id": 10 + it, "iscrowd": 0} for it in present]
        content["annotations"].append({"image_id": number, "file_name": f"{scene.stem}.png", "segments_info": infos})
    write_images(folder / "images", scenes)
    (folder / "annotations" / "panoptic_default.json").write_text(json.dumps(content))


def coco_rle(folder, scenes, names):
    """Roboflow's layout, with run lengths as text, and its category that groups the others."""
    content = {"images": [], "annotations": [], "categories": [{"id": 0, "name": "scene", "supercategory": "none"}]}
    content["categories"] += [{"id": i, "name": it, "supercategory": "scene"} for i, it in enumerate([*names, VOID], 1)]
    for number, scene in enumerate(scenes):
        height, width = scene.labels.shape
        content["images"].append({"id": number, "file_name": f"{scene.stem}.jpg", "height": height, "width": width})
        for class_id in np.unique(scene.labels):
            encoded = coco_mask.encode(np.asfortranarray(scene.labels == class_id, dtype=np.uint8))
            encoded["counts"] = encoded["counts"].decode()
            category = len(names) + 1 if class_id == VOID_ID else int(class_id) + 1
            content["annotations"].append(
                {"id": len(content["annotations"]), "image_id": number, "category_id": category}
                | {"segmentation": encoded, "iscrowd": 1}
            )
    write_images(folder / "train", scenes, ".jpg")
    (folder / "train" / "_annotations.coco.json").write_text(json.dumps(content))


def labelme(folder, scenes, names):
    """A JSON beside each image; the first image is in its JSON alone."""
    write_images(folder, scenes)
    for number, scene in enumerate(scenes):
        height, width = scene.labels.shape
        shapes = [
            {"label": name, "points": pixel_polygon(mask).tolist(), "group_id": None, "shape_type": "polygon"}
            for name, mask in regions(scene.labels, names)
        ]
        image = folder / f"{scene.stem}.png"
        data = base64.b64encode(image.read_bytes()).decode() if number == 0 else None
        if number == 0:
            image.unlink()
        content = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": image.name, "imageData": data}
        image.with_suffix(".json").write_text(json.dumps({**content, "imageHeight": height, "imageWidth": width}))


def cvat(folder, scenes, names):
    """CVAT for images 1.1; the regions are listed from small to large, with z_order from large to small."""
    lines = ["<annotations>", "<version>1.1</version>", "<meta><task><labels>"]
    lines += [f"<label><name>{name}</name><color>#{i:02x}20{i:02x}</color></label>" for i, name in enumerate(names)]
    lines.append("</labels></task></meta>")
    for number, scene in enumerate(scenes):
        height, width = scene.labels.shape
        lines.append(f'<image id="{number}" name="{scene.stem}.png" width="{width}" height="{height}">')
        for order, (name, mask) in reversed(list(enumerate(regions(scene.labels, names)))):
            points = ";".join(f"{x:.2f},{y:.2f}" for x, y in edge_polygon(mask))
            lines.append(f'<polygon label={quoteattr(name)} points="{points}" z_order="{order}"></polygon>')
        lines.append("</image>")
    write_images(folder / "images", scenes)
    (folder / "annotations.xml").write_text("\n".join([*lines, "</annotations>"]))


def label_studio(folder, scenes, names):
    """Polygons in per cent; void is a brush."""
    tasks = []
    for number, scene in enumerate(scenes):
        height, width = scene.labels.shape
        results = []
        for name, mask in regions(scene.labels, names):
            if name == VOID:
                kind, value = "brushlabels", {"format": "rle", "rle": brush(mask)}
            else:
                points = edge_polygon(mask) * 100 / (width, height)
                kind, value = "polygonlabels", {"points": points.tolist(), "closed": True}
            results.append(
                {"type": kind, "value": {**value, kind: [name]}, "original_width": width, "original_height": height}
            )
        annotation = {"id": number, "was_cancelled": False, "result": results}
        data = {"image": f"/data/upload/1/0a1b2c3d-{scene.stem}.png"}
        tasks.append({"id": number, "data": data, "annotations": [annotation]})
    write_images(folder / "images", scenes)
    (folder / "export.json").write_text(json.dumps(tasks))


def brush(mask):
    """Label Studio's run lengths of a mask: words of 8 bits, lengths of 3, 4, 8 or 16 bits."""
    values = np.repeat(mask.ravel() * 255, 4)
    bits = [f"{len(values):032b}", f"{7:05b}", *(f"{size - 1:04b}" for size in (3, 4, 8, 16))]
    starts = np.flatnonzero(np.diff(values, prepend=values[0] ^ 1))
    for start, end in zip(starts, [*starts[1:], len(values)]):
        while start < end:
            length = min(end - start, 2**16)
            if length < 3:  # a few values as they are
                bits.append("0" + "00" + f"{length - 1:03b}" + f"{values[start]:08b}" * length)
            else:
                bits.append("1" + "11" + f"{length - 1:016b}" + f"{values[start]:08b}")
            start += length
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))


def yolo(folder, scenes, names):
    write_images(folder / "images" / "train", scenes, ".jpg")
    (folder / "labels" / "train").mkdir(parents=True)
    for scene in scenes:
        height, width = scene.labels.shape
        lines = []
        for name, mask in regions(scene.labels, names):
            points = (pixel_polygon(mask) + 0.5) / (width, height)
            lines.append(" ".join([str([*names, VOID].index(name)), *(f"{it:.6f}" for it in points.ravel())]))
        (folder / "labels" / "train" / f"{scene.stem}.txt").write_text("\n".join(lines) + "\n")
    listed = "".join(f"  {i}: {name}\n" for i, name in enumerate([*names, VOID]))
    (folder / "data.yaml").write_text(f"train: images/train\nval: images/train\nnames:\n{listed}")


def _palette(names):
    """Colours of K classes; void is black."""
    return [(40 + 17 * i % 200, 250 - 20 * i, 10 + i) for i in range(len(names))]


def voc(folder, scenes, names):
    """CVAT's export for VOC: masks of colours, and labelmap.txt."""
    write_images(folder / "JPEGImages", scenes, ".jpg")
    _write_colors(folder / "SegmentationClass", scenes, names)
    colors = zip(["background", *names], [(0, 0, 0), *_palette(names)])
    lines = ["# label:color_rgb:parts:actions", *(f"{it}:{r},{g},{b}::" for it, (r, g, b) in colors)]
    (folder / "labelmap.txt").write_text("\n".join(lines).replace("background:", "void:") + "\n")
    (folder / "ImageSets" / "Segmentation").mkdir(parents=True)
    for split, chosen in (("train", scenes[1:]), ("val", scenes[:1])):
        (folder / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("".join(f"{it.stem}\n" for it in chosen))


def _write_colors(folder, scenes, names, suffix=""):
    folder.mkdir(parents=True, exist_ok=True)
    table = np.zeros((256, 3), np.uint8)
    table[: len(names)] = _palette(names)
    for scene in scenes:
        Image.fromarray(table[scene.labels]).save(folder / f"{scene.stem}{suffix}.png")


def colors(folder, scenes, names):
    """Images and masks with a suffix in one folder, and a table of the colours."""
    write_images(folder, scenes, ".jpg")
    _write_colors(folder, scenes, names, "_L")
    rows = ["name,r,g,b", *(f"{it},{r},{g},{b}" for it, (r, g, b) in zip(names, _palette(names))), "Void,0,0,0"]
    (folder / "class_dict.csv").write_text("\n".join(rows) + "\n")


def index(folder, scenes, names):
    """Ids from 1, and 0 for void."""
    write_images(folder / "train", scenes)
    (folder / "trainannot").mkdir()
    for scene in scenes:
        ids = np.where(scene.labels == VOID_ID, 0, scene.labels + 1).astype(np.uint8)
        Image.fromarray(ids).save(folder / "trainannot" / f"{scene.stem}.png")
    (folder / "classes.txt").write_text("\n".join(names) + "\n")


def binary(folder, scenes, names):
    """0 and 255: class 0 against all others."""
    write_images(folder / "images", scenes)
    (folder / "masks").mkdir()
    for scene in scenes:
        mask = np.where(scene.labels == 0, 0, 255).astype(np.uint8)
        Image.fromarray(np.stack([mask] * 3, axis=2)).save(folder / "masks" / f"{scene.stem}.png")


def objects(folder, scenes, names):
    """A mask per region, in a folder per image."""
    write_images(folder / "images", scenes)
    for scene in scenes:
        (folder / "masks" / scene.stem).mkdir(parents=True)
        for number, (name, mask) in enumerate(regions(scene.labels, names)):
            buffer = io.BytesIO()
            Image.fromarray(mask * 255).save(buffer, "PNG")
            (folder / "masks" / scene.stem / f"{name}_{number:05d}.png").write_bytes(buffer.getvalue())


# Tool -> writer(folder, scenes, class names), and further options that the import needs.
EXPORTS = {
    "coco": (coco_polygons, ()),
    "coco_panoptic": (coco_panoptic, ()),
    "coco_roboflow": (coco_rle, ()),
    "labelme": (labelme, ()),
    "cvat": (cvat, ()),
    "label_studio": (label_studio, ()),
    "yolo": (yolo, ()),
    "voc": (voc, ()),
    "colors": (colors, ("--mask-suffix", "_L")),
    "index": (index, ("--ids", "from-one")),
    "binary": (binary, ("--classes", "background,crack")),
    "objects": (objects, ("--overlap", "smaller")),
}
