//! Extractors of the handlers, whose rejections are answered in the application's own form.

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::app::App;
use crate::error::ApiError;
use crate::names::checked_name;

/// Longest name of a user, in bytes.
pub(crate) const USER_MAX_BYTES: usize = 200;

/// The user of a request: the header `X-User`, which a proxy sets, or on a loopback address the local user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User(pub(crate) String);

impl FromRequestParts<App> for User {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let mut named = parts.headers.get_all("x-user").iter();
        match (named.next(), named.next()) {
            (None, _) => app
                .settings()
                .default_user()
                .map(|user| Self(user.to_owned()))
                .ok_or_else(ApiError::unauthorized),
            (Some(name), None) => {
                let name = std::str::from_utf8(name.as_bytes()).map_err(|_| ApiError::unauthorized())?;
                checked_user(name).map(Self).ok_or_else(ApiError::unauthorized)
            }
            // Behind a proxy that adds its header instead of replacing it, a client could name any user.
            (Some(_), Some(_)) => Err(ApiError::unauthorized()),
        }
    }
}

/// A user in `ADMIN_USERS`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Admin;

impl FromRequestParts<App> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let User(user) = User::from_request_parts(parts, app).await?;
        let is_admin = app.settings().admin_users.contains(&user);
        if is_admin { Ok(Self) } else { Err(ApiError::forbidden("only ADMIN_USERS may do this")) }
    }
}

/// Returns a user's name as it is compared and stored, if it is valid.
pub(crate) fn checked_user(name: &str) -> Option<String> {
    checked_name(name).filter(|name| name.len() <= USER_MAX_BYTES)
}

/// The id in the path. One that is no UUID is not found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Id(pub(crate) Uuid);

impl FromRequestParts<App> for Id {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let Path(text) =
            Path::<String>::from_request_parts(parts, app).await.map_err(|_| ApiError::not_found("id"))?;
        Uuid::try_parse(&text).map(Self).map_err(|_| ApiError::not_found("id"))
    }
}

/// The query, as a struct.
#[derive(Debug)]
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequestParts<App> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        match axum::extract::Query::from_request_parts(parts, app).await {
            Ok(axum::extract::Query(query)) => Ok(Self(query)),
            Err(QueryRejection::FailedToDeserializeQueryString(error)) => {
                Err(ApiError::bad_request(error.body_text()))
            }
            Err(other) => Err(ApiError::bad_request(other.body_text())),
        }
    }
}

/// The body, as JSON.
#[derive(Debug)]
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<App> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        match axum::Json::from_request(request, app).await {
            Ok(axum::Json(body)) => Ok(Self(body)),
            Err(JsonRejection::JsonDataError(error)) => Err(ApiError::invalid(error.body_text())),
            Err(JsonRejection::JsonSyntaxError(error)) => Err(ApiError::bad_request(error.body_text())),
            Err(JsonRejection::MissingJsonContentType(_)) => Err(ApiError::unsupported_picture(
                "send the body as JSON, with Content-Type: application/json",
            )),
            Err(other) if other.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                Err(ApiError::too_large(other.body_text()))
            }
            Err(other) => Err(ApiError::bad_request(other.body_text())),
        }
    }
}
