# All fragments together: the store's manifest, and the table of what was skipped.
rule merge_manifest:
    """write the manifest, the files beside it, and the report"""
    input:
        table=f"{WORKDIR}/samples.tsv",
        incomplete=f"{WORKDIR}/incomplete.tsv",
        fragments=fragments,
    output:
        # The manifest itself may be on an object store; this says what was published.
        merged=f"{WORKDIR}/merged.json",
        report=report(
            f"{WORKDIR}/report.html",
            caption="captions/report.rst",
            category="Store",
        ),
    log:
        f"{WORKDIR}/logs/merge_manifest.log",
    localrule: True
    conda:
        "../envs/aerozarr.yaml"
    params:
        **script("merge_manifest"),
        listed_as=as_it_is(RUN_CONFIG.listed_as),
    message:
        "Merging {input.table} and the fragments into the manifest"
    shell:
        "exec {params.python:q} -S -E {params.script:q} --table={input.table:q}"
        " --incomplete={input.incomplete:q} --merged={output.merged:q}"
        " --report={output.report:q} 2> {log:q}"


# Only when asked for: snakemake remove_orphans --cores 1
rule remove_orphans:
    """remove groups that the manifest does not list"""
    log:
        f"{WORKDIR}/logs/remove_orphans.log",
    localrule: True
    conda:
        "../envs/aerozarr.yaml"
    params:
        **script("remove_orphans"),
        merged=f"{WORKDIR}/merged.json",
    message:
        "Removing the groups that the manifest does not list"
    shell:
        "{params.python:q} {params.script:q} --merged={params.merged:q} 2> {log:q}"
