"""Find the input files and read their headers: which image each file holds, and which files are no images.

A zip archive among the files stands for its members, which are read where they are (``pneumo.dicom.zip_archives``); an
archive in an archive is a file that is no image.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from pneumo.dataset import limits
from pneumo.dataset.paths import Split
from pneumo.dataset.read_ahead import read_ahead
from pneumo.dicom import files, image_file, opening, zip_archives
from pneumo.dicom.opening import Location
from pneumo.dicom.reader import Drawn
from pneumo.dicom.rejection import FileRejectedError, Reason
from pneumo.dicom.zip_archives import ZipMember
from pneumo.runtime.errors import UserError

HEADER_BYTES = 1 << 16
"""Bytes at the beginning of a file that hold its header, mostly in the first few thousand."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file found below one of the input directories, or in a zip archive there."""

    split: Split
    """Whether its directory was given for training or for testing."""
    root: Path
    """Its directory, shared by all files: a path for each would take most of a plan's memory."""
    file: str
    """POSIX path relative to its directory; of a member of an archive with that of the archive in front."""
    member: ZipMember | None = None
    """Where it is, if in an archive."""

    @property
    def path(self) -> Location:
        """Where it is."""
        return self.member or self.root / self.file


@dataclass(frozen=True, slots=True)
class ScannedFile:
    """A file whose header is that of an image."""

    source: Source
    image_id: str
    """Empty when the header has no usable one."""
    patient_id: str
    """DICOM PatientID, empty when missing; it is never written to disk."""
    stem: str
    """The file name without its extension."""
    size: int
    """Bytes of the file."""
    modified_ns: int
    """Time of its last modification, in nanoseconds; of a member of an archive the archive's."""
    exclusion: str = ""
    """Why it is not a frontal chest X-ray, such as ``modality CT``; empty when nothing says so."""
    is_picture: bool = False
    """A PNG or JPEG file, which has no header."""
    id_problem: str = ""
    """Why there is no image id; empty when there is one."""
    drawn: Drawn = ""
    """Whether a picture is a mask, or may be one."""


@dataclass(frozen=True, slots=True)
class QuarantineRow:
    """A file that cannot become a sample: a row of quarantine.csv."""

    split: Split
    file: str
    image_id: str
    """Empty when the header could not be read."""
    reason: Reason
    phase: str
    found: str
    expected: str
    action: str


@dataclass(frozen=True, slots=True)
class Archive:
    """A zip archive, whose members are to be scanned in its place."""

    members: tuple[Source, ...]


def find(dicom: Path, test_dicom: Path | None, *, labeled: bool, exclude: Collection[Path]) -> list[Source]:
    """List the files of the input directories, training first, each sorted by relative path.

    Args:
        dicom: Directory of the training images, or a single file.
        test_dicom: Directory of the test images, or a single file.
        labeled: Whether there are masks for ``dicom``; without them its images belong to the test split.
        exclude: Files and directories inside that are not input, such as the CSVs and the output; the test directory
            need not be listed.

    Raises:
        UserError: When a directory does not exist, or both are the same.
    """
    for root in (dicom, test_dicom):
        if root is not None and not root.exists():
            raise UserError(
                f"{root}: no such file or directory", "an image file or a directory of them", "check the path"
            )
        if root is not None and root.is_file() and any(path.exists() and path.samefile(root) for path in exclude):
            raise UserError(
                f"{root} given as images and as a CSV",
                "an image file or a directory of them",
                "check which path belongs to which flag",
            )
    split: Split = "train" if labeled else "test"
    if test_dicom is None:
        return _list_files(split, dicom, exclude)
    if dicom.resolve() == test_dicom.resolve():
        raise UserError(
            f"{dicom} given both as training and as test images", "two directories", "leave --test-dicom out"
        )
    return _list_files(split, dicom, [*exclude, test_dicom]) + _list_files("test", test_dicom, [*exclude, dicom])


def _list_files(split: Split, root: Path, exclude: Collection[Path]) -> list[Source]:
    found = files.find(root, exclude)
    if found == [root]:
        return [Source(split, root.parent, root.name)]
    return [Source(split, root, path.relative_to(root).as_posix()) for path in found]


def scan_file(source: Source) -> ScannedFile | QuarantineRow | Archive:
    """Read the header of one file, or list an archive; a file that is rejected is a result, not an error."""
    try:
        path = source.path
        if isinstance(path, Path) and zip_archives.is_archive(path):
            return _list_members(source, path)
        header = limits.timed(image_file.scan, path)
        size, modified_ns = opening.state(path)
    except FileRejectedError as error:
        return quarantine_row(source, "", error)
    except OSError as error:
        return quarantine_row(source, "", opening.unreadable(error))
    return ScannedFile(
        source=source,
        image_id=header.image_id,
        patient_id=header.patient_id,
        stem=header.file_stem,
        size=size,
        modified_ns=modified_ns,
        exclusion=header.exclusion,
        is_picture=header.is_picture,
        id_problem=header.id_problem,
        drawn=header.drawn,
    )


def _list_members(source: Source, path: Path) -> Archive:
    members = limits.timed(zip_archives.list_members, path)
    return Archive(
        tuple(Source(source.split, source.root, f"{source.file}/{member.path}", member) for member in members)
    )


def scan_files(sources: Sequence[Source]) -> list[ScannedFile | QuarantineRow | Archive]:
    """Read several headers."""
    ahead = read_ahead([source.path for source in sources], HEADER_BYTES)
    return [scan_file(source) for source, _ in zip(sources, ahead, strict=True)]


def quarantine_row(source: Source, image_id: str, error: FileRejectedError) -> QuarantineRow:
    """Return the quarantine's row of a file that the reader rejected."""
    return QuarantineRow(
        source.split, source.file, image_id, error.reason, error.phase, error.found, error.expected, error.action
    )
