"""Train one network long, on everything but the test part; kill it at any moment, the same command goes on.

`python train.py --help` shows how; it is the same as `harness train`.
"""

import sys

from harness.__main__ import shell

if __name__ == "__main__":
    shell(["train", *sys.argv[1:]])
