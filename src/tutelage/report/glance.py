"""Tables of DDN and HINT at a glance: an environment per line, a method per column."""

from __future__ import annotations

from tutelage.report.ablations import markdown
from tutelage.report.hint import beside
from tutelage.report.results import RowResults
from tutelage.report.scores import Rows

BESIDE_DDN = {
    "ctds": "CTDS",
    "qmix": "QMIX",
    "qplex": "QPLEX",
    "cw_qmix": "CW-QMIX",
    "ow_qmix": "OW-QMIX",
    "w_vdn": "weighted VDN",
}
BESIDE_HINT = {
    "mappo": "MAPPO",
    "happo": "HAPPO",
    "tarmac": "TarMAC",
    "ptde_mappo": "PTDE",
    "ctds": "CTDS",
    "igm_da": "IGM-DA",
    "scripted": "a script",
}


def cell(row: RowResults | None) -> str:
    """Mean success, and how many seeds it is of."""
    return "-" if row is None else f"{row.success.mean():.3f} ({len(row.seeds)}){row.mark}"


def glance(rows: Rows, method: str, others: dict[str, str]) -> str:
    """A method where it was measured, its teacher, and what it is compared with; of each the row without changes."""
    plain = {(row.env, row.method): row for row in rows.values() if row.plain}
    body = []
    for env in sorted(env for env, name in plain if name == method):
        ours = plain[env, method]
        body.append([f"`{env}`", cell(ours), beside(ours) or "-", *[cell(plain.get((env, name))) for name in others]])
    header = ["", f"{method.upper()}'s students", "its teacher", *others.values()]
    return markdown(header, body) if body else "No results yet."


def ddn_glance(rows: Rows) -> str:
    """DDN beside value-based methods."""
    return glance(rows, "ddn", BESIDE_DDN)


def hint_glance(rows: Rows) -> str:
    """HINT beside its baselines and a script."""
    return glance(rows, "hint", BESIDE_HINT)
