"""New fingerprints for committed results whose settings are the same under fewer names.

Run it twice: with the code before the change on PYTHONPATH, `rewrite_marks.py record FILE` writes the fingerprint of
every row of the plan; with the code after it, `rewrite_marks.py rewrite FILE` puts the new fingerprint into each result
that had the recorded one, and leaves settled settings out of it. Nothing else of a result changes. Results whose
fingerprint was stale before the change are left alone and listed.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from tutelage.configs.checks import fingerprinted
from tutelage.experiment.files import json_bytes
from tutelage.experiment.plan import FLOORS, Row, Rows, fingerprint, read_plan, settings_of, version_of
from tutelage.registry import method_config

RESULTS = Path(__file__).parents[1] / "results"


def marks_of(row: Row, rows: Rows) -> dict[str, str]:
    """The fingerprints of a row by version of its method: results of an earlier version are kept until made anew."""
    return {str(version): fingerprint(row, rows, version) for version in range(1, version_of(row) + 1)}


def rewrite(file: Path, rows: Rows, before: dict[str, dict[str, str]]) -> str:
    """Rewrite one result where its fingerprint was that of its row and has changed; returns what was done."""
    from tutelage.experiment.migrate import without_settled  # not in the code before the change

    result = json.loads(file.read_bytes())
    row = rows.get(result["row"])
    if row is None or result["seed"] not in row.all_seeds:
        return "stale"
    versions = [v for v, mark in before[row.name].items() if mark == result["fingerprint"]]
    if not versions:
        return "same" if result["fingerprint"] in marks_of(row, rows).values() else "stale"
    new = dict(result, fingerprint=fingerprint(row, rows, int(versions[0])))
    if row.method not in FLOORS:
        new["config"] = without_settled(row.method, result["config"])
    if new == result:
        return "same"
    if fingerprinted(method_config(row.method, **new["config"])) != fingerprinted(settings_of(row)):
        raise SystemExit(f"{file}: its settings are not those of its row")
    if json_bytes(result) != file.read_bytes():
        raise SystemExit(f"{file}: more than these fields would change")
    file.write_bytes(json_bytes(new))
    return "rewritten"


def main() -> None:
    """Record, or rewrite and list what was not rewritten."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("record", "rewrite"))
    parser.add_argument("file", type=Path)
    args = parser.parse_args()
    rows = read_plan(RESULTS / "plan.toml")
    if args.what == "record":
        args.file.write_text(json.dumps({name: marks_of(row, rows) for name, row in rows.items()}, indent=1))
        return
    before, counts = json.loads(args.file.read_text()), dict.fromkeys(("rewritten", "same", "stale"), 0)
    for file in sorted(RESULTS.rglob("seed-*.json")):
        done = rewrite(file, rows, before)
        counts[done] += 1
        if done == "stale":
            print(f"stale: {file.relative_to(RESULTS)}")
    print(counts)


if __name__ == "__main__":
    main()
