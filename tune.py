"""Join the team's study: every trial trains a small proxy model and measures it.

`python tune.py --help` shows how; it is the same as `harness tune`.
"""

import sys

from harness.__main__ import shell

if __name__ == "__main__":
    shell(["tune", *sys.argv[1:]])
