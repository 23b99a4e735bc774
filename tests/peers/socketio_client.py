"""python-socketio's client against examples/socketio_echo: socketio_client.py URL"""

import queue
import sys

import socketio

url = sys.argv[1]


def check(transports):
    with_auth = {"token": "123"}
    got = queue.Queue()
    client = socketio.Client()
    client.on("auth", lambda auth: got.put(("auth", auth)))
    client.on("message-back", lambda *args: got.put(("back", args)))
    client.connect(url, auth=with_auth, transports=transports, wait_timeout=40)
    assert got.get(timeout=40) == ("auth", with_auth)

    args = (1, "2", {"3": [False, None]}, b"\x04", [[b"five"]], "é😀")
    client.emit("message", args)
    assert got.get(timeout=40) == ("back", args)

    answer = client.call("message-with-ack", ({"a": [b"", b"\x01\x02"]}, "x", None), timeout=40)
    assert tuple(answer) == ({"a": [b"", b"\x01\x02"]}, "x", None), answer
    assert client.call("message-with-ack", 7, timeout=40) == 7

    # More than the 16 packets that this client takes in one payload.
    for number in range(200):
        client.emit("message", number)
    numbers = sorted(got.get(timeout=40)[1][0] for _ in range(200))
    assert numbers == list(range(200))
    assert client.connected
    client.disconnect()

    refused = socketio.Client()
    try:
        refused.connect(url, namespaces=["/random"], transports=transports, wait_timeout=40)
    except socketio.exceptions.ConnectionError as error:
        assert "/random" in str(error), error
    else:
        raise AssertionError("/random was joined")

    with socketio.SimpleClient() as simple:
        simple.connect(url, namespace="/custom", transports=transports)
        assert simple.receive(timeout=40) == ["auth", {}]
        assert simple.call("message-with-ack", "hello", timeout=40) == "hello"
        assert simple.transport() == transports[-1] if callable(simple.transport) else simple.transport == transports[-1]


for transports in (["polling"], ["websocket"], ["polling", "websocket"]):
    check(transports)
    print("ok", ",".join(transports))
