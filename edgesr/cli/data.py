"""`edgesr data`: the image sets of the field, from their official places."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edgesr.data.catalogue import ImageSet

app = typer.Typer(help="Image sets: list, download with licence and checksum, check.",
                  no_args_is_help=True)  # fmt: skip

_FOLDER = typer.Option(help="Folder of all sets; what EDGESR_DATA should name.")


@app.command("list")
def list_command(
    folder: Annotated[Path, _FOLDER] = Path("data"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """All sets, their licence, and whether they are here."""
    from edgesr.cli.output import show_table
    from edgesr.data.catalogue import SETS

    rows = [
        {
            "name": one.name,
            "title": one.title,
            "images": one.images or None,
            "size": one.size,
            "licence": one.licence,
            "page": one.page,
            "here": bool(one.archives) and all(
                (folder / one.name / archive.into).is_dir() for archive in one.archives
            ),
        }
        for one in SETS.values()
    ]  # fmt: skip
    columns = {"name": "name", "title": "set", "images": "images", "size": "download",
               "licence": "licence", "here": "here"}  # fmt: skip
    show_table(rows, columns, as_json=as_json)


@app.command("get")
def get_command(
    name: Annotated[str, typer.Argument(help="Of `edgesr data list`.")],
    folder: Annotated[Path, _FOLDER] = Path("data"),
    yes: Annotated[bool, typer.Option("--yes", help="Accept the licence without asking.")] = False,
) -> None:
    """Show the licence, download, check, unpack. The same command again goes on."""
    from edgesr.cli.output import progress, say
    from edgesr.data.download import get
    from edgesr.errors import UsageError

    chosen = _find(name)
    say(f"{chosen.title}\nlicence: {chosen.licence}\nfrom: {chosen.page}")
    if not chosen.archives:
        raise UsageError(
            f"{chosen.name} is given out after registration only: {chosen.page}; put its images "
            f"into {folder / chosen.name}"
        )
    for archive in chosen.archives:
        checksum = f"MD5 {archive.md5}" if archive.md5 else "no checksum is published"
        say(f"{archive.url} ({checksum})")
    if not yes and not typer.confirm(f"Download {chosen.size} under this licence?", err=True):
        raise UsageError("nothing was downloaded")
    with progress(f"fetching {chosen.name}", None) as (bar, task):
        place = get(
            chosen,
            folder,
            report=lambda file, have, total: bar.update(
                task, description=file, completed=have, total=total
            ),
        )
    say(f"{chosen.images} images in {place}")


@app.command("check")
def check_command(
    name: Annotated[str, typer.Argument(help="Of `edgesr data list`.")],
    folder: Annotated[Path, _FOLDER] = Path("data"),
) -> None:
    """Whether a set is complete and every image can be read."""
    from edgesr.cli.output import say
    from edgesr.data.download import check
    from edgesr.errors import BadFileError

    chosen = _find(name)
    faults = check(chosen, folder)
    if not chosen.archives:
        faults = [f"how many images {name} has is known to its makers only: {chosen.page}"]
    if faults:
        raise BadFileError("; ".join(faults[:5]) + ("; and more" if len(faults) > 5 else ""))
    say(f"{chosen.images} images, all whole")


def _find(name: str) -> ImageSet:
    import difflib

    from edgesr.data.catalogue import SETS
    from edgesr.errors import UsageError

    if name.lower() not in SETS:
        close = difflib.get_close_matches(name.lower(), SETS, n=1)
        hint = f"did you mean `{close[0]}`?" if close else f"known: {', '.join(SETS)}"
        raise UsageError(f"no image set is called `{name}`; {hint}")
    return SETS[name.lower()]
