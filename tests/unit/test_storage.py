"""Files on this machine, in a real S3 server over HTTP, on a web server, and in fsspec's memory."""

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from maskline import addresses, faults, storage
from maskline.errors import MissingError, StorageError
from maskline.parallel import in_parallel


@pytest.fixture(params=["local", "file", "s3", "memory"])
def root(request, tmp_path):
    """A folder that can be written, in each kind of place."""
    if request.param == "s3":
        return f"{request.getfixturevalue('bucket')}/deep/folder"
    if request.param == "memory":
        return f"memory://{uuid.uuid4().hex}/folder"
    return str(tmp_path / "root") if request.param == "local" else f"file://{tmp_path}/a%20root"


# -- the same in every place -------------------------------------------------------------------------------


def test_a_folder_is_put_into_what_is_there(root, tmp_path):
    for name in ("a.txt", "deep/er/b #1.txt"):
        (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "source" / name).write_text(name)
    storage.put_bytes(b"before", storage.join(root, "model", "c.txt"))
    storage.put_folder(tmp_path / "source", storage.join(root, "model"))
    found = {entry.name: storage.read_bytes(entry.place) for entry in storage.listing(f"{root}/model")}
    assert found == {"a.txt": b"a.txt", "deep/er/b #1.txt": b"deep/er/b #1.txt", "c.txt": b"before"}


def test_what_is_put_is_there(root, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(b"0123456789" * 1000)
    place = storage.join(root, "trials", "0", "a file#1 ä%20?.bin")
    assert not storage.exists(place)
    storage.put(source, place)
    assert storage.exists(place)
    assert storage.exists(root)
    assert storage.read_bytes(place) == source.read_bytes()
    assert storage.read_bytes(place, 12) == b"012345678901"
    assert storage.info(place).size == 10000
    got = storage.fetch(place, tmp_path / "new" / "folder" / "got", 10000)
    assert got.read_bytes() == source.read_bytes()
    assert [p.name for p in got.parent.iterdir()] == ["got"]


def test_a_file_is_replaced_and_removed(root):
    place = storage.join(root, "last")
    for content in (b"old", b"newer", b""):
        storage.put_bytes(content, place)
        assert storage.read_bytes(place) == content
    storage.remove(place)
    assert not storage.exists(place)
    storage.remove(place)


def test_a_folder_is_listed(root):
    for name in ("b.txt", "a/x.txt", "a/deep/y.txt"):
        storage.put_bytes(name.encode(), storage.join(root, *name.split("/")))
    found = sorted(storage.listing(root), key=lambda entry: entry.name)
    assert [entry.name for entry in found] == ["a/deep/y.txt", "a/x.txt", "b.txt"]
    assert [storage.read_bytes(entry.place).decode() for entry in found] == [e.name for e in found]
    assert [entry.size for entry in found] == [12, 7, 5]
    assert storage.names(root) == [("a", True), ("b.txt", False)]
    assert storage.is_folder(root)
    assert not storage.is_folder(storage.join(root, "b.txt"))


def test_linked_folders_are_listed_once(tmp_path):
    (tmp_path / "real" / "deep").mkdir(parents=True)
    (tmp_path / "real" / "deep" / "a").write_text("a")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "linked").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "deep" / "loop").symlink_to(tmp_path / "root")
    (tmp_path / "root" / "nowhere").symlink_to(tmp_path / "none")
    found = {entry.name: entry.size for entry in storage.listing(str(tmp_path / "root"))}
    assert found == {"linked/deep/a": 1, "nowhere": None}


def test_what_is_not_there(root, tmp_path):
    for act in (storage.info, storage.read_bytes, storage.is_folder, storage.names):
        with pytest.raises(MissingError, match="is not there"):
            act(storage.join(root, "nothing"))
    with pytest.raises(MissingError):
        list(storage.listing(storage.join(root, "nothing")))
    with pytest.raises(MissingError):
        storage.fetch(storage.join(root, "nothing"), tmp_path / "got" / "file")
    assert list((tmp_path / "got").iterdir()) == []


# -- in a bucket ---------------------------------------------------------------------------------------------


def test_marks_tell_content(bucket):
    marks = []
    for content in (b"one", b"two", b"one"):
        storage.put_bytes(content, f"{bucket}/a")
        (entry,) = storage.listing(bucket)
        assert entry.mark == storage.info(f"{bucket}/a").mark
        marks.append(entry.mark)
    assert marks[0] == marks[2] != marks[1]
    assert len(marks[0]) == 32


def test_large_folders_come_in_pages(bucket, faults, requests, monkeypatch):
    monkeypatch.setattr(storage, "PAGE", 4)
    names = [f"{n:02d} ä+%&.txt" for n in range(11)]
    for name in names:
        storage.put_bytes(name.encode(), f"{bucket}/deep/{name}")
    storage.put_bytes(b"", f"{bucket}/deeper")
    requests.clear()
    listed = storage.listing(f"{bucket}/deep/")
    found = [next(listed)]
    assert len(requests) == 1
    faults += ["503", "reset"]
    found += listed
    assert [(entry.name, entry.size) for entry in found] == [(name, len(name.encode())) for name in names]
    assert len(requests) == 3 + 2
    assert storage.read_bytes(found[-1].place) == names[-1].encode()


def test_folders_that_a_console_made(bucket, tmp_path):
    """An object whose name ends in / stands for an empty folder, and is no file."""
    import boto3

    client = boto3.client("s3")
    for key in ("data/", "data/empty/", "data/a.txt"):
        client.put_object(Bucket="bucket", Key=key, Body=b"")
    assert [entry.name for entry in storage.listing(f"{bucket}/data")] == ["a.txt"]
    assert storage.is_folder(f"{bucket}/data")
    assert storage.names(f"{bucket}/data") == [("a.txt", False), ("empty", True)]


@pytest.mark.parametrize("fault", ["503", "500", "429", "reset"])
def test_what_passes_is_tried_again(bucket, faults, requests, fault, tmp_path):
    storage.put_bytes(b"content", f"{bucket}/a")
    requests.clear()
    faults += [fault] * 3
    assert storage.read_bytes(f"{bucket}/a") == b"content"
    assert not faults
    faults += [fault] * 3
    storage.put_bytes(b"other", f"{bucket}/a")
    faults += [fault] * 3
    assert [e.name for e in storage.listing(bucket)] == ["a"]
    faults += [fault] * 3
    assert storage.exists(f"{bucket}/a")
    faults += [fault] * 3
    assert storage.fetch(f"{bucket}/a", tmp_path / "a").read_bytes() == b"other"
    assert not faults


def test_half_a_file_is_no_file(bucket, faults, tmp_path):
    storage.put_bytes(b"content" * 5000, f"{bucket}/a")
    faults += ["short"]
    assert storage.fetch(f"{bucket}/a", tmp_path / "a", 35000).stat().st_size == 35000
    with pytest.raises(StorageError, match="35000 bytes came, and 34999 were listed"):
        storage.fetch(f"{bucket}/a", tmp_path / "b", 34999)
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_store_that_stays_away_is_an_error(bucket, faults, requests):
    faults += ["503"] * 100
    with pytest.raises(StorageError, match=r"s3://bucket/a could not be read in 6 attempts: .*"):
        storage.read_bytes(f"{bucket}/a")
    assert len(requests) == 6


@pytest.mark.parametrize(
    ("status", "words"), [("403", "may not be read .* set AWS_ACCESS_KEY_ID"), ("404", "not there")]
)
def test_what_stays_is_told_at_once(bucket, faults, requests, status, words, tmp_path):
    faults += [status] * 10
    with pytest.raises(StorageError, match=words):
        storage.fetch(f"{bucket}/a", tmp_path / "a", 3)
    assert len(requests) == len(set(requests))  # not one of them twice


def test_a_bucket_that_is_not_there(bucket):
    with pytest.raises(MissingError, match="s3://other is not there"):
        list(storage.listing("s3://other"))
    with pytest.raises(MissingError, match="s3://other/a is not there"):
        storage.put_bytes(b"", "s3://other/a")


def test_pauses_grow_and_are_spread(monkeypatch):
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)

    def fail():
        raise ConnectionResetError("gone")

    with pytest.raises(StorageError):
        faults.retried(fail, "s3://b/a", "read", None)
    assert len(slept) == 5
    for number, seconds in enumerate(slept):
        assert 0.25 * 2**number <= seconds <= 0.5 * 2**number


# -- many files --------------------------------------------------------------------------------------------


def test_many_files_are_fetched_in_order(bucket, faults, tmp_path):
    for number in range(30):
        storage.put_bytes(str(number).encode(), f"{bucket}/{number}")
    faults += ["503", "", "reset", "", "", "500"]
    found = in_parallel(lambda n: storage.fetch(f"{bucket}/{n}", tmp_path / n, len(n)), map(str, range(30)))
    assert [int(target.read_text()) for target in found] == list(range(30))
    assert not faults


def test_the_first_error_ends_it(bucket, tmp_path):
    storage.put_bytes(b"", f"{bucket}/0")
    found = in_parallel(lambda n: storage.fetch(f"{bucket}/{n}", tmp_path / n), map(str, range(1000)), 2)
    assert next(found).name == "0"
    with pytest.raises(MissingError, match="s3://bucket/1 is not there"):
        next(found)


def test_each_file_that_fails_is_told(bucket, tmp_path):
    storage.put_bytes(b"one", f"{bucket}/1")
    wanted = [(f"{bucket}/{n}", tmp_path / str(n), None) for n in range(3)]
    found = list(storage.fetch_all(wanted))
    assert [target for target, _ in found] == [target for _, target, _ in wanted]
    assert [isinstance(error, MissingError) for _, error in found] == [True, False, True]
    assert (tmp_path / "1").read_bytes() == b"one"


def test_few_of_many_are_held():
    asked = []

    def items():
        for number in range(1000):
            asked.append(number)
            yield number

    running = in_parallel(str, items(), threads=2)
    assert next(running) == "0"
    assert len(asked) <= 10
    running.close()


# -- on the web ----------------------------------------------------------------------------------------------


def test_the_web_is_read(web, tmp_path):
    address, folder = web
    (folder / "data" / "a folder").mkdir(parents=True)
    (folder / "data" / "a folder" / "x y%20#.txt").write_text("text")
    (folder / "data" / "b.txt").write_text("b")
    found = sorted(storage.listing(f"{address}/data"), key=lambda entry: entry.name)
    assert [entry.name for entry in found] == ["a folder/x y%20#.txt", "b.txt"]
    assert [storage.read_bytes(entry.place) for entry in found] == [b"text", b"b"]
    place = storage.join(address, "data", "a folder", "x y%20#.txt")
    entry = storage.info(place)
    assert entry.size == 4
    assert entry.mark
    assert storage.fetch(place, tmp_path / "x", 4).read_text() == "text"
    assert storage.names(f"{address}/data/") == [("a folder", True), ("b.txt", False)]
    with pytest.raises(MissingError):
        storage.read_bytes(f"{address}/none")
    with pytest.raises(StorageError, match="read-only"):
        storage.put_bytes(b"", f"{address}/new")


def test_a_host_that_nobody_is():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("maskline.faults.PAUSE", 0.001)
        with pytest.raises(StorageError, match="could not be read in 6 attempts"):
            storage.exists("http://127.0.0.1:9/x")


# -- how places are written ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("s3://KEY:hush@bucket/a", "AWS_ACCESS_KEY_ID"),
        ("s3://KEY@bucket/a", "AWS_ACCESS_KEY_ID"),
        ("https://user:hush@host/a", "NETRC"),
        ("https://host/a?sig=hush&se=1", "NETRC"),
        ("https://host/a?X-Amz-Signature=hush", "NETRC"),
        ("gs://:hush@bucket/a", "GOOGLE_APPLICATION_CREDENTIALS"),
        ("sftp://user:hush@host/a", "its driver reads"),
        ("abfs://box:hush@account.dfs.core.windows.net/a", "AZURE_STORAGE_ACCOUNT_NAME"),
    ],
)
def test_secrets_are_refused_and_not_repeated(place, words):
    for act in (storage.read_bytes, storage.exists, storage.info):
        with pytest.raises(StorageError, match=words) as caught:
            act(place)
        assert "hush" not in str(caught.value)
    assert "hush" not in addresses.without_secrets(place)


@pytest.mark.parametrize(
    "place", ["zip://a::s3://b/c.zip", "simplecache::s3://b/c", "s3://b/x::y", "reference://x"]
)
def test_chains_are_refused(place):
    if "://" in place.split("::")[0]:
        assert "chains" in addresses.problem(place)


@pytest.mark.parametrize(
    "place",
    [
        "s3://b/x",
        "abfs://box@account.dfs.core.windows.net/a",
        "sftp://me@host/a",
        "/a/b::c",
        "C:\\x",
        "file:///a?b",
    ],
)
def test_what_is_fine(place):
    assert addresses.problem(place) is None


def test_a_place_without_host():
    assert "names no bucket; write s3://NAME" in addresses.problem("s3:///x")


@pytest.mark.parametrize(
    ("place", "extra"), [("gs://b/x", "gcs"), ("abfs://c@a.dfs.core.windows.net/x", "azure")]
)
def test_a_driver_that_is_not_installed_is_named(place, extra, monkeypatch):
    module = addresses.STORES[addresses.scheme_of(place)].package
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(StorageError, match=rf"{module} is not installed; pip install 'maskline\[{extra}\]'"):
        storage.exists(place)


def test_a_scheme_that_nobody_knows():
    with pytest.raises(StorageError, match="nonsense"):
        storage.exists("nonsense://a/b")


def test_no_credentials_at_all(bucket, monkeypatch, tmp_path):
    for name in [n for n in os.environ if n.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(StorageError, match="set AWS_ACCESS_KEY_ID"):
        storage.read_bytes(f"{bucket}/a")
    s3fs.S3FileSystem.clear_instance_cache()


def test_a_put_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    place = str(tmp_path / "a")
    storage.put_bytes(b"old", place)
    monkeypatch.setattr("os.fsync", lambda number: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(StorageError, match="a can't be written: No space left"):
        storage.put_bytes(b"new", place)
    assert [(p.name, p.read_bytes()) for p in Path(tmp_path).iterdir()] == [("a", b"old")]


def test_the_door_opens_without_fsspec():
    code = "import sys, maskline.storage; print('fsspec' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
