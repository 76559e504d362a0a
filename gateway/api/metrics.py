"""GET /metrics: the counters of this process for Prometheus. It needs no key, and tells of no account, no key and no content."""

from litestar import Response, get
from litestar.datastructures import State

from gateway.generation import State as Stage
from gateway.metrics import CONTENT_TYPE, Metrics, Reading
from gateway.services import Services

_WITHOUT_HOLD = (Stage.NEW, Stage.SETTLED, Stage.VOID)


@get("/metrics", summary="Counters and latencies of this process, in Prometheus's text format", media_type=CONTENT_TYPE)
async def get_metrics(state: State) -> Response[bytes]:
    metrics: Metrics = state.metrics
    return Response(metrics.text(_reading(state.services)), media_type=CONTENT_TYPE)


def _reading(at: Services) -> Reading:
    live = at.watch.live
    return Reading(
        live=len(live),
        holds_open=sum(generation.state not in _WITHOUT_HOLD for generation in live),
        commit_queue=at.ledger.waiting,
        loop_lag_seconds=at.watch.lag_seconds,
        ejections=at.health.ejections,
        retries_refused=at.retries.refused,
        limiter_failures=at.limits.failures,
        holds_recovered=at.lifeline.recovered,
    )
