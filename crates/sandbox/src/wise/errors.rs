//! What Wise says instead of doing it [W6]. Codes of which only the shape is known are marked (unverified).

use axum::http::StatusCode;
use serde_json::json;

use crate::dialect::Answer;

/// One thing that is wrong; its code alone is not unique, with the path it is.
pub fn listed(status: StatusCode, code: &str, message: &str, path: &str) -> Answer {
    let error = json!({"code": code, "message": message, "path": path, "arguments": []});
    Answer::json(status, &json!({"errors": [error]}))
}

/// Something in the request cannot be.
pub fn invalid(message: &str, path: &str) -> Answer {
    listed(StatusCode::UNPROCESSABLE_ENTITY, "NOT_VALID", message, path)
}

/// There is no such thing (its code is unverified).
pub fn not_found(what: &str) -> Answer {
    listed(StatusCode::NOT_FOUND, "NOT_FOUND", &format!("{what} not found"), "")
}

/// Refused before execution.
pub fn rate_limited() -> Answer {
    Answer::json(StatusCode::TOO_MANY_REQUESTS, &json!({}))
        .with("retry-after", "1")
        .with("x-rate-limited-by", "wise-public-api")
}

/// Says nothing about whether it was executed.
pub fn internal() -> Answer {
    let body = json!({"error": "internal_server_error", "error_description": "Something went wrong"});
    Answer::json(StatusCode::INTERNAL_SERVER_ERROR, &body)
}

/// No token, or one that is not taken.
pub fn invalid_token() -> Answer {
    let body = json!({"error": "invalid_token", "error_description": "Invalid token"});
    Answer::json(StatusCode::UNAUTHORIZED, &body)
}

/// No such path, or not with this method.
pub fn no_such_path() -> Answer {
    let body = json!({"status": 404, "error": "Not Found", "message": "No message available"});
    Answer::json(StatusCode::NOT_FOUND, &body)
}

/// Strong customer authentication is asked for: nothing was executed [W4].
pub fn challenge(token: &str) -> Answer {
    let body = json!({"status": 403, "error": "Forbidden", "message": "You are forbidden to send this request"});
    Answer::json(StatusCode::FORBIDDEN, &body).with("x-2fa-approval-result", "REJECTED").with("x-2fa-approval", token)
}
