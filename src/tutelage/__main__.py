"""`python -m tutelage` is the `tutelage` command."""

import os
import sys

if sys.path and os.path.abspath(sys.path[0]) == os.getcwd():
    # A user's random.py in the current directory must not stand in for the standard library's; `entry` puts the
    # directory at the end, so that his own modules are found.
    del sys.path[0]

from tutelage.cli.main import entry

entry()
