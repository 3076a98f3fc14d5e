"""`python -m tutelage` is the `tutelage` command."""

import os
import sys

if sys.path and os.path.abspath(sys.path[0]) == os.getcwd():
    # A user's random.py in the current directory must not stand in for the standard library's; his own
    # modules are looked for there last, and only where he names them.
    del sys.path[0]

from tutelage.cli.main import entry

entry()
