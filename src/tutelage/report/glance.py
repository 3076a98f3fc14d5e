"""The front page's tables of DDN and HINT: an environment per line, a method per column."""

from __future__ import annotations

from tutelage.report.ablations import markdown
from tutelage.report.hint import TASKS, at_its_best
from tutelage.report.results import RowResults
from tutelage.report.scores import Rows, teachers_success

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
    """Mean success, with drawn or with the likeliest actions, whichever is higher, and how many seeds it is of."""
    return "-" if row is None else f"{at_its_best(row).mean():.3f} ({len(row.seeds)})"


def glance(rows: Rows, method: str, title: str, beside: dict[str, str], envs: list[str]) -> str:
    """A method, its teacher and what it is compared with, each as the plan's plain row of it has them."""
    body = []
    for env in envs:
        plain = {row.method: row for row in rows.values() if row.env == env and row.name.count("/") == 1}
        if (ours := plain.get(method)) is None:
            continue
        teacher = teachers_success(ours)
        first = [f"`{env}`", cell(ours), "-" if teacher is None else f"{teacher.mean():.3f}"]
        body.append(first + [cell(plain.get(name)) for name in beside])
    return markdown(["", title, "its teacher", *beside.values()], body) if body else "No results yet."


def ddn_glance(rows: Rows) -> str:
    """DDN, where it was measured."""
    envs = sorted({row.env for row in rows.values() if row.env.split("/")[0] not in TASKS})
    return glance(rows, "ddn", "DDN's students", BESIDE_DDN, envs)


def hint_glance(rows: Rows) -> str:
    """HINT, where it was measured."""
    envs = sorted({row.env for row in rows.values() if row.env.split("/")[0] in TASKS})
    return glance(rows, "hint", "HINT's students", BESIDE_HINT, envs)
