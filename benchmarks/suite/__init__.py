"""Suites: networks x targets x precisions x shapes x devices, exported, timed and judged.

`definition` reads what a suite asks for, `cells` spells it out, `run` does it and resumes it,
`result` is what it leaves, `compare` holds two of them against each other.
"""
