"""Every use of what Snakemake does not document: one function each, and a test each.

Tried with Snakemake up to `version.TESTED`; the Snakefile asks for no older one. A function whose
attribute is gone raises `AttributeError` with its name, and so does its test, before any user meets
it.
"""
