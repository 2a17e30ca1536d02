"""One small data set in every form, and the defects that the form can have.

The set is of 40 x 30 pixels a picture: a.png with a `box` and a `can`, b.png with a `can`, c.png without
objects. A defect is put beside it and must not touch it.
"""

import base64
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 40, 30
BOXES = {"can": (5, 5, 15, 20), "box": (20, 10, 35, 25)}
"""x1, y1, x2, y2 of the object of each class."""
SET = {"a.png": ("box", "can"), "b.png": ("can",), "c.png": ()}
TABLE = "paths:\n  - file: ./data.jsonl\ntransformations:\n  - read_json_lines:\n      encoding: utf8\n"

Inject = Callable[[Path], None]


@dataclass(frozen=True)
class Defect:
    """Something wrong: how it is made, the kind of its finding, and what the finding's place must hold."""

    inject: Inject
    kind: str
    where: str


@dataclass(frozen=True)
class Form:
    """How the set is written in one form, and what can be wrong in it.

    Attributes:
        write: write pictures by name, with the classes of their objects.
        defects: by name; a text says why the form can't have it.
        texts: the files of text, as patterns; a byte order mark before them does no harm.
        fatal: texts whose ruin makes the whole set unreadable, as patterns.
        bomb: a text that would grow without bound, by the file it is put into.
        huge: a file, and how many bytes of it are refused without being read.
    """

    write: Callable[[Path, dict[str, tuple[str, ...]]], None]
    defects: dict[str, Defect | str]
    texts: tuple[str, ...]
    bomb: tuple[str, str] | None = None
    huge: tuple[str, int] | None = None


def paint(path: Path, shade: int = 90, size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
    """A plain picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade, 120, 10)).save(path, "PNG")


def bitmap(*labels: str) -> Any:
    """A mask with the objects of these classes numbered from 1."""
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    for number, label in enumerate(labels, 1):
        x1, y1, x2, y2 = BOXES[label]
        mask[y1:y2, x1:x2] = number
    return mask


def ring(label: str) -> list[float]:
    x1, y1, x2, y2 = BOXES[label]
    return [x1, y1, x2, y1, x2, y2, x1, y2]


def fractions(points: list[float]) -> list[float]:
    return [v / (HEIGHT if i % 2 else WIDTH) for i, v in enumerate(points)]


# -- Azure -------------------------------------------------------------------------------------------------


def azure_object(label: Any, polygon: Any) -> dict[str, Any]:
    return {"label": label, "isCrowd": 0, "polygon": polygon}


def azure_line(name: Any, *objects: Any, width: Any = WIDTH) -> str:
    details = {"width": width, "height": HEIGHT}
    return json.dumps({"image_url": name, "image_details": details, "label": list(objects)})


def write_azure(folder: Path, pictures: dict[str, tuple[str, ...]], *, table: bool = False) -> None:
    lines = []
    for number, (name, labels) in enumerate(pictures.items()):
        paint(folder / name, number)
        objects = [azure_object(label, [fractions(ring(label))]) for label in labels]
        lines.append(azure_line(name, *objects))
    (folder / "data.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    if table:
        (folder / "MLTable").write_text(TABLE, encoding="utf-8")


def line(text: str | Callable[[], str], *, picture: str = "d.png") -> Inject:
    """Append a line; the picture it may speak of is painted."""

    def inject(folder: Path) -> None:
        paint(folder / picture, 200)
        with (folder / "data.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(text if isinstance(text, str) else text())

    return inject


GOOD = [fractions(ring("can"))]
SECOND = ":4 object 2"


def azure_bad(polygon: Any, label: Any = "can") -> Inject:
    """A picture with a good object and a bad one."""
    return line(azure_line("d.png", azure_object("can", GOOD), azure_object(label, polygon)))


def junk_azure(folder: Path) -> None:
    line(azure_line("d.png"))(folder)
    (folder / "d.png").write_bytes(b"junk")


AZURE: dict[str, Defect | str] = {
    "missing_picture": Defect(line(azure_line("gone.png")), "missing_picture", ":4"),
    "wrong_size": Defect(line(azure_line("d.png", azure_object("can", GOOD), width=9)), "wrong_size", ":4"),
    "unknown_class": Defect(azure_bad(GOOD, 1.5), "bad_label", SECOND),
    "degenerate": Defect(azure_bad([[0.1, 0.1, 0.2, 0.2]]), "bad_polygon", SECOND),
    "no_number": Defect(azure_bad([[float("nan"), *GOOD[0][1:]]]), "bad_polygon", SECOND),
    "covers_nothing": Defect(azure_bad([[0.1, 0.1, 0.2, 0.1, 0.3, 0.1]]), "empty_mask", SECOND),
    "far_outside": Defect(azure_bad([[9, 9, 99, 9, 99, 99]]), "outside_coordinates", SECOND),
    "same_object_twice": Defect(azure_bad(GOOD), "duplicate_object", SECOND),
    "same_picture_twice": Defect(line(azure_line("./c.png")), "repeated_picture", ":4"),
    "no_record": Defect(line('{"image_url": "d.png", '), "bad_line", ":4"),
    "leaves_the_root": Defect(line(azure_line("../../d.png")), "unsafe_path", ":4"),
    "broken_picture": Defect(junk_azure, "broken_picture", ":4"),
}

# -- COCO --------------------------------------------------------------------------------------------------


def write_coco(folder: Path, pictures: dict[str, tuple[str, ...]]) -> None:
    images, annotations = [], []
    for number, (name, labels) in enumerate(pictures.items()):
        paint(folder / name, number)
        images.append({"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT})
        for label in labels:
            annotations.append(coco_object(len(annotations), number, segmentation=[ring(label)], label=label))
    used = {label for labels in pictures.values() for label in labels}
    categories = [{"id": i, "name": name} for i, name in ((3, "can"), (5, "box")) if name in used]
    data = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "data.json").write_text(json.dumps(data), encoding="utf-8")


def coco_object(
    key: Any, image: Any, *, segmentation: Any, label: str = "can", **more: Any
) -> dict[str, Any]:
    category = {"can": 3, "box": 5}[label]
    return {"id": key, "image_id": image, "category_id": category, "segmentation": segmentation, **more}


def coco(*, image: Any = None, objects: tuple[Any, ...] = ()) -> Inject:
    """Add an image with id 9, and annotations."""

    def inject(folder: Path) -> None:
        data = json.loads((folder / "data.json").read_text())
        paint(folder / "d.png", 200)
        new = {"id": 9, "file_name": "d.png", "width": WIDTH, "height": HEIGHT}
        data["images"].append({**new, **(image or {})})
        data["annotations"] += [coco_object(80, 9, segmentation=[ring("can")]), *objects]
        (folder / "data.json").write_text(json.dumps(data))

    return inject


def coco_bad(segmentation: Any) -> Inject:
    return coco(objects=(coco_object(90, 9, segmentation=segmentation),))


def junk_coco(folder: Path) -> None:
    coco()(folder)
    (folder / "d.png").write_bytes(b"junk")


COCO: dict[str, Defect | str] = {
    "missing_picture": Defect(coco(image={"file_name": "gone.png"}), "missing_picture", "image 9"),
    "wrong_size": Defect(coco(image={"width": 9}), "wrong_size", "image 9"),
    "unknown_class": Defect(
        coco(objects=({**coco_object(90, 9, segmentation=[ring("box")]), "category_id": 77},)),
        "unknown_category",
        "annotation 90",
    ),
    "degenerate": Defect(coco_bad([[1, 1, 2, 2]]), "bad_polygon", "annotation 90"),
    "no_number": Defect(coco_bad([[float("nan"), *ring("can")[1:]]]), "bad_polygon", "annotation 90"),
    "covers_nothing": Defect(coco_bad({"size": [30, 40], "counts": [1200]}), "empty_mask", "annotation 90"),
    "far_outside": Defect(coco_bad([[900, 900, 990, 900, 990, 990]]), "outside_coordinates", "annotation 90"),
    "same_object_twice": Defect(coco_bad([ring("can")]), "duplicate_object", "annotation 90"),
    "same_picture_twice": Defect(coco(image={"file_name": "./b.png"}), "repeated_picture", "image 9"),
    "no_record": Defect(coco(objects=("text",)), "bad_record", "annotation without id"),
    "leaves_the_root": Defect(coco(image={"file_name": "../../d.png"}), "unsafe_path", "image 9"),
    "broken_picture": Defect(junk_coco, "broken_picture", "image 9"),
}

# -- LabelMe -----------------------------------------------------------------------------------------------


def labelme_shape(points: Any, label: Any = "can", **more: Any) -> dict[str, Any]:
    return {"label": label, "shape_type": "polygon", "points": points, **more}


def pairs(label: str) -> list[list[float]]:
    return np.array(ring(label)).reshape(-1, 2).tolist()


def write_labelme(folder: Path, pictures: dict[str, tuple[str, ...]]) -> None:
    for number, (name, labels) in enumerate(pictures.items()):
        paint(folder / name, number)
        labelme_file(folder, name, [labelme_shape(pairs(label), label) for label in labels])


def labelme_file(folder: Path, picture: Any, shapes: Any, file: str | None = None, **more: Any) -> None:
    data = {"imagePath": Path(picture).name if file is None else picture, "shapes": shapes}
    data |= {"imageWidth": WIDTH, "imageHeight": HEIGHT, **more}
    place = folder / (file or str(Path(picture).with_suffix(".json")))
    place.write_text(json.dumps(data), encoding="utf-8")


def labelme(*shapes: Any, picture: Any = "d.png", **more: Any) -> Inject:
    def inject(folder: Path) -> None:
        paint(folder / "d.png", 200)
        labelme_file(folder, picture, [labelme_shape(pairs("can")), *shapes], "d.json", **more)

    return inject


def cut_labelme(folder: Path) -> None:
    (folder / "d.json").write_text('{"shapes": [')


def junk_labelme(folder: Path) -> None:
    labelme()(folder)
    (folder / "d.png").write_bytes(b"junk")


def empty_mask() -> dict[str, Any]:
    stream = io.BytesIO()
    Image.new("L", (3, 3)).save(stream, "PNG")
    text = base64.b64encode(stream.getvalue()).decode()
    return labelme_shape([[1, 1], [3, 3]], shape_type="mask", mask=text)


LABELME: dict[str, Defect | str] = {
    "missing_picture": Defect(labelme(picture="gone.png"), "missing_picture", "d.json"),
    "wrong_size": Defect(labelme(imageWidth=9), "wrong_size", "d.json"),
    "unknown_class": Defect(labelme(labelme_shape(pairs("box"), "")), "bad_label", "d.json: shape 1"),
    "degenerate": Defect(labelme(labelme_shape([[1, 1], [2, 2]])), "bad_polygon", "d.json: shape 1"),
    "no_number": Defect(
        labelme(labelme_shape([[float("nan"), 1], [5, 1], [5, 5]])), "bad_polygon", "d.json: shape 1"
    ),
    "covers_nothing": Defect(labelme(empty_mask()), "empty_mask", "d.json: shape 1"),
    "far_outside": Defect(
        labelme(labelme_shape([[900, 900], [990, 900], [990, 990]])), "outside_coordinates", "d.json: shape 1"
    ),
    "same_object_twice": Defect(labelme(labelme_shape(pairs("can"))), "duplicate_object", "d.json: shape 1"),
    "same_picture_twice": Defect(labelme(picture="b.png"), "repeated_picture", "d.json"),
    "no_record": Defect(cut_labelme, "bad_record", "d.json"),
    "leaves_the_root": Defect(labelme(picture="../d.png"), "unsafe_path", "d.json"),
    "broken_picture": Defect(junk_labelme, "broken_picture", "d.json"),
}

# -- YOLO --------------------------------------------------------------------------------------------------


def write_yolo(folder: Path, pictures: dict[str, tuple[str, ...]]) -> None:
    for number, (name, labels) in enumerate(pictures.items()):
        paint(folder / "images" / name, number)
        yolo_labels(folder, name, *(yolo_line(label) for label in labels))
    (folder / "data.yaml").write_text("train: images\nnames: [can, box]\n", encoding="utf-8")


def yolo_line(label: str) -> str:
    return f"{['can', 'box'].index(label)} {' '.join(map(str, fractions(ring(label))))}"


def yolo_labels(folder: Path, picture: str, *lines: str) -> None:
    file = (folder / "labels" / picture).with_suffix(".txt")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{text}\n" for text in lines), encoding="utf-8")


def yolo(text: str) -> Inject:
    def inject(folder: Path) -> None:
        paint(folder / "images/d.png", 200)
        yolo_labels(folder, "d.png", yolo_line("can"), text)

    return inject


def crowd(image: str = "images/a.png", size: tuple[int, int] = (HEIGHT, WIDTH)) -> Inject:
    def inject(folder: Path) -> None:
        runs = {"size": list(size), "counts": [0, size[0] * size[1]]}
        record = {"image": image, "label": "can", "segmentation": runs}
        (folder / "crowd.jsonl").write_text(json.dumps(record) + "\n")

    return inject


def junk_yolo(folder: Path) -> None:
    yolo("")(folder)
    (folder / "images/d.png").write_bytes(b"junk")


YOLO: dict[str, Defect | str] = {
    "missing_picture": Defect(
        lambda folder: yolo_labels(folder, "gone.png", yolo_line("can")), "missing_picture", "gone.txt"
    ),
    "wrong_size": Defect(crowd(size=(5, 5)), "bad_rle", "crowd.jsonl:1"),
    "unknown_class": Defect(yolo("7 " + yolo_line("can")[2:]), "unknown_category", "d.txt:2"),
    "degenerate": Defect(yolo("0 0.1 0.1 0.2 0.2 0.1 0.1"), "bad_polygon", "d.txt:2"),
    "no_number": Defect(yolo("0 nan 0.1 0.2 0.2 0.1 0.2"), "bad_polygon", "d.txt:2"),
    "covers_nothing": Defect(yolo("0 0.1 0.1 0.2 0.1 0.3 0.1"), "empty_mask", "d.txt:2"),
    "far_outside": Defect(yolo("0 9 9 99 9 99 99"), "outside_coordinates", "d.txt:2"),
    "same_object_twice": Defect(yolo(yolo_line("can")), "duplicate_object", "d.txt:2"),
    "same_picture_twice": "pictures are the files of a folder",
    "no_record": Defect(yolo("can"), "bad_line", "d.txt:2"),
    "leaves_the_root": Defect(crowd("../../a.png"), "bad_line", "crowd.jsonl:1"),
    "broken_picture": Defect(junk_yolo, "broken_picture", "d.txt"),
}

# -- Pascal VOC --------------------------------------------------------------------------------------------


def write_voc(folder: Path, pictures: dict[str, tuple[str, ...]]) -> None:
    (folder / "labelmap.txt").parent.mkdir(parents=True, exist_ok=True)
    (folder / "labelmap.txt").write_text("can:128,0,0::\nbox:0,128,0::\n", encoding="utf-8")
    for number, (name, labels) in enumerate(pictures.items()):
        paint(folder / "JPEGImages" / name, number)
        classes = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
        for place, label in enumerate(labels, 1):
            classes[bitmap(*labels) == place] = ["can", "box"].index(label) + 1
        voc_masks(folder, name, bitmap(*labels), classes)


def voc_masks(folder: Path, name: str, objects: Any, classes: Any | None) -> None:
    for place, values in (("SegmentationObject", objects), ("SegmentationClass", classes)):
        if values is not None:
            file = (folder / place / name).with_suffix(".png")
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(file, "PNG")


def voc(objects: Any, classes: Any | None, xml: str | None = None, *, picture: bool = True) -> Inject:
    def inject(folder: Path) -> None:
        if picture:
            paint(folder / "JPEGImages/d.png", 200)
        voc_masks(folder, "d.png", objects, classes)
        if xml is not None:
            (folder / "Annotations").mkdir(exist_ok=True)
            (folder / "Annotations/d.xml").write_text(xml)

    return inject


def junk_voc(folder: Path) -> None:
    voc(bitmap("can"), bitmap("can"))(folder)
    (folder / "JPEGImages/d.png").write_bytes(b"junk")


def junk_voc_mask(folder: Path) -> None:
    paint(folder / "JPEGImages/d.png", 200)
    (folder / "SegmentationObject/d.png").write_bytes(b"junk")


def _nine() -> Any:
    """Classes under a can, and under a box a class that has no name."""
    classes = bitmap("can", "box")
    classes[classes == 2] = 9
    return classes


BOX = "<bndbox><xmin>{}</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
XML = "<annotation><object><name>can</name>{}</object></annotation>"
LARGE = np.zeros((5, 5), dtype=np.uint8) + 1
VOC: dict[str, Defect | str] = {
    "missing_picture": Defect(voc(bitmap("can"), bitmap("can"), picture=False), "missing_picture", "d.png"),
    "wrong_size": Defect(voc(LARGE, LARGE), "bad_rle", "d.png: object 1"),
    "unknown_class": Defect(voc(bitmap("can", "box"), _nine()), "unknown_category", "d.png: object 2"),
    "degenerate": "a mask has no points",
    "no_number": Defect(voc(bitmap("can"), None, XML.format(BOX.format("nan"))), "bad_record", "d.png"),
    "covers_nothing": Defect(voc(bitmap(), None, XML.format(BOX.format("1"))), "bad_box", "d.xml"),
    "far_outside": "a mask ends where its picture does",
    "same_object_twice": "a pixel has one value",
    "same_picture_twice": "pictures are the files of a folder",
    "no_record": Defect(junk_voc_mask, "broken_picture", "SegmentationObject/d.png"),
    "leaves_the_root": "pictures are found by the names of masks",
    "broken_picture": Defect(junk_voc, "broken_picture", "d.png"),
}

# -- A folder a picture ------------------------------------------------------------------------------------


def write_masks(folder: Path, pictures: dict[str, tuple[str, ...]]) -> None:
    for number, (name, labels) in enumerate(pictures.items()):
        place = folder / name.replace("/", "_").removesuffix(".png")
        paint(place / "images" / Path(name).name, number)
        (place / "masks").mkdir(exist_ok=True)
        for label in labels:
            mask_file(place, f"{label}/1.png", bitmap(label))


def mask_file(place: Path, name: str, values: Any) -> None:
    (place / "masks" / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values * np.uint8(255)).save(place / "masks" / name, "PNG")


def masks(values: Any = None, *, picture: bool = True, junk: str = "") -> Inject:
    def inject(folder: Path) -> None:
        place = folder / "d"
        if picture:
            paint(place / "images/d.png", 200)
        mask_file(place, "can/1.png", bitmap("can"))
        if values is not None:
            mask_file(place, "can/2.png", values)
        if junk:
            (place / junk).write_bytes(b"junk")

    return inject


def no_masks(folder: Path) -> None:
    masks()(folder)
    shutil.rmtree(folder / "d/masks")


MASKS: dict[str, Defect | str] = {
    "missing_picture": Defect(masks(picture=False), "bad_record", "/d"),
    "wrong_size": Defect(masks(LARGE), "bad_rle", "d/masks/can/2.png"),
    "unknown_class": "a class is a folder's name",
    "degenerate": "a mask has no points",
    "no_number": "a mask has no points",
    "covers_nothing": Defect(masks(bitmap()), "empty_mask", "d/masks/can/2.png"),
    "far_outside": "a mask ends where its picture does",
    "same_object_twice": Defect(masks(bitmap("can")), "duplicate_object", "d/masks/can/2.png"),
    "same_picture_twice": "pictures are the files of a folder",
    "no_record": Defect(no_masks, "bad_record", "/d"),
    "leaves_the_root": "pictures are found beside their masks",
    "broken_picture": Defect(masks(junk="images/d.png"), "broken_picture", "/d"),
}

YAML_BOMB = "a: &a [x, x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 9)}]\n" for i in range(20)
)
XML_BOMB = (
    "<!DOCTYPE a [<!ENTITY a 'aaaa'>"
    + "".join(f"<!ENTITY {chr(98 + i)} '{f'&{chr(97 + i)};' * 10}'>" for i in range(12))
    + "]><annotation>&m;</annotation>"
)

FORMS = {
    "azure_jsonl": Form(write_azure, AZURE, ("*.jsonl",), None, ("data.jsonl", 50 << 20)),
    "mltable": Form(
        lambda folder, pictures: write_azure(folder, pictures, table=True),
        AZURE,
        ("*.jsonl", "MLTable"),
        ("MLTable", YAML_BOMB),
        ("MLTable", 1 << 30),
    ),
    "coco": Form(write_coco, COCO, ("*.json",)),
    "labelme": Form(write_labelme, LABELME, ("*.json",), None, ("a.json", 1 << 30)),
    "yolo": Form(
        write_yolo, YOLO, ("data.yaml", "labels/*.txt"), ("data.yaml", YAML_BOMB), ("labels/a.txt", 1 << 30)
    ),
    "pascal_voc": Form(
        write_voc, VOC, ("labelmap.txt",), ("Annotations/a.xml", XML_BOMB), ("Annotations/a.xml", 1 << 30)
    ),
    "instance_masks": Form(write_masks, MASKS, ()),
}
