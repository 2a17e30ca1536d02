"""Data in a bucket, on the web and in datastores of Azure's: what is fetched, refused, and tried again."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from maskline import storage
from maskline.components.data_preparation.prepare import Source, prepare
from maskline.errors import DataError, MissingError, StorageError
from maskline.inputs import Input
from maskline.job import ImageInstanceSegmentationJob
from maskline.pipelines.compiler import located
from maskline.sample_data import write_sample_data
from maskline.sources import fetch_pictures, read_source

MLTABLE = "type: mltable\npaths:\n  - {}\ntransformations:\n  - read_json_lines: {{}}\n"


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return write_sample_data(tmp_path_factory.mktemp("sample"), pictures=12, size=64) / "train"


def upload(folder, place):
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        storage.put(file, storage.join(place, *file.relative_to(folder).parts))


def records(sample):
    return [json.loads(line) for line in (sample / "annotations.jsonl").read_text().splitlines()]


def write_records(folder, found):
    folder.mkdir(exist_ok=True)
    (folder / "data.jsonl").write_text("".join(json.dumps(r) + "\n" for r in found))
    return Source(str(folder))


def test_faults_on_the_way_change_nothing(sample, bucket, faults, tmp_path):
    upload(sample, f"{bucket}/data")
    expected = prepare(Source(str(sample)), out=tmp_path / "expected")
    faults += ["503", "reset", "", "500", "", "503", "503", "reset", "", "short", "", "429"] * 2
    found = prepare(Source(f"{bucket}/data", "mltable"), out=tmp_path / "out")
    assert found.digest == expected.digest
    assert not faults


def test_pictures_that_are_missing_are_named_where_they_should_be(sample, bucket, tmp_path, findings):
    upload(sample, f"{bucket}/data")
    name = records(sample)[0]["image_url"]
    storage.remove(f"{bucket}/data/{name}")
    with pytest.raises(DataError, match=f"'s3://bucket/data/{name}' is not there"):
        prepare(Source(f"{bucket}/data"), out=tmp_path / "out", max_bad_fraction=0)
    (line,) = findings(tmp_path / "out")
    assert line["kind"] == "missing_picture"
    assert line["where"].startswith("s3://bucket/data/annotations.jsonl:")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["findings.jsonl"]


def test_pictures_that_are_forbidden_end_it(sample, bucket, faults, tmp_path):
    upload(sample, f"{bucket}/data")
    reading = read_source(f"{bucket}/data", "mltable", "label", tmp_path / "staging")
    assert len(reading.annotations.pictures) == len(records(sample))
    faults += ["403"]
    with pytest.raises(StorageError, match=r"s3://bucket/data/images/.* may not be read"):
        fetch_pictures(reading)


@pytest.mark.parametrize("place", ["s3://bucket/none", "s3://bucket/none/train.json", "s3://nobody/x"])
def test_nothing_is_there(bucket, place, tmp_path):
    with pytest.raises(MissingError, match=f"{place.removesuffix('/x')}.* is not there"):
        prepare(Source(place), out=tmp_path / "out")


def test_pictures_in_datastores(sample, bucket, tmp_path):
    """Azure's records name their pictures in datastores; the lines themselves may lie here or there."""
    upload(sample, f"{bucket}/store/deep")
    expected = prepare(Source(str(sample)), out=tmp_path / "expected")
    long = "azureml://subscriptions/s/resourcegroups/g/workspaces/w/datastores/pics/paths/deep/"
    changed = [{**r, "image_url": long + r["image_url"]} for r in records(sample)]
    properties = {"azureml://datastores/pics": f"{bucket}/store"}
    source = write_records(tmp_path / "here", changed)
    assert prepare(source, out=tmp_path / "a", properties=properties).digest == expected.digest
    upload(tmp_path / "here", f"{bucket}/lines")
    source = Source("azureml://datastores/more/paths/lines/data.jsonl", "azure_jsonl")
    properties["azureml://datastores/more"] = bucket
    found = prepare(source, out=tmp_path / "b", properties=properties)
    assert found.digest == expected.digest
    assert all(Path(i["file_name"]).is_relative_to(tmp_path / "b") for i in found.coco("train")["images"])
    # A datastore may be a folder of this machine too.
    properties = {"azureml://datastores/pics": str(tmp_path / "mounted")}
    shutil.copytree(sample, tmp_path / "mounted" / "deep")
    source = Source(str(tmp_path / "here"))
    assert prepare(source, out=tmp_path / "c", properties=properties).digest == expected.digest


def test_a_job_finds_its_datastores_from_any_folder(tmp_path):
    properties = {"azureml://datastores/pics": "./mounted", "owner": "./me"}
    job = ImageInstanceSegmentationJob(
        training_data=Input(path="azureml://datastores/pics/paths/train"),
        target_column_name="label",
        properties=properties,
        base_path=tmp_path,
    )
    found = located(job)
    assert found.training_data.path == str(tmp_path / "mounted" / "train")
    assert found.properties == {"azureml://datastores/pics": str(tmp_path / "mounted"), "owner": "./me"}


def test_pictures_here_and_there(sample, bucket, tmp_path):
    """Pictures on this machine stay where they are; those that are fetched lie in the data set."""
    expected = prepare(Source(str(sample)), out=tmp_path / "expected")
    found = records(sample)
    for number, record in enumerate(found):
        path = sample / record["image_url"]
        record["image_url"] = str(path)
        if number % 2:
            storage.put(path, f"{bucket}/{path.name}")
            record["image_url"] = f"{bucket}/{path.name}"
    source = write_records(tmp_path / "mixed", found)
    mixed = prepare(source, out=tmp_path / "out")
    assert mixed.digest == expected.digest
    images = [i for split in mixed.splits for i in mixed.coco(split)["images"]]
    fetched = sum(Path(i["file_name"]).is_relative_to(tmp_path / "out" / "pictures") for i in images)
    assert fetched == len(found) // 2
    with pytest.raises(DataError, match="materialise=false"):
        prepare(source, out=tmp_path / "no", materialise=False)
    assert prepare(source, out=tmp_path / "yes", materialise=True).digest == expected.digest
    assert len([p for p in (tmp_path / "yes" / "pictures").rglob("*") if p.is_file()]) == len(found)


def test_what_leaves_the_data_is_refused(sample, bucket, tmp_path, findings):
    outside = tmp_path / "outside.png"
    shutil.copy(sample / records(sample)[0]["image_url"], outside)
    names = [str(outside), "../x.png", "s3://k:hush@b/x.png", "s3://bucket/../../x", "nonsense://h/x.png"]
    wrong = [{**records(sample)[0], "image_url": name} for name in names[:4]]
    write_records(tmp_path / "data", [*records(sample)[1:], *wrong])
    upload(sample, f"{bucket}/data")
    storage.put(tmp_path / "data" / "data.jsonl", f"{bucket}/data/annotations.jsonl")
    prepare(Source(f"{bucket}/data"), out=tmp_path / "out", max_bad_fraction=0.9)
    kinds = [line["kind"] for line in findings(tmp_path / "out")]
    assert kinds == ["unsafe_path", "unsafe_path", "remote_picture", "unsafe_path"]
    assert "hush" not in (tmp_path / "out" / "findings.jsonl").read_text()


@pytest.mark.parametrize(
    "entry", ["file: ./a/lines.jsonl", "folder: ./a", "pattern: ./a/*.jsonl", "pattern: ./**/*.jsonl"]
)
def test_tables_name_their_files(entry, sample, bucket, tmp_path):
    expected = prepare(Source(str(sample)), out=tmp_path / "expected")
    upload(sample / "images", f"{bucket}/data/a/images")
    storage.put(sample / "annotations.jsonl", f"{bucket}/data/a/lines.jsonl")
    storage.put_bytes(MLTABLE.format(entry).encode(), f"{bucket}/data/MLTable")
    assert prepare(Source(f"{bucket}/data", "mltable"), out=tmp_path / "out").digest == expected.digest


@pytest.mark.parametrize("name", ["../x.jsonl", "/etc/passwd", "s3://bucket/x.jsonl", "none.jsonl"])
def test_tables_that_leave_their_folder(name, bucket, tmp_path):
    storage.put_bytes(MLTABLE.format(f"file: {name}").encode(), f"{bucket}/data/MLTable")
    with pytest.raises(DataError, match="s3://bucket/data/MLTable: file='"):
        prepare(Source(f"{bucket}/data"), out=tmp_path / "out")


def test_coco_finds_pictures_in_the_folders_around_it(sample, bucket, tmp_path):
    """annotations/instances_train.json beside train/, as COCO itself is laid out."""
    from maskline.components.data_preparation.convert import convert

    convert(str(sample), tmp_path / "coco", "coco")
    expected = prepare(Source(str(sample)), out=tmp_path / "expected")
    storage.put(tmp_path / "coco" / "annotations.json", f"{bucket}/c/annotations/instances_train.json")
    upload(tmp_path / "coco" / "images", f"{bucket}/c/train")
    for place in ("c/annotations/instances_train.json", "c/annotations", "c/annotations/"):
        assert prepare(Source(f"{bucket}/{place}"), out=tmp_path / "out").digest == expected.digest


@pytest.mark.parametrize("name", [".", "images", "images/../..", "x" * 300 + ".png"])
def test_records_that_name_no_file_are_listed(name, bucket, tmp_path, findings):
    folder = tmp_path / "here"
    folder.mkdir()
    Image.new("RGB", (40, 30)).save(folder / "a.png")
    Image.new("RGB", (40, 30), "red").save(folder / "b.png")
    files = ["a.png", "b.png", name]
    square = [[5, 5, 20, 5, 20, 20]]
    data = {
        "images": [{"id": i, "file_name": file} for i, file in enumerate(files)],
        "annotations": [{"image_id": i, "category_id": 1, "segmentation": square} for i in range(3)],
        "categories": [{"id": 1, "name": "can"}],
    }
    (folder / "train.json").write_text(json.dumps(data))
    (folder / "images").mkdir()
    (folder / "images/other.txt").write_text("")
    upload(folder, f"{bucket}/data")
    made = prepare(Source(f"{bucket}/data", "coco"), out=tmp_path / "out", max_bad_fraction=0.4)
    assert sum(part["images"] for part in made.splits.values()) == 2
    lost = [line for line in findings(tmp_path / "out") if line["lost"]]
    assert {line["where"].partition(": ")[0] for line in lost} == {"s3://bucket/data/train.json"}
    assert sum(line["lost"] for line in lost) == 2


def test_data_on_the_web(sample, web, tmp_path):
    address, folder = web
    shutil.copytree(sample, folder / "a data" / "train")
    shutil.make_archive(str(folder / "data"), "zip", sample)
    expected = prepare(Source(str(sample)), out=tmp_path / "expected")
    for place in ("a%20data/train", "a%20data/train/annotations.jsonl", "data.zip", "data.zip?version=1"):
        assert prepare(Source(f"{address}/{place}"), out=tmp_path / "out").digest == expected.digest
    with pytest.raises(DataError, match="has a query"):
        prepare(Source(f"{address}/a%20data/train?x=1"), out=tmp_path / "out")
