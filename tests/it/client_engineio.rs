//! The Engine.IO client against the Engine.IO server.

use socketio::engineio::{Client, Message, Server, Transport};
use socketio::{App, Error, Reason, Serving};

fn echo() -> (Server, Serving) {
    let server = Server::new();
    server.on_message(|session, message| {
        let _ = session.send(message);
    });
    let serving = App::engineio(&server).bind("127.0.0.1:0").unwrap();
    (server, serving)
}

#[test]
fn messages_come_back_over_each_transport() {
    use Transport::{Polling, WebSocket};
    let (_server, serving) = echo();
    let url = format!("http://{}", serving.local_addr());
    for transports in [&[Polling][..], &[WebSocket], &[Polling, WebSocket]] {
        let client = Client::builder().transports(transports).build();
        let (sender, messages) = crossbeam_channel::unbounded();
        client.on_message(move |_: &Client, message| sender.send(message).unwrap());
        client.connect(&url).unwrap();
        assert!(client.is_connected() && client.sid().is_some());
        for number in 0..100 {
            client.send(number.to_string()).unwrap();
            client.send(vec![number; 3]).unwrap();
        }
        for number in 0..100 {
            assert_eq!(messages.recv().unwrap(), Message::from(number.to_string()));
            assert_eq!(messages.recv().unwrap(), Message::from(vec![number; 3]));
        }
        let last = transports.last().copied();
        crate::common::eventually("the upgrade", || client.transport() == last);
        client.disconnect();
        client.wait();
        assert!(!client.is_connected() && client.sid().is_none());
        assert!(matches!(client.send("late"), Err(Error::Disconnected)));
    }
}

#[test]
fn both_sides_learn_why_a_session_ended() {
    let (server, serving) = echo();
    let url = format!("http://{}", serving.local_addr());
    let (sender, reasons) = crossbeam_channel::unbounded();
    let on_server = sender.clone();
    server.on_disconnect(move |_, reason| on_server.send(("server", reason)).unwrap());
    for transport in [Transport::Polling, Transport::WebSocket] {
        let client = Client::builder().transports([transport]).build();
        let on_client = sender.clone();
        client.on_disconnect(move |_: &Client, reason: Reason| {
            on_client.send(("client", reason)).unwrap();
        });
        let both = || {
            let mut both = [reasons.recv().unwrap(), reasons.recv().unwrap()];
            both.sort_unstable_by_key(|(side, _)| *side);
            both
        };
        client.connect(&url).unwrap();
        client.disconnect();
        let own = Reason::ClientDisconnect;
        assert_eq!(both(), [("client", own), ("server", own)]);
        client.connect(&url).unwrap();
        crate::common::eventually("the session", || server.sessions().len() == 1);
        server.disconnect(&client.sid().unwrap());
        let told = Reason::ServerDisconnect;
        assert_eq!(both(), [("client", told), ("server", told)]);
        client.connect(&url).unwrap();
        drop(client);
        assert_eq!(reasons.recv().unwrap().1, own);
        assert_eq!(reasons.recv().unwrap().1, own);
    }
}

#[test]
fn a_client_asks_at_the_path_that_was_set() {
    let server = Server::new();
    let app = App::engineio(&server).socketio_path("elsewhere");
    let serving = app.bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", serving.local_addr());
    assert!(Client::new().connect(&url).is_err());
    let client = Client::builder().engineio_path("/elsewhere/").build();
    client.connect(&url).expect("connected");
    client.disconnect();
}
