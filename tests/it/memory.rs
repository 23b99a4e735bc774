//! What clients cost a server's process in memory, in the end.

use crate::common::{Example, Ws, eventually, is_alone};
use socketio::engineio::Transport;
use socketio::{ConnectOptions, SimpleClient};
use std::net::SocketAddr;

const CLIENTS: usize = 1_000;
/// KiB for each idle client, also after it has had large messages.
const EACH: u64 = 8;

/// Resident memory, in KiB.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let words = line.and_then(|line| line.split_whitespace().nth(1));
    words.and_then(|word| word.parse().ok()).expect("a figure")
}

// One after the other: this process is measured too.
#[test]
fn idle_clients_cost_little_on_both_sides() {
    if !is_alone(module_path!(), "idle_clients_cost_little_on_both_sides") {
        return;
    }
    an_idle_client_costs_its_own_process_little();
    large_messages_leave_nothing_behind();
}

fn large_messages_leave_nothing_behind() {
    let server = Example::start("bench_server", 0, &[]);
    let address = server.address();
    // What the first clients cost stays: tables, workers, the allocator's pages.
    talk_large(&mut connect(address, 100));
    let before = resident(server.pid());
    let mut clients = connect(address, CLIENTS);
    talk_large(&mut clients);
    let each = || resident(server.pid()).saturating_sub(before) / CLIENTS as u64;
    println!("{} KiB for each of {CLIENTS} clients", each());
    eventually("little memory", || each() <= EACH);
    drop(clients);
}

fn connect(address: SocketAddr, count: usize) -> Vec<Ws> {
    (0..count).map(|_| Ws::join(address, "40").0).collect()
}

/// 64 KiB to everybody, and a megabyte each way, as text and as bytes.
fn talk_large(clients: &mut [Ws]) {
    let text = "x".repeat(64 << 10);
    for _ in 0..3 {
        clients[0].send(&format!("42[\"broadcast\",\"{text}\"]"));
        for client in &mut *clients {
            let mut message = client.text();
            while message == "2" {
                client.send("3");
                message = client.text();
            }
            assert_eq!(message.len(), text.len() + "42[\"b\",\"\"]".len());
        }
    }
    let large = "y".repeat(990_000);
    for client in clients.iter_mut().take(50) {
        client.send(&format!("421[\"echo\",\"{large}\"]"));
        assert_eq!(client.text().len(), large.len() + "431[\"\"]".len());
        client.send("451-2[\"echo\",{\"_placeholder\":true,\"num\":0}]");
        client.send_bytes(large.as_bytes());
        assert!(client.text().starts_with("461-2["));
        assert_eq!(client.bytes().len(), large.len());
    }
}

fn an_idle_client_costs_its_own_process_little() {
    const EACH: u64 = 6;
    let server = Example::start("bench_server", 0, &[]);
    let connect = || {
        let options = ConnectOptions::new(server.url()).transports([Transport::WebSocket]);
        SimpleClient::connect(options).expect("it connects")
    };
    let first: Vec<_> = (0..100).map(|_| connect()).collect();
    let before = resident(std::process::id());
    let clients: Vec<_> = (0..600).map(|_| connect()).collect();
    let each = || resident(std::process::id()).saturating_sub(before) / clients.len() as u64;
    println!("{} KiB for each of {} clients", each(), clients.len());
    eventually("little memory", || each() <= EACH);
    drop(first);
}
