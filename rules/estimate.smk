# Only when asked for: what would a run take? snakemake estimate --cores 4
rule estimate:
    """say what a run would read, write and take; write nothing"""
    input:
        # Only the example's files: a real source is there.
        rules.make_example.output if RUN_CONFIG.is_example else [],
    log:
        f"{WORKDIR}/logs/estimate.log",
    localrule: True
    conda:
        "../envs/aerozarr.yaml"
    params:
        **script("estimate"),
        cores=workflow.resource_settings.cores or 1,
    message:
        "Converting a few samples to see what all of them take"
    shell:
        "{params.python:q} {params.script:q} --cores={params.cores:q} 2> {log:q}"
