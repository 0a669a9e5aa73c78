"""Injector: answers the API server: decides by the configs that are in use, counts, and tells in a line."""

import msgspec

from sidecar.kubernetes.decision import Configs, Decision, decide
from sidecar.kubernetes.review import NAME_MAX, Request, answer, read_review
from sidecar.telemetry.log import Log
from sidecar.telemetry.metrics import Metrics

_encode = msgspec.json.Encoder().encode


class Injector:
    """One injector; `configs` is replaced whenever its files change."""

    def __init__(self, own_namespace: str, metrics: Metrics, log: Log) -> None:
        self.configs = Configs()
        self._own_namespace = own_namespace
        self._metrics = metrics
        self._log = log

    def review(self, body: bytes | bytearray) -> bytes:
        """Answer one AdmissionReview. Raises MalformedReview."""
        request = read_review(body)
        try:
            decision = decide(request, self.configs, self._own_namespace)
        except Exception as error:  # noqa: BLE001 - the edge: a fault of ours is no reason to keep a pod from starting
            self._log.fault("internal", error, uid=request.uid)
            decision = Decision("internal", warning="no sidecar was added: the injector failed; its log tells where")
        self._metrics.counter("sidecar_injections_total", decision.config, decision.result).count()
        self._tell(request, decision)
        return answer(request.uid, _encode(decision.steps) if decision.steps else b"", decision.warning)

    def _tell(self, request: Request, decision: Decision) -> None:
        is_injected = decision.result == "injected"
        self._log.event(
            "info" if is_injected else "warning" if decision.warning else "debug",
            "injected" if is_injected else "not_injected",
            result=decision.result,
            config=decision.config,
            namespace=request.namespace,
            pod=decision.pod[:NAME_MAX],  # It is judged after us.
            why=decision.warning,
            dry_run=bool(request.dry_run),
            uid=request.uid,
        )
