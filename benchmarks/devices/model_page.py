"""`edgesr serve MODEL`: a page that runs the model in whatever browser opens it.

Pictures never leave the browser: it asks here for the page, the model, and where to cut a picture
of so many pixels. Tiles are `edgesr.runtime.tiles`' own, bytes go through the tables of
`edgesr.runtime.pixels`, and luma through the coefficients of `edgesr.data.colour`, so that the page
has none of them a second time.
"""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from edgesr.benchmarks.devices.page_server import PageHandler, PageServer
from edgesr.benchmarks.devices.parity import payload_for
from edgesr.benchmarks.devices.tools import WEB
from edgesr.benchmarks.devices.web import check_for_browser

from edgesr.data import colour
from edgesr.errors import UnsupportedError, UsageError
from edgesr.manifest import Manifest
from edgesr.runtime import make_plan, open_session
from edgesr.runtime.pixels import to_image, to_tensor
from edgesr.runtime.session import sound_manifest
from edgesr.runtime.tiles import Span
from edgesr.runtime.upscale import Strip
from edgesr.scales import enlarged, enlarged_size, factors, ratios, scale_text

MOST_PIXELS = 1 << 27
"""Of a result: what a browser holds in one canvas, twice."""
_FILES = Path(__file__).parent
_PAGES = {
    name: _FILES / "page" / name
    for name in ("index.html", "page.js", "upscale.js", "bicubic.js", "colour.js")
} | {"runtimes.js": _FILES / "web" / "runtimes.js"}


class ModelPage(PageServer):
    """Serves one model and the page that runs it.

    Args:
        artifact: an exported file with float or uint8 ends.
        libraries: folder of the browser's runtimes; None takes those that are installed.
        host: address to listen on; `0.0.0.0` lets other machines in.
        port: 0 takes a free one.

    Raises:
        BadFileError: no artifact, a broken one, or one that browsers cannot run.
        UnsupportedError: the page cannot make its pixels.
        DeviceError: the browser's runtimes are not installed.
    """

    def __init__(
        self,
        artifact: Path,
        libraries: Path | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        manifest = sound_manifest(artifact)
        check_for_browser("a browser", payload_for(artifact))
        _check(artifact, manifest)
        session = open_session(artifact)
        self.manifest, self.tiling = session.manifest, session.tiling()
        super().__init__(_Handler, _PAGES, libraries or WEB.require(), host, port)
        self.model = artifact.read_bytes()
        self.facts = _facts(artifact, self.manifest)

    def plan(self, height: int, width: int) -> dict[str, Any]:
        """Where the page cuts a picture, as JSON.

        Returns:
            `height` and `width` of the result; `rows` and `columns`, each a list of `read` (what a
            tile reads, LR pixels), `made` (length of its own result), `kept` (what of that stays)
            and `place` (where in the result it goes); and `why_inexact`, for the user. Or
            `refused`, a sentence.
        """
        scale = self.manifest.scale
        size = enlarged_size(height, width, scale)
        if size[0] * size[1] > MOST_PIXELS:
            down, across = factors(scale)
            most = MOST_PIXELS / (down * across) / 1e6
            return {
                "refused": f"{width}x{height} pixels are too many for a page; at most {most:.0f} "
                f"megapixels with this model. `edgesr upscale` takes any size"
            }
        try:
            plan = make_plan(height, width, self.tiling)
        except UsageError as error:
            return {"refused": str(error)}
        rows, columns = (
            [_described(span, ratio, side) for span in spans]
            for spans, ratio, side in zip(
                (plan.rows, plan.columns), ratios(scale), size, strict=True
            )
        )
        return {
            "height": size[0], "width": size[1], "rows": rows, "columns": columns,
            "why_inexact": plan.why_inexact,
        }  # fmt: skip


class _Handler(PageHandler):
    server: ModelPage

    def answer(self, parts: list[str]) -> None:
        """Facts, model, plans."""
        page = self.server
        if parts == ["about"]:
            self.send(json.dumps(page.facts).encode(), "application/json")
        elif parts == ["model"]:
            self.send(page.model, "application/octet-stream")
        elif len(parts) == 3 and parts[0] == "plan" and all(map(_is_side, parts[1:])):
            plan = page.plan(int(parts[1]), int(parts[2]))
            self.send(json.dumps(plan).encode(), "application/json")
        else:
            self.refuse(404)


def _is_side(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 6


def _check(artifact: Path, manifest: Manifest) -> None:
    """Raises: UnsupportedError: see `ModelPage`."""
    name = artifact.name
    if min(factors(manifest.scale)) < 1:
        raise UnsupportedError(f"{name} makes pictures smaller; use `edgesr upscale`")
    if not manifest.exact_tiling or manifest.halo is None:
        raise UnsupportedError(
            f"{name} has no bounded receptive field, so no tiles fit; use `edgesr upscale`"
        )
    if artifact.suffix == ".tflite" and None in (manifest.height, manifest.width):
        raise UnsupportedError(f"LiteRT.js takes one size; export {name} again with a --shape")


def _facts(artifact: Path, manifest: Manifest) -> dict[str, Any]:
    """What the page is told of the model; addresses are relative to it."""
    values = np.arange(256, dtype=np.uint8)
    flat = replace(manifest, layout="NHWC")
    decoding = None
    if manifest.dtype != "float32":
        codes = values.view(manifest.dtype)
        decoding = to_image(codes.reshape(1, 1, 256, 1), flat).ravel().tolist()
    runtime = "litert" if artifact.suffix == ".tflite" else "onnxruntime-web"
    package = "@litertjs/core" if runtime == "litert" else "onnxruntime-web"
    return {
        "name": artifact.name, "network": manifest.network, "precision": manifest.precision,
        "runtime": runtime, "version": WEB.versions[package], "model": "./model",
        "scale": scale_text(manifest.scale), "dtype": manifest.dtype, "layout": manifest.layout,
        "luma": None if manifest.colour == "rgb" else {
            "from_rgb": colour.NUMERATORS, "denominator": colour.DENOMINATOR,
            "offset": colour.OFFSET, "to_rgb": colour.TO_RGB,
        },
        "encoding": to_tensor(values.reshape(1, 256, 1), flat).ravel().tolist(),
        "decoding": decoding, "value_range": manifest.value_range,
    }  # fmt: skip


def _described(span: Span, ratio: Fraction, side: int) -> dict[str, Any]:
    """See `ModelPage.plan`; what was mirrored beyond the border is cut off at `side`."""
    strip = Strip.of(span, ratio)
    stop = min(strip.stop, side)
    return {
        "read": [span.start, span.stop], "made": enlarged(span.stop - span.start, ratio),
        "kept": [strip.kept.start, strip.kept.start + stop - strip.start],
        "place": [strip.start, stop],
    }  # fmt: skip
