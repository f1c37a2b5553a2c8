"""The scaling law against curves whose parameters are known, and against SciPy's optimizers."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import scipy.optimize

from harness.analysis.scaling_law import NotFitted, UslFit, fit_usl, speed_ups

HOSTS = (1, 2, 3, 4, 6, 8)


def law(hosts: float, rate: float, sigma: float, kappa: float) -> float:
    return rate * hosts / (1 + sigma * (hosts - 1) + kappa * hosts * (hosts - 1))


def points(
    rate: float, sigma: float, kappa: float, *, noise: float = 0.0, common: float = 0.0, trials: int = 1, seed: int = 0
) -> list[tuple[int, float]]:
    """`noise`: of each trial by itself; `common`: of all trials of a host count together."""
    rng = random.Random(seed)
    shared = {n: rng.gauss(0, common) if common else 0.0 for n in HOSTS}
    return [
        (n, law(n, rate, sigma, kappa) * math.exp(shared[n] + rng.gauss(0, noise)))
        for n in HOSTS
        for _ in range(trials)
    ]


def fitted(found: UslFit | NotFitted) -> UslFit:
    assert isinstance(found, UslFit)
    return found


@pytest.mark.parametrize(("sigma", "kappa"), [(0.05, 0.01), (0.3, 0.002), (0, 0.02), (0.05, 0), (0, 0), (0.9, 0)])
def test_finds_the_parameters_of_an_exact_curve(sigma: float, kappa: float) -> None:
    fit = fitted(fit_usl(points(1500, sigma, kappa), shared_cores=False, resamples=50))
    assert fit.rate.value == pytest.approx(1500)
    assert fit.sigma.value == pytest.approx(sigma, abs=1e-9)
    assert fit.kappa.value == pytest.approx(kappa, abs=1e-9)
    assert fit.misfit < 1e-9
    assert fit.at(5) == pytest.approx(law(5, 1500, sigma, kappa))
    if kappa:
        assert fit.peak is not None
        assert fit.peak.value == pytest.approx(math.sqrt((1 - sigma) / kappa))
    else:
        assert fit.peak is None
        assert fit.kappa.low == 0


@pytest.mark.parametrize("seed", range(8))
def test_is_the_optimum_that_scipy_finds(seed: int) -> None:
    """Some of these noisy curves have their optimum at sigma = 0 or kappa = 0, some have not."""
    measured = points(800, 0.02, 0.001, noise=0.05, trials=3, seed=seed)
    fit = fitted(fit_usl(measured, shared_cores=False, resamples=20))
    hosts, rates = (np.array(column, dtype=float) for column in zip(*measured, strict=True))
    design = np.column_stack([np.ones_like(hosts), hosts - 1, hosts * (hosts - 1)]) * (rates / hosts)[:, None]
    (a, b, c), _ = scipy.optimize.nnls(design, np.ones_like(hosts))
    assert fit.rate.value == pytest.approx(1 / a)
    assert fit.sigma.value == pytest.approx(b / a, abs=1e-7)
    assert fit.kappa.value == pytest.approx(c / a, abs=1e-7)


def test_agrees_with_a_non_linear_fit_of_the_law_itself() -> None:
    measured = points(800, 0.1, 0.01, noise=0.02, trials=5, seed=3)
    fit = fitted(fit_usl(measured, shared_cores=False, resamples=20))
    hosts, rates = (np.array(column, dtype=float) for column in zip(*measured, strict=True))
    best, _ = scipy.optimize.curve_fit(law, hosts, rates, p0=[rates[0], 0.1, 0.01], sigma=rates, bounds=(0, np.inf))
    assert fit.rate.value == pytest.approx(best[0], rel=0.02)
    assert fit.sigma.value == pytest.approx(best[1], rel=0.1)
    assert fit.kappa.value == pytest.approx(best[2], rel=0.1)


@pytest.mark.parametrize(
    ("sigma", "kappa", "noise", "common"), [(0.05, 0.01, 0.03, 0), (0.3, 0.005, 0.03, 0), (0.05, 0.01, 0.02, 0.02)]
)
def test_intervals_cover_the_truth(sigma: float, kappa: float, noise: float, common: float) -> None:
    covered_sigma = covered_kappa = 0
    for seed in range(100):
        measured = points(100, sigma, kappa, noise=noise, common=common, trials=5, seed=seed)
        fit = fitted(fit_usl(measured, shared_cores=False, resamples=200, seed=seed))
        covered_sigma += fit.sigma.holds(sigma)
        covered_kappa += fit.kappa.holds(kappa)
    assert covered_sigma >= 88
    assert covered_kappa >= 88


@pytest.mark.parametrize(("noise", "common"), [(0.03, 0.0), (0.01, 0.03)])
def test_names_no_peak_where_there_is_none(noise: float, common: float) -> None:
    """Without a kappa, noise alone makes a peak appear in at most a few of a hundred fits, also where it is one draw
    for all trials of a host count."""
    named = 0
    for seed in range(100):
        measured = points(100, 0.05, 0, noise=noise, common=common, trials=5, seed=seed)
        fit = fitted(fit_usl(measured, shared_cores=False, resamples=200, seed=seed))
        named += fit.peak is not None
        assert fit.peak is None or fit.kappa.low > 0
    assert named <= 7


@pytest.mark.parametrize(("trials", "noise"), [(1, 0.0), (1, 0.02), (5, 0.01), (5, 0.03)])
@pytest.mark.parametrize("most", [2, 3, 4, 6])
def test_throughput_that_stops_growing_has_no_peak(most: int, trials: int, noise: float) -> None:
    for seed in range(5):
        rng = random.Random(seed)
        rates = [(n, 100 * min(n, most) * math.exp(rng.gauss(0, noise))) for n in HOSTS for _ in range(trials)]
        fit = fitted(fit_usl(rates, shared_cores=False, resamples=100, seed=seed))
        assert fit.peak is fit.predict(16) is None
        assert "no peak and no prediction: the curve misses " in fit.sentence()


def test_a_curve_is_not_off_by_less_than_its_trials_differ() -> None:
    measured = points(100, 0.05, 0.03, noise=0.15, trials=3, seed=2)
    fit = fitted(fit_usl(measured, shared_cores=False, resamples=50))
    assert fit.misfit > 0.2
    assert fit.doubt == ""


def test_a_clear_peak_is_named_with_its_interval() -> None:
    fit = fitted(fit_usl(points(100, 0.05, 0.03, noise=0.01, trials=5), shared_cores=False))
    assert fit.peak is not None
    assert fit.peak.holds(math.sqrt(0.95 / 0.03))
    assert "peak at 6 hosts [" in fit.sentence()


def test_prediction_holds_the_truth_and_is_wider_farther_out() -> None:
    fit = fitted(fit_usl(points(100, 0.1, 0.004, noise=0.02, trials=5, seed=4), shared_cores=False))
    near, far = fit.predict(8), fit.predict(24)
    assert near is not None
    assert far is not None
    assert near.holds(law(8, 100, 0.1, 0.004))
    assert far.holds(law(24, 100, 0.1, 0.004))
    assert far.high / far.low > near.high / near.low


def test_hosts_that_share_cores_allow_no_prediction() -> None:
    fit = fitted(fit_usl(points(100, 0.05, 0.03), shared_cores=True))
    assert fit.peak is None
    assert fit.predict(16) is None
    assert fit.sentence().endswith("no peak and no prediction: the hosts share cores")


def test_five_host_counts_are_too_few_however_many_trials() -> None:
    few = [point for point in points(100, 0.1, 0.01, trials=9) if point[0] != 6]
    found = fit_usl(few, shared_cores=False)
    assert found == NotFitted(reason="no scaling law fitted: 5 host counts measured, 6 needed")
    assert isinstance(fit_usl([], shared_cores=False), NotFitted)


def test_super_linear_points_show_as_misfit() -> None:
    fit = fitted(fit_usl([(n, 100 * n**1.3) for n in HOSTS], shared_cores=False))
    assert (fit.sigma.value, fit.kappa.value) == (0, 0)
    assert fit.misfit > 0.2
    assert "curve within" in fit.sentence()


@pytest.mark.parametrize("point", [(0, 10.0), (2, 0.0), (2, -1.0), (2, math.nan), (2, math.inf)])
def test_refuses_impossible_host_counts_and_throughputs(point: tuple[int, float]) -> None:
    with pytest.raises(ValueError, match="positive, finite"):
        fit_usl([*points(100, 0.1, 0.01), point], shared_cores=False)


def test_the_seed_decides_the_intervals() -> None:
    measured = points(100, 0.1, 0.01, noise=0.05, trials=2)
    one = fit_usl(measured, shared_cores=False, resamples=40, seed=1)
    assert one == fit_usl(measured, shared_cores=False, resamples=40, seed=1)
    assert one != fit_usl(measured, shared_cores=False, resamples=40, seed=2)


def blocks(*rates: float | None) -> dict[int, float | None]:
    return dict(enumerate(rates, 1))


def test_speed_ups_with_efficiency_and_interval() -> None:
    one = blocks(98.0, 100.0, 102.0, 99.0, 101.0, 100.0)
    found = speed_ups({4: {n: 3.8 * (rate or 0) for n, rate in one.items()}, 1: one, 2: blocks(147.0, 155.0)})
    assert list(found) == [1, 2, 4]
    assert [up.value for up in found.values()] == pytest.approx([1.0, math.sqrt(1.5 * 1.55), 3.8])
    assert [up.efficiency for up in found.values()] == pytest.approx([1.0, math.sqrt(1.5 * 1.55) / 2, 0.95])
    assert str(found[4]) == "3.80x [3.80, 3.80], efficiency 95%"
    assert str(found[2]) == "1.52x (no interval: 2 blocks), efficiency 76%"


@pytest.mark.parametrize("rates", [{}, {2: {1: 1.0}}, {1: {1: None}, 2: {1: 1.0}}, {1: {1: 0.0}, 2: {1: 1.0}}])
def test_without_one_host_there_is_no_speed_up(rates: dict[int, dict[int, float | None]]) -> None:
    assert speed_ups(rates) == {}
