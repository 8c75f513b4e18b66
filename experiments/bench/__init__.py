"""Benchmarks: each prints a table with its circumstances."""
