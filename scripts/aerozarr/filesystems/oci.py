"""OCI Object Storage through ocifs, with one request for each thing that is done.

By itself, ocifs lists folder by folder, asks for a file's size before it reads it, asks whether a
file is there before it removes it, and writes larger ones in parts of 5 MiB.
"""

from __future__ import annotations

import mimetypes
from typing import Any

from oci.exceptions import ServiceError
from oci.pagination import list_call_get_all_results
from ocifs import OCIFileSystem
from ocifs.errors import translate_oci_error

_FIELDS = "name,size,etag,timeCreated,timeModified"


class OracleFileSystem(OCIFileSystem):  # type: ignore[misc] # ocifs ships no types
    """What ocifs opens, but for the methods below. Paths are `bucket@namespace/name`."""

    def find(
        self,
        path: str,
        maxdepth: int | None = None,
        withdirs: bool = False,
        detail: bool = False,
        prefix: str = "",
        **kwargs: Any,
    ) -> Any:
        """Return all files below a folder, by path; with one request for every thousand.

        Parameters
        ----------
        path
            The folder; nothing is found when it is a file.
        maxdepth, withdirs
            As fsspec has them; then it is listed folder by folder.
        detail
            Whether to return what is known of each.
        prefix
            What the path of a file, from the folder, begins with.
        kwargs
            Further options of ocifs's own listing.
        """
        if maxdepth is not None or withdirs:
            return super().find(path, maxdepth, withdirs, detail, **kwargs)
        files, _ = self._listed(path, prefix)
        found = {entry["name"]: entry for entry in files}
        return found if detail else list(found)

    def ls(self, path: str, detail: bool = False, refresh: bool = False, **kwargs: Any) -> Any:
        """Return files and folders directly below a folder.

        Raises
        ------
        FileNotFoundError
            When there is nothing, except in a bucket.
        """
        bucket, _, key = self.split_path(path)
        if not bucket:
            return super().ls(path, detail, refresh, **kwargs)
        files, folders = self._listed(path, delimiter="/")
        if key and not files and not folders:
            raise FileNotFoundError(path)
        entries = [*files, *folders]
        return entries if detail else sorted(entry["name"] for entry in entries)

    def cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any
    ) -> bytes:
        """Return a file's content, or the bytes from `start` to `end`; negative as in a slice."""
        if start is None and end is None:
            span = {}
        elif start is not None and start < 0 and end is None:
            span = {"range": f"bytes={start}"}
        elif (start or 0) >= 0 and (end is None or end > (start or 0)):
            span = {"range": f"bytes={start or 0}-{'' if end is None else end - 1}"}
        else:
            return bytes(super().cat_file(path, start, end, **kwargs))
        # Not `content`, which would undo a Content-Encoding.
        return bytes(self._object("get_object", path, **span).data.raw.read())

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        """Write a file, in one piece, in place of one that is there."""
        if mode != "overwrite":
            super().pipe_file(path, value, mode, **kwargs)
            return
        kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
        self._object("put_object", path, put_object_body=bytes(value), content_type=kind)
        self.invalidate_cache(self._parent(path))

    def rm_file(self, path: str) -> None:
        """Remove a file.

        Raises
        ------
        FileNotFoundError
            When it is not there.
        """
        self._object("delete_object", path)
        self.invalidate_cache(self._parent(path))

    def info(self, path: str, **kwargs: Any) -> Any:
        """Return what is known of a file, folder or bucket.

        Raises
        ------
        FileNotFoundError
            When it is not there.
        """
        bucket, namespace, key = self.split_path(path)
        if key or not bucket:
            return super().info(path, **kwargs)
        # For a bucket, ocifs gives its client an argument that the client refuses.
        try:
            self._call_oci(
                self.oci_client.head_bucket, namespace_name=namespace, bucket_name=bucket
            )
        except ServiceError as error:
            raise translate_oci_error(error) from error
        return {"name": f"{bucket}@{namespace}", "type": "directory", "size": 0}

    def exists(self, path: str, **kwargs: Any) -> bool:
        """Whether there is such a file or folder.

        Raises
        ------
        OSError
            When that cannot be told, or there is not even its bucket.
        """
        try:
            self.info(path, **kwargs)
        except FileNotFoundError as error:
            if getattr(error.__cause__, "code", None) == "BucketNotFound":
                raise
            return False
        return True

    def _object(self, method: str, path: str, **kwargs: Any) -> Any:
        bucket, namespace, key = self.split_path(path)
        names = {"namespace_name": namespace, "bucket_name": bucket, "object_name": key}
        try:
            return self._call_oci(getattr(self.oci_client, method), **names, **kwargs)
        except ServiceError as error:
            raise translate_oci_error(error) from error

    def _listed(
        self, path: str, prefix: str = "", **kwargs: str
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Return the files below a path, and the folders if a delimiter is given."""
        bucket, namespace, key = self.split_path(path)
        below = f"{key}/{prefix}" if key else prefix
        arguments = self._get_oci_method_kwargs(
            self.oci_client.list_objects,
            namespace_name=namespace,
            bucket_name=bucket,
            prefix=below,
            fields=_FIELDS,
            **kwargs,
        )
        try:
            found = list_call_get_all_results(self.oci_client.list_objects, **arguments).data
        except ServiceError as error:
            raise translate_oci_error(error) from error
        root = f"{bucket}@{namespace}"
        files = [
            {
                "name": f"{root}/{item.name}",
                "type": "file",
                "size": item.size,
                "etag": item.etag,
                "timeModified": item.time_modified,
            }
            for item in found.objects
            # Consoles make an empty object for a folder.
            if not (item.name.endswith("/") and item.size == 0)
        ]
        folders = [
            {"name": f"{root}/{name.removesuffix('/')}", "type": "directory", "size": 0}
            for name in found.prefixes or ()
        ]
        return files, folders
