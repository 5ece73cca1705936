//! The application over real HTTP: every row of its contract, from outside.
#![cfg(test)]

mod abandoned;
mod analyses;
mod authorisation;
mod bad_input;
mod cache_routes;
mod content;
mod freshness;
mod harness;
mod images;
mod listing;
mod mutations;
mod redis;
mod restart;
mod thumbnails;
mod values;
