# SPDX-License-Identifier: GPL-2.0
"""Loop on the CPU of that number; say so at first, and again after half a second of it."""

import os
import sys
import time

os.sched_setaffinity(0, {int(sys.argv[1])})
print(flush=True)
while time.process_time() < 0.5:
    pass
print(flush=True)
while True:
    pass
