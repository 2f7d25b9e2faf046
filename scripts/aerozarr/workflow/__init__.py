"""Snakemake's side: what happens at a run's start and end, and how its jobs run."""
