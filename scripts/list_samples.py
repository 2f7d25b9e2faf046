"""Makes the sample table, one row a sample in sample order, from the source's listing."""

from aerozarr.workflow.job import run
from aerozarr.workflow.list_samples import list_samples

if __name__ == "__main__":
    run(list_samples, __doc__, "table", "incomplete")
