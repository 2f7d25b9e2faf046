"""Groups of a few small files, written to a store of any kind, and what its readers see."""

from aerozarr.store.write import open_root
from aerozarr.store.write.root import StoreRoot
from unit.store_helpers import Files, files_below

MANIFEST = "manifest.json"
OLD = {"volume/velocity/c/0/0": b"old", "volume/velocity/c/1/0": b"old too", "zarr.json": b"OLD"}
NEW = {"volume/velocity/c/0/0": b"new", "volume/zarr.json": b"{}", "zarr.json": b"NEW"}

# All of them pass `samples.refusal`.
IDS = (
    *("run_1", "run_2", "run1", "run_10", "param1/1dc58be2", "a/b/c/d", "a/b"),
    *("run[1]", "run_*", "run_?", "run_{1,2}", "{x}", "a b", " ", "'quoted'", '"', "a\nb", "a\tb"),
    *("ünï/cødé", "数据", "🚗", "%41", "a%2Fb", "a#b", "a&b=c", "a:b", "a::b", "~", "-x", "$HOME"),
    *("x.zarr", "c.zarrs/x", ".hidden", "zarr.json", "manifest.json", "!x", "..."),
)


# Ids that a server on this machine, not its provider, cannot list again.
CANNOT = {"s3": {"a\nb"}, "azure": {"a\nb", "a\tb"}}
SCHEMES = {"s3": "s3://", "azure": "abfs://"}


def write(store: StoreRoot, sample_id: str, files: Files) -> None:
    with store.write_group(sample_id) as group:
        for path, content in files.items():
            if path != "zarr.json":
                group.put(path, content)
        group.commit(files["zarr.json"])


def seen(url: str) -> Files:
    """What readers see: all but what lies in the folder for unfinished groups."""
    found = files_below(url).items()
    return {path: data for path, data in found if not path.startswith(".aerozarr-partial/")}


# What an id that is taken for a pattern or a prefix would hit.
ALIKE = ("run_1", "run_2", "run1", "run_10", "run_?", "run_*", "run[1]", "run_{1,2}", "a", "a/b/c")


def leave_half_written(url: str, owner: str) -> None:
    """What a run of that owner leaves when it is killed."""
    group = open_root(url, {}, owner=owner).write_group("run_9")
    group.put("volume/c/0/0", owner.encode())
