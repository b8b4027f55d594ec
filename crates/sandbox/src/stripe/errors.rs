//! What Stripe says instead of doing it [S1, S2]. The shapes are those of `specs/stripe/examples`.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::dialect::Answer;

/// An error of a request, with the code if there is one and the parameter if it is about one.
pub fn body(kind: &str, code: Option<&str>, message: &str, param: Option<&str>) -> Value {
    let mut error = json!({"type": kind, "message": message});
    if let Some(code) = code {
        error["code"] = code.into();
        error["doc_url"] = format!("https://docs.stripe.com/error-codes#{}", code.replace('_', "-")).into();
    }
    if let Some(param) = param {
        error["param"] = param.into();
    }
    json!({ "error": error })
}

/// The usual 400: nothing was executed, and nothing is remembered.
pub fn invalid(code: Option<&str>, message: &str, param: Option<&str>) -> Answer {
    Answer::json(StatusCode::BAD_REQUEST, &body("invalid_request_error", code, message, param))
}

/// A parameter is not there.
pub fn missing(param: &str) -> Answer {
    invalid(Some("parameter_missing"), &format!("Missing required param: {param}."), Some(param))
}

/// A parameter that does not exist.
pub fn unknown(param: &str) -> Answer {
    invalid(Some("parameter_unknown"), &format!("Received unknown parameter: {param}"), Some(param))
}

/// Not a number, or not one that can be.
pub fn integer(value: &str, param: &str) -> Answer {
    invalid(Some("parameter_invalid_integer"), &format!("Invalid integer: {value}"), Some(param))
}

/// There is no such object; by path it is a 404, as a parameter a 400.
pub fn no_such(status: StatusCode, kind: &str, id: &str, param: &str) -> Answer {
    let message = format!("No such {kind}: '{id}'");
    Answer::json(status, &body("invalid_request_error", Some("resource_missing"), &message, Some(param)))
}

/// The key came with other parameters before; told by its type, for it has no code.
pub fn key_reused(key: &str) -> Answer {
    let message = format!(
        "Keys for idempotent requests can only be used with the same parameters they were first used with. Try using \
         a key other than '{key}' if you meant to execute a different request."
    );
    Answer::json(StatusCode::BAD_REQUEST, &body("idempotency_error", None, &message, None))
}

/// The first request under this key is still running.
pub fn key_in_use() -> Answer {
    let message = "There is currently another in-progress request using this Idempotent Key. Please try again later.";
    let body = body("invalid_request_error", Some("idempotency_key_in_use"), message, None);
    Answer::json(StatusCode::CONFLICT, &body).with("stripe-should-retry", "true")
}

/// Nothing was executed, and nothing is remembered.
pub fn rate_limited() -> Answer {
    let body = body("invalid_request_error", Some("rate_limit"), "Request rate limit exceeded.", None);
    Answer::json(StatusCode::TOO_MANY_REQUESTS, &body)
        .with("stripe-should-retry", "true")
        .with("stripe-rate-limited-reason", "global-rate")
}

/// Another request holds the object; nothing was executed.
pub fn lock_timeout() -> Answer {
    let message = "This object cannot be accessed right now because another API request or Stripe process is \
                   currently accessing it.";
    let body = body("invalid_request_error", Some("lock_timeout"), message, None);
    Answer::json(StatusCode::TOO_MANY_REQUESTS, &body).with("stripe-should-retry", "true")
}

/// The body of a 500.
pub fn unknown_error() -> Value {
    body("api_error", None, "An unknown error occurred.", None)
}

/// Says nothing about whether it was executed.
pub fn internal() -> Answer {
    Answer::json(StatusCode::INTERNAL_SERVER_ERROR, &unknown_error()).with("stripe-should-retry", "false")
}

/// Nobody said who they are.
pub fn no_key() -> Answer {
    let message = "You did not provide an API key. You need to provide your API key in the Authorization header, \
                   using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').";
    Answer::json(StatusCode::UNAUTHORIZED, &body("invalid_request_error", None, message, None))
}

/// A key that is nobody's, or was revoked.
pub fn invalid_key(key: &str) -> Answer {
    let shown: String = key.chars().take(8).collect();
    let message = format!("Invalid API Key provided: {shown}****");
    Answer::json(StatusCode::UNAUTHORIZED, &body("invalid_request_error", None, &message, None))
}

/// No such path, or not with this method.
pub fn no_such_path() -> Answer {
    let message = "Unrecognized request URL. Please see https://docs.stripe.com or we can help.";
    Answer::json(StatusCode::NOT_FOUND, &body("invalid_request_error", None, message, None))
}
