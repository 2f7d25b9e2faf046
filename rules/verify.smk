# Only when asked for: is the store what the source says? snakemake verify --cores 4
localrules:
    verify,


rule verify_sample:
    output:
        # No inputs: what is compared was written down when the run began, and all of it is new.
        found=f"{VERIFICATION}/found/{{key}}.json",
    log:
        f"{WORKDIR}/logs/verify_sample/{{key}}.log",
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
        " --found={output.found:q} 2> {log:q}"


rule verify:
    input:
        found_of_claimed,
    log:
        f"{WORKDIR}/logs/verify.log",
    conda:
        "../envs/aerozarr.yaml"
    params:
        **script("verify_store"),
        table=f"{WORKDIR}/verify.tsv",
        verdict=str(VERDICT),
    message:
        "Comparing the store with what was found"
    shell:
        "{params.python:q} {params.script:q} --table={params.table:q}"
        " --verdict={params.verdict:q} 2> {log:q}"
