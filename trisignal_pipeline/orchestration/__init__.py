"""Dagster: assets, checks, partitions, resources and the definitions that tie them together."""
