"""Folders and LMDB databases give the same photos."""

import numpy as np
import pytest
from PIL import Image

from edgesr.data.sources import pack, photos
from edgesr.errors import BadFileError, EnvironmentLimitError, OutputExistsError
from edgesr.train.patches import PatchCache

lmdb = pytest.importorskip("lmdb", reason="lmdb is not installed: pip install 'edgesr[train]'")


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("b.png", "deep/a.png", "c.webp"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (140, 150, 3), np.uint8)
        Image.fromarray(pixels).save(path, lossless=True)
    (tmp_path / "photos" / "notes.txt").write_text("no photo")
    return tmp_path / "photos"


def test_a_database_gives_what_the_folder_gives(folder, tmp_path):
    assert pack(folder, tmp_path / "db") == 3
    files, packed = photos([folder]), photos([tmp_path / "db"])
    assert [p.size for p in files] == [p.size for p in packed]
    for one, other in zip(files, packed, strict=True):
        np.testing.assert_array_equal(one.read(), other.read())
    caches = [PatchCache([place], 2, tmp_path / place.name) for place in (folder, tmp_path / "db")]
    batches = [cache.batch(3, 4, 24)[0] for cache in caches]
    assert (batches[0] == batches[1]).all()


def test_what_can_be_wrong_with_a_database(folder, tmp_path):
    pack(folder, tmp_path / "db")
    with pytest.raises(OutputExistsError, match="holds a database"):
        pack(folder, tmp_path / "db")
    with lmdb.open(str(tmp_path / "db")) as opened, opened.begin(write=True) as transaction:
        transaction.put(b"b.png", b"\x89PNG broken")
        transaction.delete(b"c.webp")
    found = {photo.name.rpartition(":")[2]: photo for photo in photos([tmp_path / "db"])}
    with pytest.raises(BadFileError, match=r"db:b\.png"):
        found["b.png"].read()
    with pytest.raises(BadFileError, match=r"has no picture `c\.webp` any more"):
        found["c.webp"].read()
    with lmdb.open(str(tmp_path / "other")) as opened, opened.begin(write=True) as transaction:
        transaction.put(b"x", b"y")
    with pytest.raises(BadFileError, match="no database of edgesr's"):
        photos([tmp_path / "other"])
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk" / "data.mdb").write_bytes(b"junk" * 5000)
    with pytest.raises(BadFileError, match="no LMDB database, or damaged"):
        photos([tmp_path / "junk"])


def test_without_the_package(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "lmdb", None)
    with pytest.raises(EnvironmentLimitError, match=r"pip install 'edgesr\[train\]'"):
        pack(folder, tmp_path / "db")
