# One sample, one job: its group in the store, and the fragment that says so.
rule convert_sample:
    """one sample of all, or of repair"""
    input:
        # Ancient, so that one new sample does not convert all others again. What makes a sample
        # convert again is in the parameters; its files are not inputs, because Snakemake would
        # look at every one of them in every round of scheduling.
        table=ancient(f"{WORKDIR}/samples.tsv"),
    output:
        fragment=f"{RUN_CONFIG.fragments}/{{key}}.json",
    log:
        f"{WORKDIR}/logs/convert_sample/{{key}}.log",
    localrule: IN_GROUP
    conda:
        "../envs/aerozarr.yaml"
    resources:
        **cluster_resources(),
        mem_mb=memory,
    params:
        **script("convert_sample"),
        fingerprint=fingerprint,
        stored_as=as_it_is(RUN_CONFIG.stored_as),
    message:
        "Converting {wildcards.key}"
    shell:
        # Started once a sample: without -S and -E, Python alone would cost as much as a conversion.
        "exec {params.python:q} -S -E {params.script:q} --table={input.table:q}"
        " --key={wildcards.key:q} --fragment={output.fragment:q} 2> {log:q}"
