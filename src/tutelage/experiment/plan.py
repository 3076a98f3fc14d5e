"""The plan of a sweep: a TOML file of `[[row]]` tables, one per entry of the result tables.

name = "kd_marl/3s_vs_5z"      # METHOD/MAP[/WHAT]: results/kd_marl/3s_vs_5z/seed-0.json, ...
method = "kd_marl"             # of the registry; or random or scripted: a floor, which is only evaluated
env = "smax/3s_vs_5z"          # or a list: the row is repeated, {task} in name, teacher and init stands for 3s_vs_5z
variant = "mlp, 28.6x"         # how tables call it
seeds = 10                     # so many, from `first_seed` on, which is 0 unless settings were chosen on that
priority = 1                   # lower first; within one priority seed by seed
minutes = 2                    # expected, per seed
teacher = "mappo/3s_vs_5z"     # a row of the same plan, run first with the same seed; or scripted:NAME
init = "kl/3s_vs_5z@student"   # a row of the same plan, or ROW@ROLE: training starts from its weights, as with --init
zoo = true                     # keep the first seed's run under zoo/
forks = true                   # let its teacher play on from states that students reach, and keep what came of it; or
                               # the directory of a run, beside the plan's folder, whose students' states are taken
config = {core = "mlp"}        # fields of the method's config
env_options = {}
each = [                       # the row is repeated for each of these, which add to what is above
    {name = "kd_marl/{task}/no-adv", variant = "no advantage", config = {adv = 0.0}},
]
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tutelage.configs.checks import build, check_positive, check_seeds, fingerprinted
from tutelage.configs.experiment import FitConfig
from tutelage.envs.build import make
from tutelage.errors import BadInput, unknown
from tutelage.policies import size
from tutelage.registry import check_teacher, environment_options, environment_row, method_config, method_row

FLOORS = ("random", "scripted")
"""Methods that learn nothing: they are only evaluated, as a lower bound."""


@dataclass(frozen=True)
class Row:
    """One line of the plan, for one environment; see the module's text."""

    name: str
    method: str
    env: str
    variant: str
    seeds: int
    priority: int
    minutes: float
    first_seed: int = 0
    teacher: str | None = None
    init: str | None = None
    zoo: bool = False
    forks: bool | str = False
    preset: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    env_options: dict[str, Any] = field(default_factory=dict)
    fit: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_positive(self, "seeds", "minutes")
        check_seeds(self.first_seed, self.seeds)
        if any(part in ("", ".", "..") for part in self.name.split("/")):
            raise BadInput(f"name = {self.name!r}: must be a path below runs/, as METHOD/MAP")

    @property
    def all_seeds(self) -> range:
        """All seeds of the row."""
        return range(self.first_seed, self.first_seed + self.seeds)


Rows = dict[str, Row]


def read_plan(path: Path) -> Rows:
    """Read and check a plan.

    Raises:
        BadInput: the file is missing or no TOML, or a row cannot be run.
    """
    try:
        content = tomllib.loads(path.read_text())
    except OSError as error:
        raise BadInput(f"plan {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"plan {path}: {error}") from None
    if unknown_keys := sorted(content.keys() - {"row"}):
        raise BadInput(f"plan {path}: unknown key {', '.join(map(repr, unknown_keys))}; allowed: [[row]] tables")
    entries = content.get("row", [])
    if not (entries and is_list_of_tables(entries)):
        raise BadInput(f"plan {path}: row = {entries!r}; allowed: [[row]] tables, at least one")
    rows: Rows = {}
    for i, entry in enumerate(entries):
        for table in each_row(entry, f"row {entry.get('name', i)!r} of {path}"):
            try:
                row = build(Row, table, "key", also=["each"])
                settings_of(row)
                fit_config(row)
                if environment_row(row.env).ours:  # the options of others are known to them alone
                    options = asdict(environment_options(row.env, **row.env_options))
                    row = replace(row, env_options={k: as_option(v, options[k]) for k, v in row.env_options.items()})
                if row.name in rows:
                    raise BadInput(f"{row.name!r} is named twice")
            except BadInput as error:
                raise BadInput(f"row {table.get('name', i)!r} of {path}: {error}") from None
            rows[row.name] = row
    for row in rows.values():
        if row.teacher and ":" not in row.teacher and row.teacher not in rows:
            raise unknown(f"teacher of row {row.name!r}", row.teacher, rows.keys() - {row.name})
        if row.init:
            row_and_role(row, rows)
    for row in rows.values():
        check_sources(row, rows)
    return rows


def as_option(given: Any, value: Any) -> Any:
    """An option as the plan gives it; a whole number that is written as a float (1e2) becomes an int."""
    return value if isinstance(given, float) and isinstance(value, int) else given


def row_and_role(row: Row, rows: Rows) -> tuple[Row, str | None]:
    """The row that a row's training starts from, and the role that it names; raises BadInput where there is none."""
    assert row.init is not None
    name, at, role = row.init.rpartition("@")
    if row.init in rows:
        return rows[row.init], None
    if not at or name not in rows:
        raise unknown(f"init of row {row.name!r}", row.init, rows.keys() - {row.name})
    return rows[name], role


def sources(row: Row, rows: Rows) -> list[Row]:
    """The rows that must be trained before a row: its teacher's, and the one that its training starts from."""
    taught_by = [rows[row.teacher]] if row.teacher in rows else []
    return taught_by + ([row_and_role(row, rows)[0]] if row.init else [])


def check_sources(row: Row, rows: Rows, seen: tuple[str, ...] = ()) -> None:
    """Raise BadInput where a source of a row learns nothing, or where rows need each other in a circle."""
    seen = (*seen, row.name)
    for source in sources(row, rows):
        if source.method in FLOORS and source.name == row.teacher:
            raise BadInput(f"row {row.name!r}: its teacher {source.name!r} is only evaluated; name it as scripted:NAME")
        if source.method in FLOORS:
            raise BadInput(f"row {row.name!r}: its init {source.name!r} is only evaluated; it has no weights")
        if source.name in seen:
            raise BadInput(f"row {seen[0]!r} is taught by itself: {' <- '.join([*seen, source.name])}")
        check_sources(source, rows, seen)


def is_list_of_tables(entries: Any) -> bool:
    """Whether the entries are a list of tables."""
    return isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries)


def each_row(entry: dict[str, Any], label: str) -> Iterator[dict[str, Any]]:
    """The rows that an entry stands for: one for each table of its `each` and each of its environments."""
    shared = {key: value for key, value in entry.items() if key != "each"}
    each = entry.get("each", [{}])
    if not (each and is_list_of_tables(each)) or any("each" in addition for addition in each):
        raise BadInput(f"{label}: each = {each!r}; allowed: a list of tables, at least one, none with an each")
    for addition in each:
        merged = {
            k: shared[k] | v for k, v in addition.items() if isinstance(v, dict) and isinstance(shared.get(k), dict)
        }
        table = shared | addition | merged
        envs = table.get("env")
        for env in envs if isinstance(envs, list) else [envs]:
            task = str(env).partition("/")[2]
            named = {
                key: str(table[key]).replace("{task}", task) for key in ("name", "teacher", "init") if key in table
            }
            yield table | named | ({"env": env} if "env" in table else {})


def settings_of(row: Row) -> Any:
    """The config of the row's method, None for one of FLOORS; raises BadInput for invalid settings."""
    if row.method not in FLOORS:
        check_teacher(row.method, row.teacher)
        return method_config(row.method, row.preset, **row.config)
    if row.config or row.preset or row.teacher or row.init or row.zoo:
        raise BadInput(f"method = {row.method!r} is only evaluated: it has no config, preset, teacher, init or zoo")
    return None


def fit_config(row: Row) -> FitConfig:
    """The FitConfig of the row; raises BadInput for invalid settings."""
    return build(FitConfig, row.fit, "field of fit")


def version_of(row: Row) -> int:
    """The current version of the row's method."""
    return 1 if row.method in FLOORS else method_row(row.method).version


def default_teacher(row: Row) -> Any:
    """Settings and version of the teacher that is trained first where a row names none; None where there is none."""
    name = None if row.method in FLOORS else method_row(row.method).teacher
    return [name, fingerprinted(method_config(name)), method_row(name).version] if name else None


def initial(row: Row, rows: Rows) -> list[str | None]:
    """What a row's training starts from, for its fingerprint."""
    source, role = row_and_role(row, rows)
    return [fingerprint(source, rows), role]


def code_constants(settings: Any) -> dict[str, Any]:
    """Constants of the code that results depend on, where they differ from those of the first results."""
    unequal = getattr(settings, "capacity", "equal") != "equal"
    return {"least_width": size.LEAST} if unequal and size.LEAST != 8 else {}


def fingerprint(row: Row, rows: Rows, version: int | None = None) -> str:
    """A hash of everything that the results of a row are meant to depend on.

    These are the settings of the row and of its teacher, the versions of environment and method, and the measure by
    which parameters are chosen. Libraries, machines and other changes of the code do not change the hash.

    Args:
        version: of the method; by default the current one.
    """
    settings, spec = settings_of(row), make(row.env, **row.env_options).spec
    version = version or version_of(row)
    # The measure by which parameters are chosen. Success is left out, so that older fingerprints stay valid.
    chosen_by = {} if row.method in FLOORS or spec.measure == "success" else {"measure": spec.measure}
    content = {
        "method": row.method,
        "config": fingerprinted(settings) if settings else None,
        "env": row.env,
        "env_options": row.env_options,
        "env_version": spec.version,
        "fit": fingerprinted(fit_config(row)),
        "teacher": fingerprint(rows[row.teacher], rows) if row.teacher in rows else row.teacher or default_teacher(row),
        **(
            {"method_version": version} if version > 1 else {}
        ),  # version 1 is left out, so that older fingerprints stay valid
        **({"init": initial(row, rows)} if row.init else {}),
        **chosen_by,
        **code_constants(settings),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
