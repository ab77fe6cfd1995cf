"""Paths of a synthetic dataset, laid out like the data of the competition.

::

    ROOT/
      dicom/<study UID>/<series UID>/<instance UID>.dcm     training images; the instance UID is the image id
      test/ID_<9 hex digits>.dcm                            test images, flat; the file's stem is the image id
      masks.csv           ImageId,EncodedPixels             of the training images; several rows for some
      patients.csv        ImageId,PatientId                 of the training images; some patients have several
      test-masks.csv      ImageId,EncodedPixels             of the test images, one row each; not used in training
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class SyntheticTree:
    """The paths of a synthetic dataset."""

    root: Path

    @property
    def dicom(self) -> Path:
        """Directory of the training images."""
        return self.root / "dicom"

    @property
    def test_dicom(self) -> Path:
        """Directory of the test images."""
        return self.root / "test"

    @property
    def masks(self) -> Path:
        """CSV of the masks of the training images."""
        return self.root / "masks.csv"

    @property
    def patients(self) -> Path:
        """CSV of the patients of the training images."""
        return self.root / "patients.csv"

    @property
    def test_masks(self) -> Path:
        """CSV of the masks of the test images."""
        return self.root / "test-masks.csv"
