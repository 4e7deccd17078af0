"""Checking operations: finite differences, and the table of all ops with its checks against PyTorch."""
