"""The tables of methods and environments. They hold dotted names, so that listing them imports nothing heavy.

A new method or environment needs one file, one config and one row here. A user's `module:factory` is accepted wherever
a name is.
"""

from tutelage.dotted import resolve
from tutelage.registry.environments import ALL_ENVIRONMENTS, ENVIRONMENTS, EnvironmentRow
from tutelage.registry.installed import installed
from tutelage.registry.loading import (
    annotations_of,
    check_teacher,
    environment_options,
    environment_row,
    method_config,
    method_row,
    names_environment,
    of_others,
    split_options,
    stored_options,
)
from tutelage.registry.methods import METHODS, MethodRow

__all__ = [
    "ALL_ENVIRONMENTS",
    "ENVIRONMENTS",
    "METHODS",
    "EnvironmentRow",
    "MethodRow",
    "annotations_of",
    "check_teacher",
    "environment_options",
    "environment_row",
    "installed",
    "method_config",
    "method_row",
    "names_environment",
    "of_others",
    "resolve",
    "split_options",
    "stored_options",
]
