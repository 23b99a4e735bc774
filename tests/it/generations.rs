//! Clients and servers of the generation before: Engine.IO 3, Socket.IO protocols 3 and 4.

use crate::common::{Example, has_peer, node, old_python, peers, succeed};
use std::path::Path;

const SLOW: &[&str] = &[
    "--eio3",
    "1",
    "--ping-interval",
    "1000",
    "--ping-timeout",
    "500",
];
const QUICK: &[&str] = &[
    "--eio3",
    "1",
    "--ping-interval",
    "300",
    "--ping-timeout",
    "300",
];

#[test]
fn javascript_clients_of_both_old_generations_work_over_each_transport() {
    let server = Example::start("socketio_echo", 0, QUICK);
    for package in ["socket.io-client-v1", "socket.io-client-v2"] {
        if let Some(mut client) = node("old_client.js", &[package, &server.url()]) {
            succeed(&mut client);
        }
    }
}

#[test]
fn the_official_client_is_served_beside_old_ones() {
    let server = Example::start(
        "socketio_echo",
        0,
        &["--eio3", "1", "--max-payload", "300000"],
    );
    if let Some(mut client) = node("socketio_client.js", &[&server.url(), "300000"]) {
        succeed(&mut client);
    }
}

#[test]
fn python_clients_of_the_old_generation_work_over_each_transport() {
    let server = Example::start("socketio_echo", 0, QUICK);
    if let Some(mut client) = old_python("old_client.py", &[&server.url()]) {
        succeed(&mut client);
    }
}

#[test]
fn requests_and_frames_of_engineio_3_are_answered_as_by_the_reference() {
    let server = Example::start("socketio_echo", 0, SLOW);
    if let Some(mut client) = node("raw_eio3.js", &[&server.url()]) {
        succeed(&mut client);
    }
}

#[test]
fn an_old_page_works_in_chromium_with_scripts_in_the_place_of_requests_too() {
    let chromium = std::env::var("CHROMIUM").unwrap_or("/usr/bin/chromium".into());
    let bundle = peers().join("node_modules/socket.io-client-v2/dist/socket.io.js");
    if !has_peer("Chromium", Path::new(&chromium)) || !has_peer("the old bundle", &bundle) {
        return;
    }
    let server = Example::start("socketio_echo", 0, QUICK);
    if let Some(mut page) = node("old_page.js", &[&server.url(), &chromium]) {
        succeed(&mut page);
    }
}
