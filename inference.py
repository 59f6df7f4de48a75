"""Pack a finished run as a submission: model.onnx, predictions.csv, manifest.json; and predict.py, to use it.

`python inference.py --help` shows how; it is the same as `harness pack`.
"""

import sys

from harness.__main__ import shell

if __name__ == "__main__":
    shell(["pack", *sys.argv[1:]])
