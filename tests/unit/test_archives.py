"""Archives from outside: what is sound is unpacked, and all else refused before it does harm."""

import io
import os
import tarfile
import zipfile

import pytest

from maskline import archives
from maskline.errors import DataError


def _zip(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in members:
            archive.writestr(member, content)
    return path


def _tar(path, members, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for member, content in members:
            entry = tarfile.TarInfo(member) if isinstance(member, str) else member
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


MEMBERS = [
    ("a.txt", b"one"),
    ("deep/er/b c.txt", b"two"),
    ("__MACOSX/x", b""),
    ("deep/._b", b""),
    ("empty", b""),
]


@pytest.mark.parametrize(
    ("name", "make"),
    [("x.zip", _zip), ("x.tar.gz", _tar), ("x.tgz", _tar), ("x.tar", lambda p, m: _tar(p, m, "w"))],
)
def test_files_are_unpacked(name, make, tmp_path):
    archives.unpack(make(tmp_path / name, MEMBERS), tmp_path / "out", name)
    found = {
        str(p.relative_to(tmp_path / "out")): p.read_bytes()
        for p in (tmp_path / "out").rglob("*")
        if p.is_file()
    }
    assert found == {"a.txt": b"one", "deep/er/b c.txt": b"two", "empty": b""}
    assert archives.is_archive(f"s3://bucket/{name.upper()}")
    assert archives.is_archive(f"https://host/{name}?download=1")


@pytest.mark.parametrize(
    "name", ["../x", "a/../../x", "/etc/x", "..\\x", "C:/x", "C:\\x", "\\\\host\\x", "a/.."]
)
@pytest.mark.parametrize("make", [_zip, _tar])
def test_names_that_leave_are_refused(name, make, tmp_path):
    archive = make(tmp_path / "x", [(name, b"harm"), ("good", b"")])
    with pytest.raises(DataError, match=r"^shown: .* would lie outside the folder"):
        archives.unpack(archive, tmp_path / "deep" / "out", "shown")
    assert list((tmp_path / "deep" / "out").iterdir()) == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["deep", "x"]


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_are_refused(kind, tmp_path):
    entry = tarfile.TarInfo("way")
    entry.type, entry.linkname = kind, "/etc/passwd"
    with pytest.raises(DataError, match="'way' is a link, a device or sparse"):
        archives.unpack(_tar(tmp_path / "x", [(entry, b"")]), tmp_path / "out", "shown")
    assert list((tmp_path / "out").iterdir()) == []


def test_links_in_zip_are_refused(tmp_path):
    entry = zipfile.ZipInfo("way")
    entry.external_attr = 0o120777 << 16
    with pytest.raises(DataError, match="'way' is a link or device"):
        archives.unpack(_zip(tmp_path / "x", [(entry, "/etc/passwd")]), tmp_path / "out", "shown")


@pytest.mark.parametrize("make", [_zip, _tar])
def test_bombs_are_refused_before_they_go_off(make, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "FREE_OF_RATIO", 1 << 20)
    archive = make(tmp_path / "x", [(f"{n}.txt", b"\0" * (1 << 20)) for n in range(4)])
    with pytest.raises(DataError, match="more than 200 times its own size"):
        archives.unpack(archive, tmp_path / "out", "shown")
    assert sum(p.stat().st_size for p in (tmp_path / "out").iterdir()) <= 1 << 20


@pytest.mark.parametrize("make", [_zip, _tar])
def test_limits(make, tmp_path, monkeypatch):
    archive = make(tmp_path / "x", [(str(n), b"x") for n in range(4)])
    with monkeypatch.context() as patch:
        patch.setattr(archives, "MOST_FILES", 3)
        with pytest.raises(DataError, match="more than 3 files"):
            archives.unpack(archive, tmp_path / "out", "shown")
    monkeypatch.setattr(archives, "KEPT_FREE", 1.0)
    with pytest.raises(DataError, match="the disk has room for 0"):
        archives.unpack(archive, tmp_path / "out", "shown")


@pytest.mark.parametrize("content", [b"", b"no archive", os.urandom(3000)])
def test_what_is_no_archive(content, tmp_path):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(DataError, match="shown can't be unpacked"):
        archives.unpack(tmp_path / "x", tmp_path / "out", "shown")


@pytest.mark.parametrize("make", [_zip, _tar])
def test_damaged_archives(make, tmp_path):
    whole = make(tmp_path / "x", [("a", os.urandom(5000)), ("b", os.urandom(5000))]).read_bytes()
    for damaged in (whole[:6000], whole[:3000] + bytes(200) + whole[3200:]):
        (tmp_path / "x").write_bytes(damaged)
        with pytest.raises(DataError, match="shown"):
            archives.unpack(tmp_path / "x", tmp_path / "out", "shown")


def test_names_that_clash(tmp_path):
    archive = _tar(tmp_path / "x", [("a", b"x"), ("a/b", b"y")])
    with pytest.raises(DataError, match="shown can't be unpacked"):
        archives.unpack(archive, tmp_path / "out", "shown")


def test_an_encrypted_archive(tmp_path):
    archive = _zip(tmp_path / "x", [("a", b"x")])
    content = bytearray(archive.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1  # the flag in the directory
    archive.write_bytes(content)
    with pytest.raises(DataError, match="'a' is encrypted"):
        archives.unpack(archive, tmp_path / "out", "shown")
