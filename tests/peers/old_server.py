"""An echo server of python-socketio 4, for our clients, with the events of examples/socketio_echo.

    python old_server.py PORT [PING_INTERVAL PING_TIMEOUT]

Times are in seconds. Without an asynchronous framework this generation knows polling only.
"""

import logging
import socket
import sys

import socketio
from werkzeug.serving import make_server

logging.getLogger("werkzeug").setLevel(logging.ERROR)

port, *ping = sys.argv[1:]
options = {"ping_interval": float(ping[0]), "ping_timeout": float(ping[1])} if ping else {}
# In order, as the tests count.
io = socketio.Server(async_mode="threading", async_handlers=False, cors_allowed_origins="*", **options)


def serve(namespace):
    def to(sid, event, args):
        io.emit(event, args, to=sid, namespace=namespace)

    def ask(sid, value):
        # A call would block the thread that reads its answer.
        io.emit("question", (value,), to=sid, namespace=namespace, callback=lambda *answer: to(sid, "answered", answer))

    # This generation has no query in CONNECT.
    io.on("connect", lambda sid, environ: to(sid, "auth", {}), namespace=namespace)
    io.on("message", lambda sid, *args: to(sid, "message-back", args), namespace=namespace)
    io.on("message-with-ack", lambda sid, *args: args, namespace=namespace)
    io.on("sleep", lambda sid, milliseconds: io.sleep(milliseconds / 1000), namespace=namespace)
    io.on("ask", ask, namespace=namespace)
    io.on("join", lambda sid, room: io.enter_room(sid, room, namespace=namespace), namespace=namespace)
    io.on("room", lambda sid, room, text: to(room, "said", (text,)), namespace=namespace)
    io.on("kick", lambda sid: io.disconnect(sid, namespace=namespace), namespace=namespace)


def refuse(sid, environ):
    raise socketio.exceptions.ConnectionRefusedError("not here", {"code": 7})


serve("/")
serve("/custom")
io.on("connect", refuse, namespace="/refused")

listener = socket.create_server(("127.0.0.1", int(port)), backlog=128)
server = make_server("127.0.0.1", listener.getsockname()[1], socketio.WSGIApp(io), threaded=True, fd=listener.fileno())
print(f"listening on 127.0.0.1:{listener.getsockname()[1]}", flush=True)
server.serve_forever()
