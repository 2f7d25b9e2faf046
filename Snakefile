# Aerozarr: simulation datasets of per-field .pt files as one point-shuffled Zarr store.
#
#   snakemake --cores 4                       converts the bundled example
#   snakemake --cores 16 --config dataset=shapenet_car source_root=/data/shapenet store=/data/zarr
#
# config.yaml lists every setting.
from snakemake.utils import min_version

min_version("9.27")


# Not workflow.basedir, which is another workflow's where this one is imported as a module.
configfile: os.path.join(str(workflow.current_basedir), "config.yaml")


include: "rules/common.smk"
include: "rules/example.smk"
include: "rules/list.smk"
include: "rules/convert.smk"
include: "rules/estimate.smk"
include: "rules/manifest.smk"
include: "rules/verify.smk"
include: "rules/adopt.smk"
include: "rules/slurm.smk"


RUN.ask_fork_server("convert_sample", "verify_sample", "adopt_sample")
RUN.spare_snakemake()


# The default target; where this is imported as a module, the importing workflow has its own.
rule all:
    """the default: convert what is new, changed or missing, and merge"""
    input:
        results,
    message:
        "Everything is converted"


onstart:
    RUN.begin()


onsuccess:
    OUTCOME.ended = "done"
    RUN.end()


onerror:
    OUTCOME.ended = "failed"
    RUN.give_up()


if RUN.is_imported:
    # Snakemake calls only those of the importing workflow.
    OUTCOME.follow(onstart, onsuccess, onerror)
