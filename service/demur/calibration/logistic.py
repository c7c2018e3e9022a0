"""Logistic regression by Newton's method: the one fit behind Platt's map and the fused one."""

from __future__ import annotations

import numpy as np

from demur.calibration.base import FloatArray

_MAX_STEPS = 100
_CONVERGED = 1e-10


def fit_logistic(columns: FloatArray, targets: FloatArray, *, ridge: float = 0.0) -> tuple[FloatArray, float]:
    """Weights and intercept that minimise -sum [t ln p + (1 - t) ln(1 - p)] + ridge / 2 |weights|^2.

    `targets` lie in [0, 1] and need not be labels. The intercept is not penalised. Raises ValueError where there is no
    minimum: labels that a threshold separates, without a penalty.
    """
    design = np.column_stack([columns, np.ones(len(columns))])
    penalty = np.append(np.full(columns.shape[1], ridge), 0.0)
    theta = np.zeros(design.shape[1])
    loss = _loss(design, targets, penalty, theta)
    for _ in range(_MAX_STEPS):
        step = _newton_step(design, targets, penalty, theta)
        theta, loss, moved = _descend(design, targets, penalty, theta, step, loss)
        if moved < _CONVERGED:
            return theta[:-1], float(theta[-1])
    raise ValueError("the fit does not settle: a threshold separates the labels, or a column repeats another")


def _newton_step(design: FloatArray, targets: FloatArray, penalty: FloatArray, theta: FloatArray) -> FloatArray:
    p = 0.5 * (1.0 + np.tanh(0.5 * (design @ theta)))
    gradient = design.T @ (p - targets) + penalty * theta
    hessian = (design.T * (p * (1 - p))) @ design + np.diag(penalty)
    try:
        return np.asarray(np.linalg.solve(hessian, gradient))
    except np.linalg.LinAlgError as error:
        raise ValueError("the fit has no single minimum: a column is constant or repeats another") from error


def _descend(
    design: FloatArray, targets: FloatArray, penalty: FloatArray, theta: FloatArray, step: FloatArray, loss: float
) -> tuple[FloatArray, float, float]:
    """Newton's step, halved until it does not climb."""
    for _ in range(50):
        tried = theta - step
        reached = _loss(design, targets, penalty, tried)
        if reached <= loss + 1e-12 * (1 + abs(loss)):
            return tried, reached, float(np.max(np.abs(step) / (1 + np.abs(tried))))
        step = step / 2
    return theta, loss, 0.0


def _loss(design: FloatArray, targets: FloatArray, penalty: FloatArray, theta: FloatArray) -> float:
    z = design @ theta
    return float(np.sum(np.logaddexp(0.0, z) - targets * z) + 0.5 * np.sum(penalty * theta**2))
