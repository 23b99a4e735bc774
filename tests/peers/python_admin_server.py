"""A server of python-socketio with instrument(), in a cluster over Redis: python_admin_server.py PORT REDIS_URL
[SERVER_ID]

Username admin, password pw, server id py-1 unless another is given. In the namespace /: join(room, ack), say(room, text) emits said(text) to
the room, echo(...) emits echoed(...).
"""

import sys

import socketio
from werkzeug.serving import WSGIRequestHandler, make_server

port, redis, *server_id = sys.argv[1:]

io = socketio.Server(async_mode="threading", client_manager=socketio.RedisManager(redis))
io.instrument(auth={"username": "admin", "password": "pw"}, mode="development", server_id=(server_id or ["py-1"])[0])


@io.event
def join(sid, room):
    io.enter_room(sid, room)


@io.event
def say(sid, room, text):
    io.emit("said", text, to=room)


@io.event
def echo(sid, *args):
    io.emit("echoed", args, to=sid)


class Quiet(WSGIRequestHandler):
    def log_request(self, *args):
        pass


server = make_server("127.0.0.1", int(port), socketio.WSGIApp(io), threaded=True, request_handler=Quiet)
print("listening", flush=True)
server.serve_forever()
