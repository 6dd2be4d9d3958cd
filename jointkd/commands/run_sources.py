"""Where the data and the labels of a run are now: found by what its folder records, read, and never written."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from jointkd.commands.run_record import RunRecord, damaged
from jointkd.data.options import DataOptions, FileData
from jointkd.data.prepared import PreparedSet, prepare
from jointkd.data.provenance import FILES, check_matches, origin_of
from jointkd.data.published import PublishedData
from jointkd.data.splits import Split
from jointkd.data.subsets import Subset
from jointkd.data.unlabelled import added_frames
from jointkd.errors import DataError, LabelMismatch, UserError, first_line
from jointkd.files.arrays import MANIFEST
from jointkd.files.run_files import CONFIGURATION
from jointkd.labelling.plan import LABELS, has_labels
from jointkd.labels.store import LabelStore
from jointkd.students.student_file import target_of
from jointkd.trust import Trust, build_named, trusted_names

log = logging.getLogger(__name__)

DATA = frozenset(target_of(kind) for kind in (FileData, PublishedData, Subset, Split))
KEPT = ("_target_", "by", "official_test")  # of the options of a division: other options are checked against them
DOWNLOADS = "outputs/downloads"  # of files that the user names by a URL

Places = Mapping[str, str | None]


def data_of(record: RunRecord, given: Places, trust: str | list[str] | None) -> DataOptions:
    """The options of the run's data, with the paths where they are now. Raises DataError for a class without trust."""
    recorded = record.part("data")
    if isinstance(recorded.get("split"), dict):  # the division is that of the run's split.json
        recorded["split"] = {name: value for name, value in recorded["split"].items() if name in KEPT}
    if given.get("path"):
        recorded |= {name: None for name in ("train", "val", "test") if name in recorded}
    for name in FILES:
        if name in recorded:
            recorded[name] = given.get(name) or found(record, recorded[name])
    if added := recorded.get("unlabelled"):
        recorded["unlabelled"] = [found(record, path) for path in (added if isinstance(added, list) else [added])]
    if "downloads" in recorded:
        if recorded["source"] is None or (not given.get("source") and "://" in str(recorded["source"])):
            recorded["source"] = downloaded(record, recorded)  # a run's folder may not ask for downloads
        recorded["downloads"] = DOWNLOADS
    recorded |= {"prepared": None, "workers": 0, "report": False}
    place = f"{record.folder / CONFIGURATION}: data"
    return build_named(recorded, DataOptions, Trust(DATA.__contains__, trusted_names(trust)), place)  # type: ignore[type-abstract]


def downloaded(record: RunRecord, recorded: Mapping[str, Any]) -> str:
    """The folder of a published set's downloads where it is now, or as it was recorded."""
    if not isinstance(recorded["downloads"], str):
        raise damaged(record.folder / CONFIGURATION, f"data.downloads={recorded['downloads']}")
    return str(found(record, recorded["downloads"]))


def found(record: RunRecord, path: Any) -> Any:
    """A recorded path where it is now, or as it was recorded."""
    return str(record.find(path) or path) if isinstance(path, str) and "://" not in path else path


def prepared_set(record: RunRecord, data: DataOptions, given: Places, temporary: Path) -> PreparedSet:
    """The set that holds the run's test split: a prepared one, else one made in a temporary folder.

    Raises DataError that names what is missing, and the errors of the reader.
    """
    recorded = record.part("data").get("prepared")
    place = Path(named).expanduser() if (named := given.get("prepared")) else found(record, recorded)
    if place is not None and not (given.get("path") or given.get("source")):
        for candidate in prepared_below(Path(place), data.name):
            prepared = opened(candidate, data, record.keys["test"])
            if prepared is not None:
                return prepared
    if named:
        raise DataError(
            f"data.prepared={named} has no set with the {len(record.keys['test'])} structures of the run's test split",
            "give the prepared set that the run was trained on, or data.path=FILE",
        )
    for name in FILES:
        path = getattr(data, name, None)
        if isinstance(path, str) and "://" not in path and record.find(path) is None:
            if isinstance(data, PublishedData) and not given.get("source"):
                raise DataError(
                    f"the files of data={data.name} are not in {path}",
                    "give data.source=FOLDER with them, or data.prepared=FOLDER of a prepared set",
                )
            raise DataError(
                f"data.{name}={path} of the run is neither here, nor in {record.folder}, nor in a folder above it",
                f"give data.{name if name == 'source' else 'path'}=PATH where it is now, or data.prepared=FOLDER of a "
                "prepared set",
            )
    here = replace(data, unlabelled=[path for path in data.added_files if Path(path).exists()])  # none is tested
    return prepare(temporary, "data", data.reader(), data.rules, data.max_force, {}, added_frames(here))


def prepared_below(place: Path, name: str) -> Iterator[Path]:
    """A prepared set, or the prepared sets of a name in a folder."""
    if (place / MANIFEST).exists():
        yield place
    elif place.is_dir():
        yield from sorted(p for p in place.iterdir() if p.name.startswith(f"{name}-") and (p / MANIFEST).exists())


def opened(path: Path, data: DataOptions, keys: Iterable[str]) -> PreparedSet | None:
    """A prepared set, None if it was made with other options, lacks one of the structures, or is damaged."""
    try:
        prepared = PreparedSet(path)
        origin = origin_of(data.reader(), data.rules, data.max_force, data.added_files)
        check_matches(path, prepared.manifest["of"], origin)
    except (UserError, KeyError, TypeError, AttributeError) as error:
        log.info("%s is not used: %s", path, first_line(error))
        return None
    return prepared if set(prepared.keys) >= set(keys) else None


def labels_of(record: RunRecord, data: DataOptions, given: str | None) -> LabelStore | None:
    """The labels of the run's test split, None where there are none; a line says then what is not evaluated.

    Raises LabelMismatch where they are needed, or where those that the user names are others.
    """
    if record.teacher is None:
        return None
    keys = record.keys["test"]
    missing = f"{given or LABELS / record.teacher.name} has no labels of {record.teacher.name} for the test split"
    for path in label_places(record, data.name, given):
        store = LabelStore.open(path, read_only=True)
        if store.teacher.fingerprint() != record.teacher.fingerprint():
            continue
        undone = sum(not store.is_done(key) for key in keys)
        if any(key in store and store.probe_count(key) for key in keys):
            missing = (
                f"{path} is of another division of the data, with probes in place of Hessian rows of test structures"
            )
        elif not undone:
            store.verify()
            return store
        else:
            missing = f"{undone} of {len(keys)} test structures have no labels in {path}"
    remedy = "make them with python -m jointkd.label and the run's options, or give label.path=FOLDER"
    if data.reference == "teacher" or given:
        raise LabelMismatch(missing, remedy)
    log.info("Hessian rows and atomic energies are not evaluated: %s; %s", missing, remedy)
    return None


def label_places(record: RunRecord, name: str, given: str | None) -> list[Path]:
    """The label stores that a run may have used."""
    assert record.teacher is not None
    recorded = given or record.part("label").get("path")
    if recorded is not None and not isinstance(recorded, str):
        raise damaged(record.folder / CONFIGURATION, f"label.path={recorded}")
    if recorded:
        places = [record.find(recorded) or Path(recorded)]
    else:
        folder = record.find(str(LABELS / record.teacher.name))
        places = sorted(p for p in folder.iterdir() if p.name.startswith(f"{name}-")) if folder else []
    return [path for path in places if has_labels(path)]
