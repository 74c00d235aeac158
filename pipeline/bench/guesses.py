"""Rough guesses of what a picture shows, for a CRF to sharpen: the same on every machine of one OpenCV.

An object is guessed as a network guesses one: right but for its outline, which is as coarse as an eighth of the size.
A colour guess is unsure everywhere: it is wrong in more places, and shows what a method does when a CRF decides much.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["of_an_object", "of_colours"]

Image = NDArray[np.uint8]
COARSE = 8
SOFTNESS_PX = 0.8
"""Of the coarse outline, in coarse pixels."""
MARGIN = (0.15, 0.08)
"""The object lies within these shares of the width and of the height."""
SLOPE, NOISE = 8.0, 2.0
"""Log-odds from outside to inside, and the standard deviation of the noise before it is smoothed."""


def of_an_object(image_bgr: Image, seed: int = 0) -> NDArray[np.float32]:
    """(2, h, w) float32 probabilities of the object in the middle: GrabCut, made coarse, noisy, enlarged bilinearly."""
    height, width = image_bgr.shape[:2]
    half = cv2.resize(image_bgr, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    left, top = int(MARGIN[0] * half.shape[1]), int(MARGIN[1] * half.shape[0])
    inside = (left, top, half.shape[1] - 2 * left, half.shape[0] - 2 * top)
    found = np.zeros(half.shape[:2], np.uint8)
    cv2.setRNGSeed(seed)
    cv2.grabCut(half, found, inside, np.zeros((1, 65)), np.zeros((1, 65)), 4, cv2.GC_INIT_WITH_RECT)
    mask = ((found == cv2.GC_FGD) | (found == cv2.GC_PR_FGD)).astype(np.float32)
    coarse = cv2.resize(mask, (width // COARSE, height // COARSE), interpolation=cv2.INTER_AREA)
    coarse = cv2.GaussianBlur(coarse, (0, 0), SOFTNESS_PX)
    odds = SLOPE * (coarse - 0.5) + NOISE * _smooth_noise((1, *coarse.shape), seed)[0]
    one = 1 / (1 + np.exp(-cv2.resize(odds, (width, height), interpolation=cv2.INTER_LINEAR)))
    return np.ascontiguousarray(np.stack([1 - one, one]), np.float32)


def of_colours(image_bgr: Image, n_classes: int, seed: int = 0) -> NDArray[np.float32]:
    """(C, h, w) float32 probabilities of clusters of colours.

    Colours are clustered (k-means) at an eighth of the size; a pixel's scores are minus its squared distances to the
    clusters, softened, with smooth noise, and enlarged bilinearly, as an engine's logits are.
    """
    height, width = image_bgr.shape[:2]
    small = cv2.resize(image_bgr, (width // COARSE, height // COARSE), interpolation=cv2.INTER_AREA)
    colours = cv2.cvtColor(cv2.GaussianBlur(small, (0, 0), 1.0), cv2.COLOR_BGR2Lab).reshape(-1, 3).astype(np.float32)
    cv2.setRNGSeed(seed)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 20, 0.5)
    _, _, centres = cv2.kmeans(colours, n_classes, None, stop, 2, cv2.KMEANS_PP_CENTERS)  # type: ignore[call-overload]
    distances = ((colours[:, None] - centres[None]) ** 2).sum(axis=2)
    scores = -4 * distances / max(float(np.median(distances.max(axis=1))), 1.0)
    planes = scores.T.reshape(n_classes, *small.shape[:2]) + NOISE * _smooth_noise((n_classes, *small.shape[:2]), seed)
    large = np.stack([cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR) for plane in planes])
    exponentials = np.exp(large - large.max(axis=0))
    return np.ascontiguousarray(exponentials / exponentials.sum(axis=0), np.float32)


def _smooth_noise(shape: tuple[int, ...], seed: int) -> NDArray[np.float32]:
    noise = np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)
    return np.stack([np.asarray(cv2.GaussianBlur(plane, (0, 0), 1.5), np.float32) for plane in noise])
