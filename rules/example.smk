# The bundled example: ten bodies in potential flow, so that the workflow runs with no data at all.
from aerozarr.example import example_files


rule make_example:
    """make the files of the bundled example"""
    output:
        [f"{WORKDIR}/example_source/{file}" for file in example_files()],
    log:
        f"{WORKDIR}/logs/make_example.log",
    localrule: True
    conda:
        "../envs/aerozarr.yaml"
    params:
        **script("make_example"),
        folder=untracked(f"{WORKDIR}/example_source"),
    message:
        "Making the example: ten bodies in potential flow"
    shell:
        "{params.python:q} {params.script:q} --folder={params.folder:q} 2> {log:q}"
