"""python-socketio's client with msgpack against examples/socketio_echo: msgpack_client.py URL [--reference]

--reference leaves out what a server in JavaScript gets wrong.
"""

import os
import queue
import sys
import traceback

import socketio

url = sys.argv[1]
reference = "--reference" in sys.argv

INTEGERS = (
    *(0, 1, 127, 128, 255, 256, 65_535, 65_536, 2**31, 2**32 - 1, 2**32, 2**53),
    *(-1, -32, -33, -128, -129, -32_768, -32_769, -(2**31), -(2**31) - 1, -(2**53)),
)


class Peer:
    """A client that remembers what happened."""

    def __init__(self, transports, namespaces=("/",), auth=None):
        self.events = {}
        self.client = socketio.Client(reconnection=False, serializer="msgpack")
        for namespace in namespaces:
            for event in ("connect_error", "disconnect", "auth", "message-back", "said", "answered"):
                self.remember(event, namespace)
        self.client.connect(url, auth=auth, transports=transports, namespaces=list(namespaces), wait_timeout=40)

    def remember(self, event, namespace):
        got = self.events[namespace, event] = queue.Queue()
        self.client.on(event, lambda *args: got.put(args), namespace=namespace)

    def next(self, event, namespace="/"):
        return self.events[namespace, event].get(timeout=40)

    def call(self, *args, namespace="/"):
        answer = self.client.call("message-with-ack", args, namespace=namespace, timeout=40)
        return tuple(answer) if len(args) > 1 else answer


def values_come_back(transports):
    peer = Peer(transports, auth={"token": "123", "bytes": b"\x01"})
    assert peer.next("auth") == ({"token": "123", "bytes": b"\x01"},)
    for args in (
        INTEGERS,
        (0.1, 1.5, -2.25, 5e-324, *(() if reference else (1e20, -1e300))),
        (True, False, None, "", [], {}, b""),
        ("é€😀\u2028\0", {"ключ 😀": "значение"}),
        tuple("x" * length for length in (31, 32, 255, 256, 65_535, 65_536)),
        tuple(b"\xc8" * length for length in (1, 255, 256, 65_535, 65_536)),
        tuple([7] * length for length in (15, 16, 1000)),
        tuple({f"key {number}": number for number in range(count)} for count in (15, 16, 1000)),
        ([[[[{"deep": [{"er": [b"bytes"]}]}]]]], 1),
        # More bytes than could be attached to a packet of the usual serializer.
        (b"\x01\x02",) * 20,
    ):
        peer.client.emit("message", args)
        assert peer.next("message-back") == args
        assert peer.call(*args) == args
    peer.client.emit("message")
    assert peer.next("message-back") == ()
    peer.client.disconnect()


def acknowledgements(transports):
    peer = Peer(transports)
    assert peer.call(7) == 7
    assert peer.call(b"\x01") == b"\x01"
    assert not peer.call()
    assert not peer.client.call("sleep", 20, timeout=40)
    for question, answer in (("😀?", ("because", 1)), (b"\x01\x02", (b"\x03", {"deep": [b"x"]})), ({"a": 1}, ())):
        got = queue.Queue()
        peer.client.on("question", lambda value, got=got, answer=answer: got.put(value) or answer)
        peer.client.emit("ask", (question,))
        assert got.get(timeout=40) == question
        assert peer.next("answered") == answer
    peer.client.disconnect()


def many_events(transports):
    peer = Peer(transports)
    # More than the 16 packets that this client takes in one payload.
    count = 10 if reference else 200
    for number in range(count):
        peer.client.emit("message", (number, b"x"))
    assert sorted(peer.next("message-back")[0] for _ in range(count)) == list(range(count))
    assert peer.client.connected
    peer.client.disconnect()


def namespaces(transports):
    peer = Peer(transports, ["/", "/custom"])
    # Without auth it says an empty object.
    assert peer.next("auth", "/custom") == ({},)
    assert peer.call("😀", b"root") == ("😀", b"root")
    assert peer.call("😀", b"custom", namespace="/custom") == ("😀", b"custom")
    peer.client.emit("kick", namespace="/custom")
    assert peer.next("disconnect", "/custom") == (peer.client.reason.SERVER_DISCONNECT,)
    assert peer.call(1) == 1
    peer.client.emit("kick")
    assert peer.next("disconnect") == (peer.client.reason.SERVER_DISCONNECT,)
    peer.client.disconnect()


def refusals(transports):
    for namespace, expected in (
        ("/refused", {"message": "not here", "data": {"code": 7}}),
        ("/nope", {"message": "Invalid namespace"}),
    ):
        client = socketio.Client(reconnection=False, serializer="msgpack")
        errors = queue.Queue()
        client.on("connect_error", errors.put, namespace=namespace)
        try:
            client.connect(url, namespaces=[namespace], transports=transports, wait_timeout=40)
        except socketio.exceptions.ConnectionError as error:
            assert namespace in str(error), error
        else:
            raise AssertionError(f"{namespace} was joined")
        assert errors.get(timeout=40) == expected


def rooms(transports):
    one, two = Peer(transports), Peer(transports)
    room = "msgpack python " + ",".join(transports)
    assert not one.client.call("join", room, timeout=40)
    assert not two.client.call("join", room, timeout=40)
    one.client.emit("room", (room, "😀"))
    assert one.next("said") == two.next("said") == ("😀",)
    one.client.disconnect()
    two.client.disconnect()


try:
    for transports in (["polling"], ["websocket"], ["polling", "websocket"]):
        for check in (values_come_back, acknowledgements, many_events, namespaces, refusals, rooms):
            check(transports)
            print("ok", ",".join(transports), check.__name__.replace("_", " "), flush=True)
except BaseException:
    traceback.print_exc()
    # The threads of a client that is connected would keep the program.
    os._exit(1)
