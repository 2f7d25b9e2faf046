"""The configurations of a StoreWriter: one for each set of fields that samples come with."""

from __future__ import annotations

from collections.abc import Iterable

from aerozarr.config.fields import NoPositionsError, domains_of
from aerozarr.config.filemap import ATTRIBUTES, KNOWN, attribute_named
from aerozarr.config.scalars import scalars_of
from aerozarr.config.settings import Settings
from aerozarr.errors import SettingsError
from aerozarr.messages import did_you_mean
from aerozarr.run_config import RunConfig
from aerozarr.source.datasets import Dataset
from aerozarr.store_writer.place import records_of


class Configs:
    """Makes configurations, each once.

    Parameters
    ----------
    settings
        Those of the StoreWriter.

    Attributes
    ----------
    settings, scalars
        Those of the StoreWriter, and the scalars that every sample has.
    base
        The configuration without fields: which store, which workdir.

    Raises
    ------
    SettingsError
        When a scalar cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        fields = {*ATTRIBUTES, *KNOWN, *settings.fields}
        self.scalars = scalars_of(settings.scalars, where="scalars", fields=fields)
        self._made: dict[tuple[str, ...], RunConfig] = {}
        self._records = ""
        self._records = records_of(self._of({}, None))
        self._made.clear()
        self.base = self._of({}, None)

    def of_fields(self, names: Iterable[str]) -> RunConfig:
        """Return the configuration of samples with some fields.

        Parameters
        ----------
        names
            As a caller names them.

        Raises
        ------
        SettingsError
            When one is no field, two are the same, or a domain lacks its positions.
        """
        filemap: dict[str, str] = {}
        own: set[str] = set()
        for name in names:
            attribute = attribute_named(name)
            if attribute is None:
                self._check_own(name)
                own.add(name)
            elif attribute in filemap:
                raise SettingsError(
                    f"{name!r} and {filemap[attribute]!r} are two names of one field. Give it once."
                )
            else:
                filemap[attribute] = name
        ordered = {name: filemap[name] for name in ATTRIBUTES if name in filemap}
        canonical = {f"{ATTRIBUTES[name].domain}_{ATTRIBUTES[name].name}" for name in ordered}
        return self._of(ordered, canonical | own | {*filemap.values()})

    def _check_own(self, name: str) -> None:
        if name in self.settings.fields:
            return
        known = [*ATTRIBUTES, *self.settings.fields]
        raise SettingsError(
            f"{name!r} is no field.{did_you_mean(name, known)} Name it in the setting "
            f"fields: {{{name!r}: {{'width': …}}}}, or take it out."
        )

    def _of(self, filemap: dict[str, str], names: set[str] | None) -> RunConfig:
        key = (*filemap, *sorted(names or ()))
        if key not in self._made:
            said = {
                name: one
                for name, one in self.settings.fields.items()
                if names is None or name in names
            }
            settings = self.settings.model_copy(update={"fields": said})
            try:
                domains = domains_of(filemap, settings) if names is not None else ()
            except NoPositionsError as error:
                raise SettingsError(
                    f"{str(error).partition('. ')[0]}. Give these points, too: an array of "
                    "positions, of three columns (of a domain of your own, a field of kind coord)."
                ) from None
            dataset = Dataset("custom", filemap, scalars=self.scalars)
            self._made[key] = RunConfig(settings, dataset, domains, records=self._records)
        return self._made[key]
