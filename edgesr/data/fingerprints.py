"""Pixel hashes of the literature's test images, so that nobody calibrates or trains on them.

The list ships with edgesr: it works on machines that do not have the images. It was made, and is
made again, by `python -m edgesr.data.fingerprints`, from Set5, Set14, B100 and the shipped
evaluation samples: the originals and their MATLAB-bicubic reductions by 2, 3 and 4.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from edgesr.data.bicubic import crop_to_multiple, imresize
from edgesr.data.datasets import dataset, pixel_hash
from edgesr.manifest import write_atomically

LIST = Path(__file__).with_name("fingerprints.txt")
SETS = ("set5", "set14", "b100", "samples")
SCALES = (2, 3, 4)


@cache
def evaluation_hashes() -> frozenset[str]:
    """What `pixel_hash` gives for every test image at hand to the field."""
    return frozenset(LIST.read_text().split())


def main() -> None:
    """Make the list."""
    hashes = set()
    for name in SETS:
        for _, image in dataset(name):
            hashes.add(pixel_hash(image))
            for scale in SCALES:
                hashes.add(pixel_hash(imresize(crop_to_multiple(image, scale), 1 / scale)))
    write_atomically(LIST, ("\n".join(sorted(hashes)) + "\n").encode())


if __name__ == "__main__":
    main()
