"""Errors in the shape that OpenAI's clients read: `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

import math
from typing import Any

from ..chat.remote_model import Refused
from ..errors import Busy, ModelError


class ApiError(Exception):
    """An answer that is an error.

    Args:
        status: HTTP status.
        message: for the client's developer; never holds what the client wrote.
        code: short name, stable.
        param: the request field at fault.
        retry_after_s: when to try again.
    """

    def __init__(
        self, status: int, message: str, code: str, *, param: str | None = None, retry_after_s: float | None = None
    ) -> None:
        self.status, self.message, self.code, self.param = status, message, code, param
        self.retry_after_s = retry_after_s
        super().__init__(message)

    def body(self) -> dict[str, Any]:
        return {"error": {"message": self.message, "type": _type(self.status), "param": self.param, "code": self.code}}

    def headers(self) -> dict[str, str]:
        headers = {} if self.retry_after_s is None else {"Retry-After": str(math.ceil(self.retry_after_s))}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return headers


def from_exception(err: Exception) -> ApiError:
    """What to tell the client about an error below the API; an unknown one says nothing about itself."""
    if isinstance(err, ApiError):
        return err
    if isinstance(err, Busy):
        return ApiError(429, str(err), "rate_limit_exceeded", retry_after_s=err.retry_after_s)
    if isinstance(err, ModelError) and "too long" in err.problem:
        return ApiError(400, f"{err.problem}; shorten the conversation", "context_length_exceeded", param="messages")
    if isinstance(err, Refused):
        return ApiError(400, "the model does not take this request; it may be too long", "invalid_request")
    if isinstance(err, ModelError):
        return ApiError(502, "the model behind this server cannot answer now", "model_unavailable", retry_after_s=5)
    return ApiError(500, "an error in this server; its log names the place", "internal_error")


def _type(status: int) -> str:
    if status == 429:
        return "rate_limit_error"
    if status in (401, 403):
        return "authentication_error"
    return "invalid_request_error" if status < 500 else "server_error"
