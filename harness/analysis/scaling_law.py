"""How throughput scales with hosts, as two costs: contention (sigma) and coherency (kappa).

Gunther's Universal Scalability Law with the rate of one host as its third parameter (A General Theory of
Computational Scalability Based on Rational Functions, arXiv:0808.1431):

    X(N) = lambda N / (1 + sigma (N - 1) + kappa N (N - 1))

N / X(N) is linear in 1/lambda, sigma/lambda and kappa/lambda, so the best fit without negative values is found
exactly, without a start value or an iteration. Errors are relative, because the noise of a throughput grows with it.

A curve can be drawn through any points, so claims are restricted. A fit needs six different host counts. There is no
peak where the interval of kappa includes 0: the data do not show one. There is neither peak nor prediction where the
hosts share cores, because the limit of the machine is measured, or where the curve clearly misses a host count,
because the data follow another law.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harness.analysis.block_ratio import BlockRatio, Blocks, ratio
from harness.analysis.stats import Interval, central_interval

POINTS_NEEDED = 6
"""Different host counts that a fit needs: three parameters, and three more to show how well they fit."""

MISSED, ERRORS_MISSED = 0.05, 3.0
"""The curve misses a host count if it differs from its trials' mean by more than this share, and, where host counts
have several trials, by more than this number of standard errors of that mean."""

_NOTHING = 1e-9
"""Share of the time per request below which a cost is a rounding error and counts as 0."""

_Curve = tuple[float, float, float]
"""1/lambda, sigma/lambda, kappa/lambda: the time per request, and what each further host adds to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedUp:
    """The throughput of `hosts` hosts over that of one, taken within each block."""

    hosts: int
    ratio: BlockRatio

    @property
    def value(self) -> float:
        """The multiple of one host's throughput."""
        return self.ratio.value

    @property
    def efficiency(self) -> float:
        """The share of `hosts` times one host's throughput: 1 where each host adds as much as the first."""
        return self.value / self.hosts

    def __str__(self) -> str:
        return f"{self.value:.2f}x{self.ratio.basis}, efficiency {self.efficiency:.0%}"


def speed_ups(rates: Mapping[int, Blocks]) -> dict[int, SpeedUp]:
    """Host count -> its speed-up, from the throughput of each block; none without a block that one host shares."""
    speedups = {}
    for hosts, of in sorted(rates.items()):
        if found := ratio(rates.get(1, {}), of):
            speedups[hosts] = SpeedUp(hosts=hosts, ratio=found)
    return speedups


@dataclass(frozen=True, slots=True, kw_only=True)
class NotFitted:
    """There is no fit; `reason` is a sentence for the report."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UslFit:
    """A fitted law with 95 % intervals. `rate` is lambda, in the unit of the throughput given.

    `misfit` is the largest relative gap between the curve and a measured point; `peak` the number of hosts with the
    highest throughput, None where the data show none; `doubt` why nothing beyond the points may be claimed, or empty.
    """

    rate: Interval
    sigma: Interval
    kappa: Interval
    peak: Interval | None
    misfit: float
    doubt: str
    draws: tuple[_Curve, ...] = field(repr=False)

    def at(self, hosts: float) -> float:
        """The curve's throughput at `hosts`, for charts."""
        return self.rate.value * hosts / (1 + (hosts - 1) * (self.sigma.value + self.kappa.value * hosts))

    def predict(self, hosts: float) -> Interval | None:
        """The expected throughput of `hosts` with its interval; None where there is a `doubt`."""
        if self.doubt:
            return None
        return central_interval(self.at(hosts), [_throughput(curve, hosts) for curve in self.draws])

    def sentence(self) -> str:
        """The fit as a sentence, with what it does not allow to claim."""
        costs = (
            f"sigma {self.sigma.value:.3g} [{self.sigma.low:.3g}, {self.sigma.high:.3g}], "
            f"kappa {self.kappa.value:.2g} [{self.kappa.low:.2g}, {self.kappa.high:.2g}], "
            f"curve within {self.misfit:.0%} of every point"
        )
        if self.doubt:
            return f"{costs}; no peak and no prediction: {self.doubt}"
        if self.peak is None:
            return f"{costs}; no peak: the interval of kappa includes 0"
        return f"{costs}; peak at {self.peak.value:.0f} hosts [{self.peak.low:.0f}, {self.peak.high:.0f}]"


def fit_usl(
    points: Sequence[tuple[int, float]], *, shared_cores: bool, resamples: int = 1000, seed: int = 0
) -> UslFit | NotFitted:
    """Fits the law to `points`: (hosts, throughput) per valid trial, several per host count where there are.

    The intervals are of a bootstrap of residuals (Davison & Hinkley, Bootstrap Methods and their Application, 1997,
    chapter 6), resampled per host count: the mean relative error of a count's trials around the curve, widened for
    small samples (`_widening`). A disturbance of all trials of a count, or a curve that does not fit, is one
    observation, whatever the number of trials. Simulated with 3 % noise, of trials or of host counts, they cover sigma
    and kappa in 88 to 100 of 100 cases.
    Super-linear points give sigma = kappa = 0 and a large misfit.
    ValueError for hosts < 1 or a throughput that is not finite and positive.
    """
    if any(hosts < 1 or not math.isfinite(rate) or rate <= 0 for hosts, rate in points):
        raise ValueError("each point needs at least one host and a positive, finite throughput")
    counts = sorted({hosts for hosts, _ in points})
    if len(counts) < POINTS_NEEDED:
        return NotFitted(reason=f"no scaling law fitted: {len(counts)} host counts measured, {POINTS_NEEDED} needed")
    where = [hosts for hosts, _ in points]
    best = _best(where, [hosts / rate for hosts, rate in points])
    errors: dict[int, list[float]] = {n: [] for n in counts}
    for hosts, rate in points:
        errors[hosts].append(math.log(rate / _throughput(best, hosts)))
    means = {n: math.fsum(of) / len(of) for n, of in errors.items()}
    centre, widen = math.fsum(means.values()) / len(means), _widening(errors, means)
    residuals = [(mean - centre) * widen for mean in means.values()]
    rng = random.Random(seed)
    draws = []
    for _ in range(resamples):
        drawn = dict(zip(counts, rng.choices(residuals, k=len(counts)), strict=True))
        draws.append(_best(where, [n / _throughput(best, n) / math.exp(drawn[n]) for n in where]))
    kappa = central_interval(best[2] / best[0], [c / a for a, _, c in draws])
    doubt = "the hosts share cores" if shared_cores else _missed(errors, means)
    peak = None
    if kappa.low > 0 and not doubt:
        peak = central_interval(_peak(best), [_peak(curve) for curve in draws])
    return UslFit(
        rate=central_interval(1 / best[0], [1 / a for a, _, _ in draws]),
        sigma=central_interval(best[1] / best[0], [b / a for a, b, _ in draws]),
        kappa=kappa,
        peak=peak,
        misfit=max(math.expm1(abs(error)) for of in errors.values() for error in of),
        doubt=doubt,
        draws=tuple(draws),
    )


def _missed(errors: Mapping[int, Sequence[float]], means: Mapping[int, float]) -> str:
    """The host count that the curve misses most and by how much, as text; empty where it misses none."""
    deviation = _deviation(errors, means)
    worst = max(means, key=lambda n: abs(means[n]))
    off = abs(means[worst])
    if off <= MISSED or off <= ERRORS_MISSED * deviation / math.sqrt(len(errors[worst])):
        return ""
    than = ", far more than its trials differ" if deviation else ""
    return f"the curve misses {worst} host{'s' * (worst > 1)} by {math.expm1(off):.0%}{than}"


def _throughput(curve: _Curve, hosts: float) -> float:
    a, b, c = curve
    return hosts / (a + (hosts - 1) * (b + c * hosts))


def _deviation(errors: Mapping[int, Sequence[float]], means: Mapping[int, float]) -> float:
    """The standard deviation of the trials within host counts; 0 where no count has several."""
    freedom = sum(map(len, errors.values())) - len(errors)
    spread = math.fsum((error - means[n]) ** 2 for n, of in errors.items() for error in of)
    return math.sqrt(spread / freedom) if freedom else 0.0


def _widening(errors: Mapping[int, Sequence[float]], means: Mapping[int, float]) -> float:
    """The factor for the mean errors of the host counts before they are resampled.

    As residuals of a three-parameter fit they are too small by the fitted parameters; by chance they may be smaller
    than the spread of the trials within a count allows for a mean; and a percentile interval of few draws lacks the
    tails of Student's t (its expansion in 1/freedom: Abramowitz & Stegun 26.7.5, at the normal's 97.5 % point).
    """
    freedom, z = len(means) - 3, 1.96
    t = z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    squares = math.fsum(mean**2 for mean in means.values())
    least = _deviation(errors, means) ** 2 * math.fsum(1 / len(of) for of in errors.values()) / len(errors)
    lucky = max(1.0, math.sqrt(least * freedom / squares)) if squares else 1.0
    return math.sqrt(len(means) / freedom) * t / z * lucky


def _peak(curve: _Curve) -> float:
    """The maximum of the curve: sqrt((1 - sigma) / kappa), at least one host."""
    a, b, c = curve
    return math.inf if c == 0 else max(1.0, math.sqrt(max(0.0, (a - b) / c)))


def _best(where: Sequence[int], costs: Sequence[float]) -> _Curve:
    """The non-negative a, b, c with the least sum of ((a + b (N-1) + c N (N-1)) / cost - 1)^2.

    Bounded least squares has its optimum where some of b, c are 0 and the others solve the unbounded problem; with
    two of them, all four cases are tried.
    """
    rows = [(1 / cost, (n - 1) / cost, n * (n - 1) / cost) for n, cost in zip(where, costs, strict=True)]
    gram = [[math.fsum(row[i] * row[j] for row in rows) for j in range(3)] for i in range(3)]
    target = [math.fsum(row[i] for row in rows) for i in range(3)]
    largest = max(where)
    candidates: list[tuple[float, _Curve]] = []
    for free in ((0,), (0, 1), (0, 2), (0, 1, 2)):
        solved = _solve([[gram[i][j] for j in free] for i in free], [target[i] for i in free])
        full = dict(zip(free, solved, strict=True))
        a, b, c = (full.get(i, 0.0) for i in range(3))
        b, c = (
            b if abs(b) * largest > _NOTHING * a else 0.0,
            c if abs(c) * largest**2 > _NOTHING * a else 0.0,
        )
        if a > 0 and b >= 0 and c >= 0:
            loss = math.fsum((a * x + b * y + c * z - 1) ** 2 for x, y, z in rows)
            candidates.append((loss, (a, b, c)))
    return min(candidates)[1]


def _solve(matrix: list[list[float]], target: list[float]) -> list[float]:
    """Gaussian elimination with the largest pivot; the matrix is a Gram matrix of independent columns."""
    size = len(target)
    rows = [[*matrix[i], target[i]] for i in range(size)]
    for column in range(size):
        pivot = max(range(column, size), key=lambda i: abs(rows[i][column]))
        rows[column], rows[pivot] = rows[pivot], rows[column]
        for i in range(size):
            if i != column:
                factor = rows[i][column] / rows[column][column]
                rows[i] = [x - factor * y for x, y in zip(rows[i], rows[column], strict=True)]
    return [rows[i][size] / rows[i][i] for i in range(size)]
