# The run, and the input functions of the rules.
import functools
import gc
import runpy
import sys

# Not workflow.basedir, which is another workflow's where this one is imported as a module.
OWN = workflow.current_basedir.join("..")
if not isinstance(OWN, os.PathLike):
    # In a git repository: Snakemake reads rules there, and the scripts have to be files.
    check_out = workflow.source_path("../scripts/aerozarr/workflow/check_out.py")
    OWN = runpy.run_path(check_out)["check_out"](OWN, workflow.sourcecache.cache_path)
SCRIPTS = Path(os.path.abspath(OWN), "scripts")
sys.path.insert(0, str(SCRIPTS))

from aerozarr.filesystems.location import is_url
from aerozarr.garbage import no_garbage_collection
from aerozarr.source.sample_table import read_samples
from aerozarr.workflow.resources import arrays_of, memory_mb, runtime_minutes
from aerozarr.workflow.start_run import start_run
from aerozarr.workflow.snakemake_internals.cluster import jobs_in_group
from aerozarr.workflow.snakemake_internals.modules import checkpoint_output
from aerozarr.workflow.terminal import Outcome

with no_garbage_collection():
    RUN = start_run(workflow, config, SCRIPTS)
OUTCOME = Outcome.of(RUN)
RUN_CONFIG = RUN.config
WORKDIR = RUN_CONFIG.workdir
# On a node, a group of samples is one Snakemake with one fork server. If these were no local rules
# there, it would start one of each for every sample.
IN_GROUP = workflow.remote_exec
# All that is imported stays: garbage collection, and the interpreter's end, need not look at it.
gc.freeze()


wildcard_constraints:
    key="[^/]+",


@functools.lru_cache(maxsize=2)
def sample_table(path, changed):
    """Return the samples of the table by key; read again when the table changed."""
    return {sample.key: sample for sample in read_samples(Path(path))}


@functools.cache
def sample_table_path():
    """Return the path of the table that the checkpoint wrote; until it has, Snakemake is told."""
    return checkpoint_output(workflow, RUN.rule("list_samples")).table


def samples_by_key():
    """Return the samples that the checkpoint listed, by key and in sample order."""
    path = sample_table_path()
    return sample_table(path, os.stat(path).st_mtime_ns)


def fragments(wildcards):
    """Return the fragments of the samples that are to be converted, in sample order.

    Those that hold are no part of the graph: of 10,000, it alone takes Snakemake seconds.
    """
    keys = [key for key in samples_by_key() if RUN.is_in_graph(key)]
    return [f"{RUN_CONFIG.fragments}/{key}.json" for key in keys]


def results(wildcards):
    """Return what a run is to bring about; where that is there, only what it began with."""
    if RUN.has_nothing_to_do:
        return [f"{WORKDIR}/samples.tsv"]
    return [
        f"{WORKDIR}/merged.json",
        f"{WORKDIR}/report.html",
        # The fragments too: Snakemake then counts them among what is to be done.
        *fragments(wildcards),
    ]


def findings(wildcards):
    """Return the findings of all samples that the manifest lists."""
    if not RUN.verifies:
        raise WorkflowError(
            f"give {RUN.rule('verify')} on the command line, as a target of its own"
        )
    return [f"{RUN.verification}/findings/{key}.json" for key in RUN.verified]


def adoption_findings(wildcards):
    """Return the findings of all samples that are to be adopted."""
    if not RUN.adopts:
        raise WorkflowError(
            f"give {RUN.rule('adopt')} on the command line, as a target of its own"
        )
    return [f"{RUN.adoption}/findings/{key}.json" for key in RUN.adopted]


def sample_of(wildcards):
    """Return the sample that a job converts."""
    sample = samples_by_key().get(wildcards.key)
    if sample is None:
        raise WorkflowError(
            f"{WORKDIR}/samples.tsv lists no sample with the key {wildcards.key}"
        )
    return sample


def fingerprint(wildcards):
    """Return what changes when a file of the sample does."""
    return sample_of(wildcards).fingerprint


def known_row(wildcards):
    """Return the row of a sample that a run verifies or adopts; None of one that it converts."""
    return RUN.verified.get(wildcards.key) or RUN.adopted.get(wildcards.key)


def memory(wildcards, attempt):
    """Return the memory that a sample's job needs, in MiB; a retry asks for more."""
    known = known_row(wildcards)
    sample = known or sample_of(wildcards)
    # What is verified or adopted is read whole.
    arrays = arrays_of(
        RUN_CONFIG.source, sample, RUN_CONFIG.domains, is_whole=known is not None
    )
    return memory_mb(
        sample,
        arrays=arrays,
        buffers_sample=is_url(RUN_CONFIG.settings.store),
        reads_ahead=is_url(RUN_CONFIG.source_url),
        beside_snakemake=not workflow.local_exec,
        attempt=attempt,
    )


def runtime(wildcards, attempt):
    """Return what a conversion, or an adoption, adds to the time of its group, in minutes."""
    job = "adopt_sample" if RUN.adopts else "convert_sample"
    size = jobs_in_group(workflow, RUN.rule(job))
    sample = known_row(wildcards) or sample_of(wildcards)
    return runtime_minutes(sample, group_size=size, attempt=attempt)


def cluster_resources():
    """Return what only a cluster has to be told about a conversion."""
    return dict(runtime=runtime) if workflow.resource_settings.nodes else {}


def untracked(value):
    """Return a parameter that Snakemake does not compare with the last run's.

    It leaves out of its record what a function makes from `output`. Without that, another
    environment or checkout would convert everything again.
    """
    return lambda wildcards, output: value


def as_it_is(text):
    """Return a text as a parameter in which braces are no wildcards: a unit may be `m^{2}`."""
    return lambda wildcards: text


def script(name):
    """Return the Python and the script of a rule, as parameters."""
    return dict(python=untracked(RUN.python()), script=untracked(RUN.script(name)))
