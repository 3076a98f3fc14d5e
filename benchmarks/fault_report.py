"""Results of the campaign: a summary, tables for the documentation, a figure."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

GOOD = {"kills": {"same", "rounding"}, "files": {"detected", "harmless", "repaired", "checksum"}, "inputs": {"refused"}}
"""Outcomes that are correct, or (checksum) that only a checksum could have found."""
ORDER = {
    "kills": ("same", "rounding", "left over", "differs", "stuck", "no end"),
    "files": ("detected", "harmless", "repaired", "checksum", "silent", "crash", "no end"),
    "inputs": ("refused", "slow", "something written", "exit code 1", "not one line", "traceback", "accepted"),
}
HEADS = {
    "kills": ("killed", "kills"),
    "files": ("what was done to a file", "files"),
    "inputs": ("wrong input", "inputs"),
}
MARK = re.compile(r"(<!-- faults: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
Record = dict[str, Any]


def rows_of(kind: str, record: Record) -> list[str]:
    """Rows of the table under which a trial counts; one per kill."""
    if kind == "kills":
        names = {"moment": "at a random moment", "middle": "in the middle of a write"}
        return [names.get(kill["how"], f"right {kill['how']} an operation on a file") for kill in record["kills"]]
    return [record["damage"] if kind == "files" else record["group"]]


def summary(trials: dict[tuple[str, int], Record], now: str, wanted: dict[str, int]) -> Record:
    """Counts by kind and row, and every trial that found something."""
    record: Record = {"code": now}
    for kind, count in wanted.items():
        some = [trial for (k, _), trial in sorted(trials.items()) if k == kind]
        rows: dict[str, Counter[str]] = {}
        for trial in some:
            for name in rows_of(kind, trial):
                rows.setdefault(name, Counter())[trial["outcome"]] += 1
        total = sum(rows.values(), Counter())
        record[kind] = {
            "wanted": count,
            "done": sum(total.values()),
            "trials": len(some),
            "on this code": sum(trial["code"] == now for trial in some),
            "outcomes": in_order(kind, total),
            "rows": {name: in_order(kind, rows[name]) for name in sorted(rows)},
            "found": [trial for trial in some if trial["outcome"] not in GOOD[kind]],
        }
    kills = [trial for (kind, _), trial in trials.items() if kind == "kills"]
    record["kills"]["scenarios"] = dict(sorted(Counter(t["scenario"] for t in kills for _ in t["kills"]).items()))
    record["kills"]["operations"] = len({k["what"] for t in kills for k in t["kills"] if "what" in k})
    return record


def merged(earlier: Record, record: Record) -> Record:
    """Both summaries as one. Kinds of operations that both saw are counted once, where they are as many as either's."""
    for kind in ORDER if earlier else ():
        old, new = earlier[kind], record[kind]
        for count in ("done", "trials"):
            new[count] += old[count]
        new["on this code"] += old["on this code"] if earlier["code"] == record["code"] else 0
        new["outcomes"] = in_order(kind, Counter(old["outcomes"]) + Counter(new["outcomes"]))
        names = sorted({*old["rows"], *new["rows"]})
        counts = {name: Counter(old["rows"].get(name)) + Counter(new["rows"].get(name)) for name in names}
        new["rows"] = {name: in_order(kind, count) for name, count in counts.items()}
        new["found"] = old["found"] + new["found"]
    if earlier:
        old, new = earlier["kills"], record["kills"]
        new["scenarios"] = dict(sorted((Counter(old["scenarios"]) + Counter(new["scenarios"])).items()))
        new["operations"] = max(old["operations"], new["operations"])
    return record


def in_order(kind: str, counts: Counter[str]) -> dict[str, int]:
    return {name: counts[name] for name in ORDER[kind] if counts[name]}


def table(kind: str, record: Record) -> str:
    """A Markdown table: a row for each way, a column for each end that occurred."""
    part = record[kind]
    ends = list(part["outcomes"])
    lines = [[HEADS[kind][0], HEADS[kind][1], *ends], ["---", *["---:"] * (len(ends) + 1)]]
    for name, counts in [*part["rows"].items(), ("all", part["outcomes"])]:
        lines.append([name, str(sum(counts.values())), *(str(counts.get(end, 0)) for end in ends)])
    done = f"{part['done']:,} of {part['wanted']:,} {HEADS[kind][1]}"
    if kind == "kills":
        done += f", in {part['trials']} trials of {len(part['scenarios'])} kinds of training"
        done += f", at {part['operations']} kinds of operations on files"
    if part["on this code"] < part["trials"]:
        done += (
            f"; {part['on this code']} of {part['trials']} trials on the code as it is, the others on earlier states"
        )
    return "\n".join([f"Tried: {done}.", "", *("| " + " | ".join(line) + " |" for line in lines)])


def fill(path: Path, record: Record) -> None:
    """Rewrite the tables between `<!-- faults: KIND -->` and `<!-- end -->`."""
    text = path.read_text()
    new = MARK.sub(lambda match: f"{match[1]}{table(match[2], record)}\n{match[3]}", text)
    if new != text:
        path.write_text(new)


def draw(record: Record, path: Path) -> None:
    """A panel for each kind: shares of ends by row."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    good = ["#2a7f62", "#7fb69f", "#a9cbd9", "#d9d2a0"]
    fair = ["#d1495b", "#edae49", "#7d4f9e", "#3b3b58", "#b07aa1", "#444444"]
    sizes = [max(2, len(record[kind]["rows"])) for kind in ORDER]
    figure, axes = plt.subplots(len(ORDER), 1, figsize=(8, 0.32 * sum(sizes) + 2.6), height_ratios=sizes)
    for axis, kind in zip(axes, ORDER, strict=True):
        part, left = record[kind], {}
        names = list(part["rows"])[::-1]
        fine = [end for end in ORDER[kind] if end in GOOD[kind]]
        colours = dict(zip(fine, good, strict=False)) | dict(
            zip([end for end in ORDER[kind] if end not in fine], fair, strict=False)
        )
        for end in part["outcomes"]:
            counts = [part["rows"][name].get(end, 0) for name in names]
            axis.barh(names, counts, left=[left.get(n, 0) for n in names], color=colours[end], label=end)
            left = {n: left.get(n, 0) + c for n, c in zip(names, counts, strict=True)}
        axis.set_title(f"{part['done']:,} {HEADS[kind][1]}", loc="left", fontsize=10)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
        if part["outcomes"]:
            axis.legend(fontsize=8, frameon=False, ncols=6, loc="lower right", bbox_to_anchor=(1, 1), borderpad=0)
        axis.margins(x=0.01, y=0.02)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)
