"""python-socketio's client with packets of its own form against examples/socketio_echo --detect 1:
packet_client.py cbor|pickle URL"""

import pickle
import queue
import sys

import cbor2
import socketio
from socketio import packet


class Packet(packet.Packet):
    uses_binary_events = False
    module = {"cbor": cbor2, "pickle": pickle}[sys.argv[1]]

    def encode(self):
        return self.module.dumps(self._to_dict())

    def decode(self, encoded_packet):
        fields = self.module.loads(encoded_packet)
        self.packet_type = fields["type"]
        self.data = fields.get("data")
        self.id = fields.get("id")
        self.namespace = fields["nsp"]


VALUES = [None, True, 1, -1, 2**31, -(2**63), 2**64 - 1, 1.5, "\u00e9\U0001f600", b"\x00\x01", [[], {}], {"a": b"x", "b": [1.5]}, "x" * 70_000]

for transports in (["polling"], ["websocket"], ["polling", "websocket"]):
    client = socketio.Client(serializer=Packet)
    got = queue.Queue()
    client.on("message-back", lambda *args: got.put(list(args)))
    client.on("auth", lambda auth: got.put(auth))
    client.on("question", lambda question: ("an answer", question, b"1"))
    client.on("answered", lambda *answer: got.put(list(answer)))
    client.connect(sys.argv[2], auth={"token": "t"}, transports=transports)
    assert got.get(timeout=40) == {"token": "t"}
    client.emit("message", tuple(VALUES))
    assert got.get(timeout=40) == VALUES
    assert client.call("message-with-ack", ("a", b"b")) == ("a", b"b")
    client.emit("ask", "why")
    assert got.get(timeout=40) == ["an answer", "why", b"1"]
    client.disconnect()
    print("ok", sys.argv[1], transports)
