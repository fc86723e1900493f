"""The plain HTTP paths described for today's tools: OpenAPI 3.1, made from the table of routes."""

from collections.abc import Iterable
from typing import Any

from overseer.core.access import OPEN_PATHS
from overseer.web.routes import Route

_REFUSED = {"$ref": "#/components/responses/Refused"}


def build_openapi(version: str, title: str, routes: Iterable[Route]) -> dict[str, Any]:
    """Return the document of a daemon that serves these ``routes``."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "version": version,
            "description": "Every path answers HEAD like GET. What `/ws` speaks is told by `/asyncapi.json`.",
        },
        "servers": [{"url": "/"}],
        # A token where tokens are configured, else nothing.
        "security": [{}, {"token": []}],
        "paths": {route.path: {"get": _operation(route)} for route in routes},
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "responses": {
                "Refused": {
                    "description": "The request is refused.",
                    "content": {
                        "application/json": {
                            "schema": {
                                "type": "object",
                                "properties": {"error": {"type": "string", "description": "Why."}},
                                "required": ["error"],
                            }
                        }
                    },
                }
            },
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    answers = {str(status): _answer(route, status) for status in route.answers}
    operation: dict[str, Any] = {
        "summary": route.summary,
        "responses": {**answers, "4XX": _REFUSED, "5XX": _REFUSED},
    }
    if route.query:
        operation["parameters"] = [
            {"name": name, "in": "query", "schema": {"type": "string"}} for name in route.query
        ]
    return {**operation, "security": []} if route.path in OPEN_PATHS else operation


def _answer(route: Route, status: int) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": route.answers[status]}
    if status >= 200:
        answer["content"] = {route.content_type: {}}
    return answer
