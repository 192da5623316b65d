"""What a graph costs on this machine: written to a file, run in its runtime, timed.

search(quantized, network, 0.05, photos, costs=Stopwatch("tflite", (180, 320)))
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
from edgesr.export.pipeline import export
from edgesr.quantize import QuantizedGraph
from edgesr.quantize.islands import float_nodes

from edgesr.runtime import open_session
from edgesr.runtime.pixels import to_tensor

RUNS = 15
LONGEST = 3.0
"""Seconds after which no run follows, of a network of which one takes long."""


class Stopwatch:
    """Milliseconds of one inference: the least of some runs, as noise only ever adds.

    A graph's time is remembered by what of it runs in float, so use one stopwatch per network.

    Args:
        target: of the files; `tflite` runs in LiteRT.
        shape: (height, width) of the low-resolution input.
        threads: of the runtime.
    """

    def __init__(
        self, target: str = "tflite", shape: tuple[int, int] = (180, 320), threads: int = 1
    ) -> None:
        self.target, self.shape, self.threads = target, shape, threads
        self._known: dict[frozenset[str], float] = {}

    def __call__(self, quantized: QuantizedGraph) -> float:
        """Export (which checks the file), warm up, and time.

        Raises:
            EdgesrError: as `export`.
        """
        islands = float_nodes(quantized)
        if islands not in self._known:
            self._known[islands] = self._measured(quantized)
        return self._known[islands]

    def _measured(self, quantized: QuantizedGraph) -> float:
        with tempfile.TemporaryDirectory(prefix="edgesr-") as folder:
            artifact = export(quantized, target=self.target, shape=self.shape, out=Path(folder))
            session = open_session(artifact.path, threads=self.threads)
            channels = quantized.network.channels
            image = np.random.default_rng(0).integers(0, 256, (*self.shape, channels), np.uint8)
            tensor = to_tensor(image, session.manifest)
            least, begin = float("inf"), time.perf_counter()
            for _ in range(RUNS):
                start = time.perf_counter()
                session.infer(tensor)
                end = time.perf_counter()
                least = min(least, end - start)
                if end - begin > LONGEST:
                    break
        return 1e3 * least
