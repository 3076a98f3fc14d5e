"""Short tables of DDN and HINT: one line per environment, one column per method."""

from __future__ import annotations

from tutelage.report.ablations import markdown
from tutelage.report.hint import teacher_cell
from tutelage.report.results import RowResults
from tutelage.report.scores import Rows

DDN_BASELINES = {
    "ctds": "CTDS",
    "qmix": "QMIX",
    "qplex": "QPLEX",
    "cw_qmix": "CW-QMIX",
    "ow_qmix": "OW-QMIX",
    "w_vdn": "weighted VDN",
}
HINT_BASELINES = {
    "mappo": "MAPPO",
    "happo": "HAPPO",
    "tarmac": "TarMAC",
    "ptde_mappo": "PTDE",
    "ctds": "CTDS",
    "igm_da": "IGM-DA",
    "scripted": "a script",
}


def cell(row: RowResults | None) -> str:
    """Mean success and the number of seeds."""
    return "-" if row is None else f"{row.success.mean():.3f} ({len(row.seeds)}){row.mark}"


def glance(rows: Rows, method: str, others: dict[str, str]) -> str:
    """Table of a method, its teacher and other methods, each with its row METHOD/TASK."""
    unchanged = {(row.env, row.method): row for row in rows.values() if row.plain}
    body = []
    for env in sorted(env for env, name in unchanged if name == method):
        ours = unchanged[env, method]
        body.append(
            [f"`{env}`", cell(ours), teacher_cell(ours) or "-", *[cell(unchanged.get((env, name))) for name in others]]
        )
    header = ["", f"{method.upper()}'s students", "its teacher", *others.values()]
    return markdown(header, body) if body else "No results yet."


def ddn_glance(rows: Rows) -> str:
    """Table of DDN and value-based methods."""
    return glance(rows, "ddn", DDN_BASELINES)


def hint_glance(rows: Rows) -> str:
    """Table of HINT, its baselines and a script."""
    return glance(rows, "hint", HINT_BASELINES)
