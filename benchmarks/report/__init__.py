"""`edgesr report`: results of every kind on one page.

    book = make_book(read_inputs([Path("result.json"), Path("quantization.json")]))
    write_page(render(book), Path("report.html"))

`inputs` reads, `entries` joins, `figures` and `tables` pick what is shown, `pareto`, `roofline` and
`distribution` draw, `crops` enlarges a photo, `page` lays out, `plots` writes charts as files.
"""

from edgesr.benchmarks.report.entries import Book, make_book
from edgesr.benchmarks.report.inputs import Inputs, read_inputs
from edgesr.benchmarks.report.page import render, write_page

__all__ = ["Book", "Inputs", "make_book", "read_inputs", "render", "write_page"]
