//! The closed list of reasons why the gateway answers a request itself.
//!
//! Each refusal carries one reason. The keys of a dialect's `[error]` table are these names, and
//! the access log writes them. The names and codes are part of the public contract: they may be
//! added to, but never changed.

use http::StatusCode;

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $status:ident, $title:literal;)*) => {
        /// The reason why the gateway answered a request instead of forwarding it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason { $($(#[$doc])* $variant,)* }

        impl Reason {
            /// All reasons, in the order of the list.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The stable name of the reason: `code` in problem+json, the key in a dialect's
            /// `[error]` table, and `reason` in the log. Monitoring and clients compare it, so it
            /// must stay the same between versions.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// The status, where the dialect has no other.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)* }
            }

            /// One line for the client. It never reveals a cause: several reasons share a title so
            /// that they cannot be told apart. The cause is in the log.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }

            /// The reason with this code, if there is one.
            pub fn from_code(code: &str) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

reasons! {
    /// The request can be read in more than one way, or its body is not what the endpoint takes.
    MalformedRequest = "malformed_request", BAD_REQUEST, "The request is malformed";
    /// Two credentials at once, or one credential given twice (RFC 6750, section 3.1,
    /// `invalid_request`).
    AmbiguousCredential = "ambiguous_credential", BAD_REQUEST, "More than one credential was presented";
    MissingUsername = "missing_username", BAD_REQUEST, "The user name is missing";
    MissingPassword = "missing_password", BAD_REQUEST, "The password is missing";
    InvalidCredentials = "invalid_credentials", UNAUTHORIZED, "Invalid credentials";
    UnknownUser = "unknown_user", UNAUTHORIZED, "Invalid credentials";
    AccountDisabled = "account_disabled", UNAUTHORIZED, "Invalid credentials";
    /// The calling program is unknown, or its secret is wrong (RFC 6749, section 5.2).
    InvalidClient = "invalid_client", UNAUTHORIZED, "The calling program is not known";
    AccountLocked = "account_locked", TOO_MANY_REQUESTS, "Too many attempts";
    TooManyAttempts = "too_many_attempts", TOO_MANY_REQUESTS, "Too many attempts";
    CodeRequired = "code_required", UNAUTHORIZED, "A code is required";
    CodeInvalid = "code_invalid", UNAUTHORIZED, "The code is wrong or has expired";
    CodeExpired = "code_expired", UNAUTHORIZED, "The code is wrong or has expired";
    CredentialMissing = "credential_missing", UNAUTHORIZED, "No credential was presented";
    TokenInvalid = "token_invalid", UNAUTHORIZED, "The token is not valid";
    TokenExpired = "token_expired", UNAUTHORIZED, "The token has expired";
    TokenRevoked = "token_revoked", UNAUTHORIZED, "The token has been revoked";
    NotPermitted = "not_permitted", FORBIDDEN, "Not permitted";
    TlsRequired = "tls_required", FORBIDDEN, "TLS is required";
    NotFound = "not_found", NOT_FOUND, "Not found";
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED, "Method not allowed";
    RequestTimeout = "request_timeout", REQUEST_TIMEOUT, "The request took too long to arrive";
    BodyTooLarge = "body_too_large", PAYLOAD_TOO_LARGE, "The body is too large";
    UriTooLong = "uri_too_long", URI_TOO_LONG, "The request target is too long";
    UnsupportedMediaType = "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE, "Unsupported media type";
    ExpectationFailed = "expectation_failed", EXPECTATION_FAILED, "Expectation failed";
    Misdirected = "misdirected", MISDIRECTED_REQUEST, "Misdirected request";
    RateLimited = "rate_limited", TOO_MANY_REQUESTS, "Too many requests";
    HeadersTooLarge = "headers_too_large", REQUEST_HEADER_FIELDS_TOO_LARGE, "The header fields are too large";
    Internal = "internal", INTERNAL_SERVER_ERROR, "Internal server error";
    NotImplemented = "not_implemented", NOT_IMPLEMENTED, "Not implemented";
    BadGateway = "bad_gateway", BAD_GATEWAY, "The upstream service gave no valid answer";
    Unavailable = "unavailable", SERVICE_UNAVAILABLE, "Temporarily unavailable";
    GatewayTimeout = "gateway_timeout", GATEWAY_TIMEOUT, "The upstream service did not answer in time";
}
