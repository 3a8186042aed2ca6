"""Ridge regression on sparse rows, for a whole path of penalties at once. Used where a model is fitted, not asked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
TINY = 1e-10


class Sparse:
    """A matrix of rows with few values. `rows`: for each its columns and values, at least one."""

    def __init__(self, rows: Sequence[tuple[Sequence[int], Sequence[float]]], width: int) -> None:
        counts = np.array([len(columns) for columns, _ in rows])
        self.shape = len(rows), width
        self.starts = np.concatenate([[0], np.cumsum(counts[:-1])])
        self.owner = np.repeat(np.arange(len(rows)), counts)
        self.columns = np.concatenate([np.asarray(columns, dtype=np.int64) for columns, _ in rows])
        self.values = np.concatenate([np.asarray(values, dtype=np.float64) for _, values in rows])

    def dot(self, weights: Floats) -> Floats:
        """Return X w (shape: rows)."""
        return np.add.reduceat(self.values * weights[self.columns], self.starts)

    def back(self, rows: Floats) -> Floats:
        """Return the transpose's product (shape: columns)."""
        sums = np.bincount(self.columns, self.values * rows[self.owner], minlength=self.shape[1])
        return sums.astype(np.float64, copy=False)


def path(x: Sparse, y: Floats, use: NDArray[np.bool_], penalties: Sequence[float], steps: int) -> Floats:
    """Fit y on x with an unpenalised intercept, once for each penalty.

    In the dual, the solution for a penalty p is X' (K + pI)^-1 y with K = XX', and all of them lie in one Krylov
    space: so many steps of Lanczos (Golub and Van Loan, Matrix Computations, 10.1; fully reorthogonalised) serve every
    penalty, each of which then costs a tiny tridiagonal system.

    Args:
        x: the rows.
        y: what they are to say (shape: rows).
        use: which rows count, so that the others can be predicted (shape: rows).
        penalties: of the sum of squared weights, above 0.
        steps: how far the space goes; fewer steps regularise, too.

    Returns:
        Weights (shape: penalties x (columns + 1)), the intercept last.
    """
    mean = y[use].mean()
    centred = np.where(use, y - mean, 0.0)
    size = float(np.linalg.norm(centred))
    if size < TINY:
        return np.hstack([np.zeros((len(penalties), x.shape[1])), np.full((len(penalties), 1), mean)])
    basis, diagonal, beside = [centred / size], [], []
    for _ in range(min(steps, int(use.sum()) - 1)):
        image = x.dot(x.back(basis[-1]))
        image = np.where(use, image - image[use].mean(), 0.0)
        diagonal.append(float(image @ basis[-1]))
        known = np.array(basis)
        for _ in range(2):  # once is not enough where much cancels (Parlett, "twice is enough")
            image = image - known.T @ (known @ image)
        beside.append(float(np.linalg.norm(image)))
        if beside[-1] <= TINY * max(diagonal):
            break
        basis.append(image / beside[-1])
    tridiagonal = np.diag(diagonal) + np.diag(beside[:-1], 1) + np.diag(beside[:-1], -1)
    values, vectors = np.linalg.eigh(tridiagonal)
    krylov = np.array(basis[: len(diagonal)])
    fits = []
    for penalty in penalties:
        weights = x.back(size * (vectors @ (vectors[0] / (values + penalty))) @ krylov)
        fits.append(np.append(weights, mean - x.dot(weights)[use].mean()))
    return np.array(fits)
