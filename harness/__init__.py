# SPDX-License-Identifier: GPL-2.0
"""Build a kernel module, boot it in VMs over real kernels, and report verdicts to trust."""
