"""The endpoints."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from medvl.serving import shapes
from medvl.serving.chat import Chat
from medvl.serving.chat_request import ChatRequest
from medvl.serving.documents import analyzed, extracted
from medvl.serving.forms import described, read_form
from medvl.serving.guard import LEFT, Guard
from medvl.serving.refusals import Refused, problem
from medvl.serving.service import Service
from medvl.serving.waiting import while_there

TOKENS = {"type": "integer", "minimum": 1, "description": "Most tokens of an answer"}
SCHEMA = {"type": "string", "description": "A JSON Schema of an object: its fields are answered instead of the text"}
PROMPT = {"type": "string", "minLength": 1, "description": "What to say about all pages together"}
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": shapes.ProblemBody, "description": what}
    for status, what in (
        (400, "A field is wrong, or not supported"),
        (401, "The key is missing or wrong"),
        (403, "Asked for another host"),
        (404, "Not here"),
        (408, "Sent too slowly"),
        (413, "Too many bytes, pixels or pages"),
        (415, "Not a format that is read"),
        (422, "A damaged image, or a wrong field"),
        (429, "Too many requests wait; see Retry-After"),
        (500, "The service failed"),
        (503, "Loading, stopping or stalled"),
        (504, "Took longer than a request may"),
    )
}
METRICS = "text/plain; version=0.0.4; charset=utf-8"


def create_app(service: Service) -> FastAPI:
    """Return the application of a service."""
    app = FastAPI(title="medvl", version="1", responses=ERRORS, redoc_url=None, docs_url=None)
    _add_watching(app, service)
    _add_documents(app, service)
    _add_openai(app, service)
    _add_errors(app)
    paths = frozenset(str(getattr(route, "path", "")) for route in app.routes)
    app.add_middleware(Guard, service=service, paths=paths)
    return app


def _add_watching(app: FastAPI, service: Service) -> None:
    @app.get("/health", response_model=shapes.Alive, tags=["watching"])
    async def health(response: Response) -> dict[str, str]:
        """Whether the process works: 503 only if its engine has died or hangs."""
        response.status_code = 503 if service.stalled else 200
        return {"status": "stalled" if service.stalled else service.state.value}

    @app.get("/ready", response_model=shapes.Alive, tags=["watching"])
    async def ready() -> dict[str, str]:
        """Whether requests are answered: the model has read a page, and its engine goes on."""
        service.check_ready()
        return {"status": service.state.value}

    @app.get("/metrics", response_class=Response, tags=["watching"])
    async def metrics() -> Response:
        """Numbers for Prometheus."""
        return Response(service.counts.text(), headers={"Content-Type": METRICS})

    @app.get("/benchmark", response_model=shapes.Records, tags=["watching"])
    async def benchmark() -> dict[str, Any]:
        """What was measured of the run whose model is served."""
        if service.records is None:
            raise Refused(404, "No run is served: start with medvl serve run=<a run directory>.", "no_run")
        return service.records


def _add_documents(app: FastAPI, service: Service) -> None:
    extracting = described({"schema": SCHEMA, "max_tokens": TOKENS})
    analyzing = described({"prompt": PROMPT, "max_tokens": TOKENS}, ("prompt",))

    @app.post("/extract", response_model=shapes.Extraction, tags=["documents"], openapi_extra=extracting)
    async def extract(request: Request) -> dict[str, Any]:
        """The text of every page, or with a schema its fields."""
        form = await read_form(request, ("schema", "max_tokens"), service.options.pages)
        return await while_there(request, extracted(service, request, form))

    @app.post("/analyze", response_model=shapes.Analysis, tags=["documents"], openapi_extra=analyzing)
    async def analyze(request: Request) -> dict[str, Any]:
        """The answer to a prompt about all pages."""
        form = await read_form(request, ("prompt", "max_tokens"), service.options.pages)
        return await while_there(request, analyzed(service, request, form))


def _add_openai(app: FastAPI, service: Service) -> None:
    @app.get("/v1/models", response_model=shapes.ModelList, tags=["openai"])
    async def models() -> dict[str, Any]:
        """The model that is served."""
        return {"data": [{"id": service.options.name, "created": service.started}]}

    @app.post("/v1/chat/completions", response_model=shapes.ChatCompletion, tags=["openai"])
    async def chat(request: Request, body: ChatRequest) -> Any:
        """One user turn with images as data URIs; with stream=true as server-sent events that end with [DONE]."""
        asked = Chat(service, request, body)
        return await while_there(request, asked.streamed() if body.stream else asked.whole())


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        body = error.body() if isinstance(error, Refused) else problem(error.status_code, str(error.detail), "http")
        return JSONResponse(body, error.status_code, headers=error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]  # its `input` is what was sent, and stays here
        place = ".".join(str(part)[:40] for part in first["loc"] if part != "body")
        status = 400 if request.url.path.startswith("/v1/") else 422
        return JSONResponse(problem(status, f"{place or 'body'}: {first['msg']}", "bad_field", place), status)

    @app.exception_handler(ClientDisconnect)
    async def left(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=LEFT)
