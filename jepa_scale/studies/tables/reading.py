"""Reads tables from files, folders and standard input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from jepa_scale.foreign import listed, reading
from jepa_scale.runs.errors import UserError
from jepa_scale.studies.tables.content import STDIN, read_content
from jepa_scale.studies.tables.formats import endings, format_in, format_of
from jepa_scale.studies.tables.table import Table, concatenated

_MOST_FILES = 100_000


Source = Path | Sequence[Path] | Table
"""One table on disk, several, or cells that are read already."""


def read_tables(source: Source) -> Table:
    """Read one table, or several one after another; a folder is the tables in it, and cells stay as they are.

    Raises
    ------
    UserError
        If a path is missing, of an unknown kind, broken or without rows.
    """
    if isinstance(source, Table):
        paths: Sequence[Path] = ()
        tables = [source]
    else:
        paths = [source] if isinstance(source, Path) else source
        tables = [_read(path) for path in paths]
    whole = tables[0]
    if len(tables) > 1:
        whole = concatenated(", ".join(map(str, paths)), tables, _labels(paths))
    if not whole.columns or not len(whole):
        raise UserError(f"{whole.source} has no rows: expected one row for each run and a header")
    return whole


def source_name(source: Source) -> str:
    """Return the name of a source, for errors."""
    if isinstance(source, Table):
        return source.source
    return str(source) if isinstance(source, Path) else ", ".join(map(str, source))


def is_table_source(paths: Sequence[Path]) -> bool:
    """Whether paths are tables, not the folder of a study."""
    path = paths[0]
    if len(paths) > 1 or str(path) == STDIN or path.is_file() or format_of(path) is not None:
        return True
    return path.is_dir() and not (path / "study.yaml").exists() and any(map(format_of, path.rglob("*")))


def table_files(folder: Path) -> list[Path]:
    """Return the files of tables at or below a folder, none of them hidden."""
    found = []
    for path in folder.rglob("*"):
        parts = path.relative_to(folder).parts
        if format_of(path) is not None and not any(part.startswith(".") for part in parts) and path.is_file():
            found.append(path)
            if len(found) > _MOST_FILES:
                raise UserError(f"{folder}: expected at most {_MOST_FILES} tables, got more: name a folder below it")
    return sorted(found)


def name_of(paths: Sequence[Path]) -> str:
    """Return a name for the tables, without an ending."""
    if str(paths[0]) == STDIN:
        return "stdin"
    name = paths[0].resolve().name
    for ending in (".gz", *endings()):
        name = name[: -len(ending)] if name.lower().endswith(ending) else name
    return name or "table"


def _read(path: Path) -> Table:
    if str(path) == STDIN:
        content = read_content(path)
        return format_in(content).read(content, "standard input")
    if path.is_dir():
        return _read_folder(path)
    if not path.is_file():
        raise UserError(f"no file {path}: expected a table of runs, {', '.join(endings())}, also with .gz")
    form = format_of(path)
    if form is None:
        raise UserError(f"{path}: expected a table ending in {', '.join(endings())}, got {path.suffix or 'no ending'}")
    with reading(path, "a table of runs", refuse=UserError):
        return form.read(read_content(path), str(path))


def _read_folder(folder: Path) -> Table:
    """Return the tables of a folder one after another; JSON objects in one folder per run are one row together."""
    with reading(folder, "a folder of tables", refuse=UserError):
        paths = table_files(folder)
    if not paths:
        raise UserError(f"{folder} has no tables: expected files ending in {', '.join(endings())}")
    kinds = {format_of(path) for path in paths}
    if len(kinds) > 1:
        names = sorted({"".join(path.suffixes[-1:]) for path in paths})
        raise UserError(
            f"{folder} has tables of several kinds ({listed(names)}): expected one kind, name the files instead"
        )
    folders: dict[Path, list[Path]] = {}
    for path in paths:
        folders.setdefault(path.parent, []).append(path)
    tables = {path: _read(path) for path in paths}
    several = len(folders) > 1 or (folder not in folders)
    if several and max(map(len, folders.values())) > 1 and all(len(table) == 1 for table in tables.values()):
        runs = [_joined(run, {path.stem: tables[path] for path in inside}) for run, inside in folders.items()]
        return concatenated(str(folder), runs, [str(run.relative_to(folder)) for run in folders])
    return concatenated(str(folder), list(tables.values()), _labels(paths))


def _joined(run: Path, tables: dict[str, Table]) -> Table:
    """Return the one row of a run whose files hold its configuration and its results."""
    columns = {f"{stem}.{name}": cells for stem, table in tables.items() for name, cells in table.columns.items()}
    first = next(iter(tables.values()))
    return replace(first, source=str(run), columns=columns, places=["the run"])


def _labels(paths: Sequence[Path]) -> list[str]:
    """Return what tells the files apart: their stems, else the folders they are in, else their paths."""
    for labels in ([name_of([path]) for path in paths], [path.parent.name for path in paths], list(map(str, paths))):
        if len(set(labels)) == len(labels):
            return labels
    return [f"{path} ({index})" for index, path in enumerate(paths)]
