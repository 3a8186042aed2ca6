"""Ridge regression on sparse rows, for several penalties at once. Used only to fit a model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
NEAR_ZERO = 1e-10
"""smaller norms count as 0"""


class Sparse:
    """A sparse matrix. `rows` has the columns and values of each row, at least one."""

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

    def transpose_dot(self, rows: Floats) -> Floats:
        """Return X' r (shape: columns)."""
        sums = np.bincount(self.columns, self.values * rows[self.owner], minlength=self.shape[1])
        return sums.astype(np.float64, copy=False)


def ridge_path(x: Sparse, y: Floats, use: NDArray[np.bool_], penalties: Sequence[float], steps: int) -> Floats:
    """Fit y on x with an unpenalised intercept, once for each penalty.

    In the dual, the solution for a penalty p is X' (K + pI)^-1 y with K = XX'. The solutions for all penalties lie in
    one Krylov space. So one run of Lanczos (Golub and Van Loan, Matrix Computations, 10.1; fully reorthogonalised)
    serves every penalty, and each penalty then costs one tiny tridiagonal system.

    Args:
        x: the rows.
        y: the targets (shape: rows).
        use: which rows are fitted; the others can then be predicted (shape: rows).
        penalties: factors of the sum of squared weights, above 0.
        steps: dimension of the Krylov space. Fewer steps regularise, too.

    Returns:
        Weights (shape: penalties x (columns + 1)), the intercept last.
    """
    mean = y[use].mean()
    centred = np.where(use, y - mean, 0.0)
    size = float(np.linalg.norm(centred))
    if size < NEAR_ZERO:
        return np.hstack([np.zeros((len(penalties), x.shape[1])), np.full((len(penalties), 1), mean)])
    basis, diagonal, beside = [centred / size], [], []
    for _ in range(min(steps, int(use.sum()) - 1)):
        image = x.dot(x.transpose_dot(basis[-1]))
        image = np.where(use, image - image[use].mean(), 0.0)
        diagonal.append(float(image @ basis[-1]))
        known = np.array(basis)
        for _ in range(2):  # once is inaccurate under cancellation (Parlett, "twice is enough")
            image = image - known.T @ (known @ image)
        beside.append(float(np.linalg.norm(image)))
        if beside[-1] <= NEAR_ZERO * max(diagonal):
            break
        basis.append(image / beside[-1])
    tridiagonal = np.diag(diagonal) + np.diag(beside[:-1], 1) + np.diag(beside[:-1], -1)
    values, vectors = np.linalg.eigh(tridiagonal)
    krylov = np.array(basis[: len(diagonal)])
    fits = []
    for penalty in penalties:
        weights = x.transpose_dot(size * (vectors @ (vectors[0] / (values + penalty))) @ krylov)
        fits.append(np.append(weights, mean - x.dot(weights)[use].mean()))
    return np.array(fits)
