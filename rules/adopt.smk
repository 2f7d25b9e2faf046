# Only when asked for: take up a store that another program wrote. snakemake adopt --cores 4
rule adopt_sample:
    """one sample of adopt"""
    output:
        # Besides, the sample's fragment, which is an output of convert_sample. No inputs: what is
        # listed was written down when the run began, and all of it is new.
        findings=f"{RUN.adoption}/findings/{{key}}.json",
    log:
        f"{WORKDIR}/logs/adopt_sample/{{key}}.log",
    localrule: IN_GROUP
    conda:
        "../envs/aerozarr.yaml"
    resources:
        **cluster_resources(),
        mem_mb=memory,
    params:
        **script("adopt_sample"),
    message:
        "Comparing {wildcards.key} with its source"
    shell:
        "exec {params.python:q} -S -E {params.script:q} --key={wildcards.key:q}"
        " --findings={output.findings:q} 2> {log:q}"


rule adopt:
    """take up a store that another program wrote, without converting it"""
    input:
        table=f"{WORKDIR}/samples.tsv",
        incomplete=f"{WORKDIR}/incomplete.tsv",
        findings=adoption_findings,
    log:
        f"{WORKDIR}/logs/adopt.log",
    localrule: True
    conda:
        "../envs/aerozarr.yaml"
    params:
        **script("adopt"),
        # What merge_manifest makes, too.
        merged=f"{WORKDIR}/merged.json",
        report=f"{WORKDIR}/report.html",
        problems=f"{WORKDIR}/adopt.tsv",
    message:
        "Merging what was adopted into the manifest"
    shell:
        "exec {params.python:q} -S -E {params.script:q} --table={input.table:q}"
        " --incomplete={input.incomplete:q} --merged={params.merged:q}"
        " --report={params.report:q} --problems={params.problems:q} 2> {log:q}"
