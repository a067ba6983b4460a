"""The HTTP client: plan on a server, without solver and torch here."""

from memplan.clients.http.client import PlannerClient, ServiceError

__all__ = ["PlannerClient", "ServiceError"]
