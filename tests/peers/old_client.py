"""python-socketio 4's client against examples/socketio_echo: old_client.py URL QUICK_URL [--reference]

QUICK_URL is of a server with a short heartbeat, which a busy machine may miss. --reference leaves out what a server in JavaScript gets wrong.
"""

import os
import queue
import sys
import time
import traceback

import socketio

url, quick_url = sys.argv[1:3]
reference = "--reference" in sys.argv

# This client handles each packet in a thread of its own and relies on the parts of one to be handled in order.
sys.setswitchinterval(1)


class Peer:
    """A client that remembers what happened."""

    def __init__(self, transports, namespaces=("/",), query="", url=url):
        self.events = {}
        self.client = socketio.Client(reconnection=False)
        for namespace in namespaces:
            for event in ("connect", "connect_error", "disconnect", "auth", "message-back", "said", "answered"):
                self.remember(event, namespace)
        others = [name + query for name in namespaces if name != "/"]
        self.client.connect(url, transports=transports, namespaces=others)

    def remember(self, event, namespace):
        got = self.events[namespace, event] = queue.Queue()
        self.client.on(event, lambda *args: got.put(args), namespace=namespace)

    def next(self, event, namespace="/"):
        try:
            return self.events[namespace, event].get(timeout=40)
        except queue.Empty:
            state = "connected" if self.client.connected else "not connected any more"
            raise AssertionError(f"no {event} on {namespace}; the client is {state}") from None

    def call(self, *args, namespace="/"):
        return self.client.call("message-with-ack", args, namespace=namespace, timeout=40)


def arguments_come_back(transports):
    peer = Peer(transports)
    assert peer.next("connect") == ()
    assert peer.next("auth") == ({},)
    assert peer.client.sid
    args = (1, "2", {"3": [False, None]}, b"\x04", [[b"five"]], "é€😀\u2028\0\n\\n", 1.5, -1e21, [], {}, "")
    peer.client.emit("message", args)
    assert peer.next("message-back") == args
    peer.client.emit("message")
    assert peer.next("message-back") == ()
    # The server knows it by the id of the engine.
    peer.client.emit("room", (peer.client.sid, "mine"))
    assert peer.next("said") == ("mine",)
    peer.client.disconnect()


def acknowledgements(transports):
    peer = Peer(transports)
    peer.next("connect")
    args = ({"a": [b"\0", b"\x01\x02"]}, "é😀", None)
    assert peer.call(*args) == args
    assert peer.call(7) == 7
    assert peer.call() is None
    assert peer.client.call("sleep", 20, timeout=40) is None
    for length in (1, 2, 126, 70_000, 200_000):
        assert peer.call(b"\xc8" * length) == b"\xc8" * length
        assert peer.call("x" * length) == "x" * length
    ten = tuple(bytes([number]) for number in range(10))
    assert peer.call(*ten) == ten

    for question, answer in (("😀?", ("because", 1)), (b"\x01\x02", (b"\x03", {"deep": [b"x"]})), (None, ())):
        got = queue.Queue()
        peer.client.on("question", lambda value, got=got, answer=answer: got.put(value) or answer)
        peer.client.emit("ask", (question,))
        assert got.get(timeout=40) == question
        assert peer.next("answered") == answer
    peer.client.disconnect()


def many_events(transports):
    peer = Peer(transports)
    peer.next("connect")
    # More than the 16 packets that this client takes in one payload.
    count = 10 if reference else 200
    for number in range(count):
        peer.client.emit("message", number)
    assert sorted(peer.next("message-back")[0] for _ in range(count)) == list(range(count))
    # It counts code points where others count UTF-16 units.
    if not reference:
        for _ in range(count):
            peer.client.emit("message", "😀😀😀")
        assert all(peer.next("message-back") == ("😀😀😀",) for _ in range(count))
    assert peer.client.connected
    peer.client.disconnect()


def namespaces(transports):
    peer = Peer(transports, ["/", "/custom"])
    peer.next("connect"), peer.next("connect", "/custom")
    assert peer.next("auth", "/custom") == ({},)
    assert peer.call("😀", b"root") == ("😀", b"root")
    assert peer.call("😀", b"custom", namespace="/custom") == ("😀", b"custom")
    peer.client.emit("kick", namespace="/custom")
    assert peer.next("disconnect", "/custom") == ()
    assert peer.call(1) == 1
    peer.client.emit("kick")
    assert peer.next("disconnect") == ()
    assert not peer.client.connected
    peer.client.eio.disconnect()

    with_query = Peer(transports, ["/custom"], "?token=a%20b&token=c+d&x=")
    assert with_query.next("auth", "/custom") == ({"token": "c d", "x": ""},)
    assert with_query.call("hello", namespace="/custom") == "hello"
    with_query.client.disconnect()


def refusals(transports):
    peer = Peer(transports, ["/", "/refused", "/nope"])
    assert peer.next("connect_error", "/refused") == ({"code": 7},)
    (error,) = peer.next("connect_error", "/nope")
    assert error in ("Invalid namespace", {"message": "Invalid namespace"}), error
    assert peer.call("still here") == "still here"
    peer.client.disconnect()


def rooms(transports):
    one, two, outside = (Peer(transports) for _ in range(3))
    room = "python " + ",".join(transports)
    assert one.client.call("join", room, timeout=40) is None
    assert two.client.call("join", room, timeout=40) is None
    one.client.emit("room", (room, "😀"))
    assert one.next("said") == two.next("said") == ("😀",)
    assert outside.call(1) == 1
    assert outside.events["/", "said"].empty()
    for peer in (one, two, outside):
        peer.client.disconnect()


def heartbeat(transports):
    peer = Peer(transports, url=quick_url)
    peer.next("connect")
    time.sleep(peer.client.eio.ping_interval + peer.client.eio.ping_timeout + 0.5)
    assert peer.client.connected
    assert peer.call("still here") == "still here"
    peer.client.disconnect()


try:
    for transports in (["polling"], ["websocket"], ["polling", "websocket"]):
        for check in (arguments_come_back, acknowledgements, many_events, namespaces, refusals, rooms, heartbeat):
            check(transports)
            print("ok", ",".join(transports), check.__name__.replace("_", " "), flush=True)
except BaseException:
    traceback.print_exc()
    # The threads of a client that is connected would keep the program.
    os._exit(1)
