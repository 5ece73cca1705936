//! The application over real HTTP: every row of its contract, from outside.
#![cfg(test)]

mod abandoned;
mod analyses;
mod authorisation;
mod bad_input;
mod cache_routes;
mod changed_meanwhile;
mod console;
mod content;
mod damaged_data;
mod freshness;
mod harness;
mod hosts;
mod images;
mod listing;
mod mutations;
mod observed;
mod page;
mod redis;
mod restart;
mod slow_clients;
mod stopping;
mod thumbnails;
mod values;
