"""A server of python-socketio, for our clients.

    python socketio_server.py MODE PORT PING_INTERVAL PING_TIMEOUT [BROKER]

MODE is threading or asgi; times are in seconds; BROKER is the URL of a Redis or a RabbitMQ to share a cluster
over.
"""

import asyncio
import socket
import sys

import socketio

mode, port, ping_interval, ping_timeout, *broker = sys.argv[1:]
options = {
    "ping_interval": float(ping_interval),
    "ping_timeout": float(ping_timeout),
    "max_http_buffer_size": 2_000_000,
    "namespaces": ["/", "/chat", "/refused"],
    "http_compression": False,
}
if broker:
    managers = {
        ("redis", "threading"): socketio.RedisManager,
        ("redis", "asgi"): socketio.AsyncRedisManager,
        ("amqp", "threading"): socketio.KombuManager,
        ("amqp", "asgi"): socketio.AsyncAioPikaManager,
    }
    manager = managers[broker[0].partition(":")[0], mode]
    options["client_manager"] = manager(broker[0])
if mode == "threading":
    # In order, as the tests count.
    io = socketio.Server(async_mode="threading", async_handlers=False, **options)
else:
    io = socketio.AsyncServer(async_mode="asgi", async_handlers=False, **options)

state = {"counted": {}, "reason": None, "auth": {}, "answer": None, "said": 0}


def answered(value):
    state["answer"] = value


def refuse(sid, environ, auth=None):
    raise socketio.exceptions.ConnectionRefusedError("bad token", {"code": 42})


def connect(sid, environ, auth=None):
    state["counted"][sid] = 0
    state["auth"][sid] = auth


def disconnect(sid, reason):
    # The words of the JavaScript server.
    state["reason"] = reason


def say(sid):
    state["said"] += 1


def number(sid, value):
    state["counted"][sid] = value + 1 if value == state["counted"][sid] else -1


def both(namespace):
    io.on("connect", connect, namespace=namespace)
    io.on("disconnect", disconnect, namespace=namespace)
    io.on("number", number, namespace=namespace)
    io.on("say", say, namespace=namespace)
    io.on("said", lambda sid: state["said"], namespace=namespace)
    io.on("counted", lambda sid: state["counted"][sid], namespace=namespace)
    io.on("reason", lambda sid: state["reason"], namespace=namespace)
    io.on("answer", lambda sid: state["answer"], namespace=namespace)
    io.on("auth", lambda sid: state["auth"][sid], namespace=namespace)
    io.on("echo", lambda sid, *args: args if len(args) != 1 else args[0], namespace=namespace)


def serve_threads(namespace):
    def burst(sid, count):
        for value in range(count):
            io.emit("number", value, to=sid, namespace=namespace)

    def ask(sid):
        # A call would block the thread that reads its answer.
        io.emit("sum", (2, 3), to=sid, namespace=namespace, callback=answered)

    io.on("back", lambda sid, *args: io.emit("back", args, to=sid, namespace=namespace), namespace=namespace)
    def publish(sid, event, data, room):
        io.emit(event, data, to=room, namespace=namespace)

    def ask_for(sid, other):
        state["answer"] = None
        io.emit("sum", (2, 3), to=other, namespace=namespace, callback=answered)

    io.on("publish", publish, namespace=namespace)
    io.on("ask for", ask_for, namespace=namespace)
    io.on("move", lambda sid, other, room: io.enter_room(other, room, namespace=namespace), namespace=namespace)
    io.on("end", lambda sid, other: io.disconnect(other, namespace=namespace), namespace=namespace)
    io.on("burst", burst, namespace=namespace)
    io.on("leave", lambda sid: io.disconnect(sid, namespace=namespace), namespace=namespace)
    io.on("ask", ask, namespace=namespace)


def serve_tasks(namespace):
    async def back(sid, *args):
        await io.emit("back", args, to=sid, namespace=namespace)

    async def burst(sid, count):
        for value in range(count):
            await io.emit("number", value, to=sid, namespace=namespace)

    async def leave(sid):
        await io.disconnect(sid, namespace=namespace)

    async def ask(sid):
        await io.emit("sum", (2, 3), to=sid, namespace=namespace, callback=answered)

    async def publish(sid, event, data, room):
        await io.emit(event, data, to=room, namespace=namespace)

    async def ask_for(sid, other):
        state["answer"] = None
        await io.emit("sum", (2, 3), to=other, namespace=namespace, callback=answered)

    async def move(sid, other, room):
        await io.enter_room(other, room, namespace=namespace)

    async def end(sid, other):
        await io.disconnect(other, namespace=namespace)

    for handler in (back, burst, leave, ask, publish, move, end):
        io.on(handler.__name__, handler, namespace=namespace)
    io.on("ask for", ask_for, namespace=namespace)


for name in ("/", "/chat"):
    both(name)
    serve_threads(name) if mode == "threading" else serve_tasks(name)
io.on("connect", refuse, namespace="/refused")

listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", int(port)))
listener.listen(128)
print(f"listening on 127.0.0.1:{listener.getsockname()[1]}", flush=True)

if mode == "threading":
    from werkzeug.serving import make_server

    server = make_server(
        "127.0.0.1",
        listener.getsockname()[1],
        socketio.WSGIApp(io),
        threaded=True,
        fd=listener.fileno(),
    )
    server.serve_forever()
else:
    import uvicorn

    config = uvicorn.Config(socketio.ASGIApp(io), log_level="error", ws="auto")
    asyncio.run(uvicorn.Server(config).serve([listener]))
