"""``/openapi-3.1.json`` is valid OpenAPI 3.1 and tells of every path that is served."""

import json

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from overseer.core.access import OPEN_PATHS
from overseer.web.openapi import build_openapi
from overseer.web.routes import ROUTES, Route

DOCUMENT = json.loads(json.dumps(build_openapi("1.2.3", "builds", ROUTES)))


def test_it_is_valid_by_the_published_schema() -> None:
    """Its references lead somewhere, too."""
    OpenAPIV31SpecValidator(DOCUMENT).validate()
    assert DOCUMENT["info"]["title"] == "builds"
    assert DOCUMENT["info"]["version"] == "1.2.3"


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.path)
def test_a_path_tells_its_answers(route: Route) -> None:
    """Each status with its meaning, the refusals, and whether a token may be asked for."""
    operation = DOCUMENT["paths"][route.path]["get"]
    assert operation["summary"] == route.summary
    assert set(operation["responses"]) == {*map(str, route.answers), "4XX", "5XX"}
    assert (operation.get("security") == []) is (route.path in OPEN_PATHS)


def test_it_tells_of_nothing_else() -> None:
    """The table of routes is the one source."""
    assert list(DOCUMENT["paths"]) == [route.path for route in ROUTES]
