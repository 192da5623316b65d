"""Where the image sets of the field are to be had, from those who made or first gave them out.

None may be redistributed with edgesr; `edgesr data get` fetches them after showing their licence.
Checksums: where the makers publish none, those that public loaders of the same file agree on
(DIV2K); else the file is checked for being whole, and by its number of images.
"""

from __future__ import annotations

from dataclasses import dataclass

_ETH = "https://data.vision.ee.ethz.ch/cvl/DIV2K"
_SNU = "https://cv.snu.ac.kr/research/EDSR"


@dataclass(frozen=True)
class Archive:
    """One file to download."""

    url: str
    folder: str
    """Folder inside the archive whose images are wanted; others are not unpacked."""
    into: str
    """Where they go, below the set's folder; empty for the folder itself."""
    images: int
    """How many there must be."""
    md5: str = ""
    """Empty where none is known."""


@dataclass(frozen=True)
class ImageSet:
    """A set by the name people use."""

    name: str
    title: str
    licence: str
    page: str
    size: str
    """Of the download."""
    archives: tuple[Archive, ...] = ()
    """Empty: the makers give it out only after registration, at `page`."""

    @property
    def images(self) -> int:
        """Photos in all; 0 where the makers' page has to be asked."""
        return sum(archive.images for archive in self.archives)


_RESEARCH = "academic research only; the photos belong to their authors"


def _benchmark(name: str, title: str, folder: str, count: int, licence: str) -> ImageSet:
    archive = Archive(f"{_SNU}/benchmark.tar", f"benchmark/{folder}/HR", "", count)
    page = "https://github.com/sanghyun-son/EDSR-PyTorch"
    return ImageSet(name, title, licence, page, "250 MB", (archive,))


SETS: dict[str, ImageSet] = {
    one.name: one
    for one in (
        ImageSet(
            "div2k", "DIV2K (Agustsson, Timofte, CVPR Workshops 2017), training and validation",
            _RESEARCH, f"{_ETH}/", "4 GB",
            (
                Archive(f"{_ETH}/DIV2K_train_HR.zip", "DIV2K_train_HR", "train", 800,
                        "bdc2d9338d4e574fe81bf7d158758658"),
                Archive(f"{_ETH}/DIV2K_valid_HR.zip", "DIV2K_valid_HR", "valid", 100,
                        "9fcdda83005c5e5997799b69f955ff88"),
            ),
        ),
        ImageSet(
            "flickr2k", "Flickr2K (Lim et al., CVPR Workshops 2017)",
            "academic research only; each photo has the licence of its Flickr page",
            "https://github.com/limbee/NTIRE2017", "20 GB",
            (Archive(f"{_SNU}/Flickr2K.tar", "Flickr2K/Flickr2K_HR", "", 2650),),
        ),
        ImageSet(
            "lsdir", "LSDIR (Li et al., CVPR Workshops 2023), 84,991 photos",
            "academic research only, after registration", "https://ofsoundof.github.io/lsdir-data/",
            "200 GB",
        ),
        _benchmark("set5", "Set5 (Bevilacqua et al., BMVC 2012)", "Set5", 5,
                   "no licence is stated; use for research"),
        _benchmark("set14", "Set14 (Zeyde et al., 2010)", "Set14", 14,
                   "no licence is stated; use for research"),
        _benchmark("b100", "B100 of BSDS (Martin et al., ICCV 2001)", "B100", 100,
                   "non-commercial research and education (Berkeley)"),
        _benchmark("urban100", "Urban100 (Huang et al., CVPR 2015)", "Urban100", 100,
                   "each photo has the licence of its Flickr page (Creative Commons)"),
        ImageSet(
            "manga109", "Manga109 (Matsui et al., 2017), 109 volumes",
            "academic research only, after registration; the pictures belong to their authors",
            "http://www.manga109.org/en/download.html", "3 GB",
        ),
    )
}  # fmt: skip
