"""`python -m tutelage` is the `tutelage` command."""

from tutelage.cli.main import entry

entry()
