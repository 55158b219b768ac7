"""Nothing is told without the token, and every response has its headers."""

from pathlib import Path

from served import serving

from headstart.base.settings import Serving
from headstart.serving import page
from headstart.serving.entrance import OPEN, POLICY


def test_only_what_tells_nothing_is_open_without_the_token(garments: Path) -> None:
    with serving([garments], Serving(token="secret")) as served:
        routes = served.client.get("/openapi.json").json()["paths"]
        asked = {
            path.replace("{name}", "garments").replace("{version}", "1"): "POST"
            if "post" in methods
            else "GET"
            for path, methods in routes.items()
        } | dict.fromkeys(page.PATHS, "GET")
        assert {"/metrics", "/v1/predict", "/v2/models/garments/infer"} <= asked.keys()
        for given in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "secret"}):
            found = {
                path: served.client.request(method, path, headers=given).status_code
                for path, method in asked.items()
            }
            assert {path for path, status in found.items() if status == 200} == (
                (OPEN - {"/openapi.json"}) | page.PATHS
            )
            assert set(found.values()) == {200, 401}
        known = served.client.get("/v1/model", headers={"Authorization": "Bearer secret"})
        assert known.json()["model"] == "garments"
        refused = served.client.get("/v1/model")
        assert refused.headers["WWW-Authenticate"] == "Bearer"
        assert refused.json()["error"] == (
            "The token is missing or another. Send it: Authorization: Bearer TOKEN."
        )


def test_every_response_has_its_headers_and_is_counted_by_route(garments: Path) -> None:
    with serving([garments]) as served:
        for path in ("/", "/page.js", "/v1/model", "/nowhere", "/elsewhere"):
            headers = served.client.get(path).headers
            assert headers["content-security-policy"] == POLICY
            assert headers["x-content-type-options"] == "nosniff"
            assert "server" not in headers
        counts = served.client.get("/metrics").text.splitlines()
        assert 'headstart_requests_total{route="/v1/model",status="200"} 1.0' in counts
        assert 'headstart_requests_total{route="other",status="404"} 2.0' in counts


def test_other_origins_may_ask_only_if_they_are_named(garments: Path) -> None:
    origin = "https://example.org"
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    with serving([garments]) as served:
        assert "access-control-allow-origin" not in served.client.get("/v1/model", headers=asked).headers
        assert served.client.options("/v1/predict", headers=asked).status_code == 405
    with serving([garments], Serving(allow_origin=(origin,), token="secret")) as served:
        allowed = served.client.options("/v1/predict", headers=asked)
        assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, origin)
        other = served.client.options("/v1/predict", headers=asked | {"Origin": "https://example.com"})
        assert "access-control-allow-origin" not in other.headers
