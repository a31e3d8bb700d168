# SPDX-License-Identifier: GPL-2.0
"""`python -m harness`."""

import sys

from harness.cli import main

sys.exit(main())
