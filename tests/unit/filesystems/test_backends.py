"""Tests of the options that file systems are opened with."""

from __future__ import annotations

import pytest
from fsspec.config import conf

from aerozarr.filesystems.backends import with_defaults


def test_options_are_mappings_of_their_own_and_the_objects_that_were_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    signer, session, configured = object(), object(), object()
    monkeypatch.setitem(conf, "s3", {"client_kwargs": {"endpoint_url": "x", "of_conf": configured}})
    given = {"session": session, "config_kwargs": {"inner": {"signer": signer}}}
    options = with_defaults("s3", given)
    assert options["session"] is session
    assert options["config_kwargs"]["inner"]["signer"] is signer
    assert options["client_kwargs"]["of_conf"] is configured
    options["config_kwargs"]["inner"]["written"] = 1
    options["client_kwargs"]["written"] = 1
    assert given["config_kwargs"] == {"inner": {"signer": signer}}
    assert "written" not in conf["s3"]["client_kwargs"]
    again = with_defaults("s3", given)
    assert "written" not in again["config_kwargs"]["inner"]
    assert "written" not in again["client_kwargs"]
