"""A competition harness: score = how well a model classifies and how fast it does so on a CPU."""

import os

__version__ = "0.1.0"

# Before torch loads: waiting OpenMP threads must sleep, not spin. Beside one busy neighbour on two cores, spinning made
# a training step with two threads 10 to 20 times slower (59 against 590 to 1,070 images/s).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# But not at once: some microseconds of spinning make two threads 17 % faster when both cores are free, and no slower
# beside a neighbour (277 images/s without, 405 with).
os.environ.setdefault("GOMP_SPINCOUNT", "20000")
# albumentations asks the network for its newest version on import, unless told not to
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
