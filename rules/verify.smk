# Only when asked for: is the store what the source says? snakemake verify --cores 4
rule verify_sample:
    """one sample of verify"""
    output:
        # No inputs: what is expected was written down when the run began, and all of it is new.
        findings=f"{RUN.verification}/findings/{{key}}.json",
    log:
        f"{WORKDIR}/logs/verify_sample/{{key}}.log",
    localrule: IN_GROUP
    conda:
        "../envs/aerozarr.yaml"
    resources:
        mem_mb=memory,
        runtime=1,
    params:
        **script("verify_sample"),
    message:
        "Verifying {wildcards.key}"
    shell:
        "exec {params.python:q} -S -E {params.script:q} --key={wildcards.key:q}"
        " --findings={output.findings:q} 2> {log:q}"


rule verify:
    """compare the store with its source and its checksums"""
    input:
        findings,
    log:
        f"{WORKDIR}/logs/verify.log",
    localrule: True
    conda:
        "../envs/aerozarr.yaml"
    params:
        **script("verify"),
        table=f"{WORKDIR}/verify.tsv",
        verdict=f"{RUN.verification}/verdict.json",
    message:
        "Summarizing the findings"
    shell:
        "{params.python:q} {params.script:q} --table={params.table:q}"
        " --verdict={params.verdict:q} 2> {log:q}"


# Only when asked for: what verify found is converted anew, and merged. snakemake repair --cores 4
rule repair:
    """convert anew what verify found to be damaged, stale or missing"""
    input:
        results,
    log:
        f"{WORKDIR}/logs/repair.log",
    localrule: True
    conda:
        "../envs/aerozarr.yaml"
    params:
        **script("repair"),
        table=f"{WORKDIR}/repair.tsv",
    message:
        "Looking at what was mended"
    shell:
        "{params.python:q} {params.script:q} --table={params.table:q} 2> {log:q}"
