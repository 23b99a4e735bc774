"""What examples/bench_client measures, with python-socketio's SimpleClient: client.py URL COUNT"""

import sys
import time

import socketio

url, count = sys.argv[1], int(sys.argv[2])
TEXT = "0123456789abcdef0123456789abcdef"


def measure(what, times, run):
    before = time.process_time()
    run()
    print(f"{what}: {(time.process_time() - before) * 1e6 / times:.2f} us of CPU", flush=True)


def receive():
    client.emit("burst", count)
    for _ in range(count):
        client.receive(timeout=60)


def emit():
    for _ in range(count):
        client.emit("in", TEXT)
    client.call("count", timeout=60)


def call():
    for _ in range(count // 10):
        client.call("echo", TEXT, timeout=60)


client = socketio.SimpleClient()
client.connect(url, transports=["websocket"])
client.call("echo", TEXT, timeout=60)
measure("received", count, receive)
measure("emitted", count, emit)
measure("called", count // 10, call)
client.disconnect()
