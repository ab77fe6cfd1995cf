"""Which images are of one patient, for the folds and for the bootstrap over patients."""

import numpy as np
import numpy.typing as npt


def number_patients(patient: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """Number the patients (n,) from 0 without gaps; each image of an unknown patient (-1) is a patient by itself."""
    unknown = patient < 0
    separate = patient.astype(np.int64)
    separate[unknown] = patient.max(initial=0) + 1 + np.arange(np.count_nonzero(unknown))
    numbered: npt.NDArray[np.int64] = np.unique(separate, return_inverse=True)[1].astype(np.int64)
    return numbered


def count_patients(patient: npt.NDArray[np.int32]) -> int:
    """Return the number of patients of images (n,); each image of an unknown patient (-1) is a patient by itself."""
    return int(number_patients(patient).max(initial=-1)) + 1
