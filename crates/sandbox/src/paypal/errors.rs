//! What PayPal says instead of doing it. The shapes are those of `specs/paypal/examples`; names of which it is not
//! known that PayPal says them in this place are marked (unverified).

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::dialect::Answer;

const INFORMATION: &str = "https://developer.paypal.com/docs/api/payments.payouts-batch/#errors";

/// An error of this name.
pub fn named(status: StatusCode, name: &str, message: &str) -> Answer {
    detailed(status, name, message, &[])
}

/// An error with what is wrong where.
pub fn detailed(status: StatusCode, name: &str, message: &str, details: &[Value]) -> Answer {
    let mut body = json!({
        "name": name,
        "message": message,
        "debug_id": format!("{:013x}", rand::random::<u64>() >> 12),
        "information_link": INFORMATION,
        "links": [],
    });
    if !details.is_empty() {
        body["details"] = details.into();
    }
    Answer::json(status, &body)
}

/// Nothing was created, and the id is still free.
pub fn validation(details: &[Value]) -> Answer {
    detailed(StatusCode::BAD_REQUEST, "VALIDATION_ERROR", "Invalid request - see details", details)
}

/// What is wrong where.
pub fn detail(field: impl Into<String>, issue: &str) -> Value {
    json!({"field": field.into(), "location": "body", "issue": issue})
}

/// The id was used within 30 days; with a link to what it was used for, if there is one to give.
pub fn duplicate(batch_id: Option<&str>) -> Answer {
    let mut detail = detail("SENDER_BATCH_ID", "Batch with given sender_batch_id already exists");
    match batch_id {
        // Another host than the one that was called: only the id is to be taken.
        Some(id) => {
            let href = format!("https://api.sandbox.paypal.com/v1/payments/payouts/{id}");
            detail["link"] = json!([{"href": href, "rel": "self", "method": "GET", "encType": "application/json"}]);
        }
        None => detail["issue"] = "Duplicate batch request".into(),
    }
    detailed(StatusCode::BAD_REQUEST, "USER_BUSINESS_ERROR", "User business error.", &[detail])
}

/// Not taken.
pub fn rate_limited() -> Answer {
    let message = "Too many requests. Blocked due to rate limiting.";
    named(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMIT_REACHED", message)
}

/// Says nothing about whether it was executed; the same id may be sent again.
pub fn internal() -> Answer {
    let message = "An internal service error has occurred.";
    named(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", message)
}

/// The token is nobody's, or not any more (its name is unverified).
pub fn invalid_token() -> Answer {
    let body = json!({
        "error": "invalid_token",
        "error_description": "The token passed in was not found in the system",
    });
    Answer::json(StatusCode::UNAUTHORIZED, &body)
}

/// No such batch or item.
pub fn not_found() -> Answer {
    named(StatusCode::NOT_FOUND, "INVALID_RESOURCE_ID", "The requested resource ID was not found")
}

/// A body that is no JSON by its header.
pub fn media_type() -> Answer {
    let message = "The server does not support the request payload's media type.";
    named(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", message)
}

/// No such path, or not with this method.
pub fn no_such_path() -> Answer {
    named(StatusCode::NOT_FOUND, "RESOURCE_NOT_FOUND", "The specified resource does not exist.")
}

/// What an item's error says.
pub fn item(name: &str) -> Value {
    let message = match name {
        "RECEIVER_UNREGISTERED" => "The recipient for this payout does not have an account.",
        "RECEIVER_ACCOUNT_INVALID" => "Receiver's account is invalid.",
        "SELF_PAY_NOT_ALLOWED" => "You cannot send a payout to yourself.",
        "REGULATORY_PENDING" => "The payout is under review.",
        "REGULATORY_BLOCKED" => "The payout is blocked.",
        _ => "The payout was not made.",
    };
    json!({
        "name": name,
        "message": message,
        "debug_id": "0",
        "information_link": INFORMATION,
        "details": [],
        "links": [],
    })
}
