# Which samples there are: the checkpoint that everything else depends on.
checkpoint list_samples:
    """list the samples of the source in samples.tsv"""
    input:
        # Only the example's files: those of a real source are watched through `source`.
        rules.make_example.output if RUN_CONFIG.is_example else [],
    output:
        table=f"{WORKDIR}/samples.tsv",
        incomplete=f"{WORKDIR}/incomplete.tsv",
    log:
        f"{WORKDIR}/logs/list_samples.log",
    localrule: True
    conda:
        "../envs/aerozarr.yaml"
    params:
        **script("list_samples"),
        source=RUN.source_digest,
    message:
        "Writing the sample table {output.table}"
    shell:
        "{params.python:q} {params.script:q}"
        " --table={output.table:q} --incomplete={output.incomplete:q} 2> {log:q}"
