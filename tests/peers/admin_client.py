"""python-socketio's SimpleClient as an administrator: admin_client.py URL

The server is ref_server.js's or one like it, in development mode, and has no other clients.
"""

import contextlib
import re
import sys
import time

import socketio
from socketio.exceptions import ConnectionError

url = sys.argv[1]
LOGIN = {"username": "admin", "password": "pw"}
FEATURES = {"EMIT", "JOIN", "LEAVE", "DISCONNECT", "MJOIN", "MLEAVE", "MDISCONNECT", "AGGREGATED_EVENTS", "ALL_EVENTS"}


@contextlib.contextmanager
def connect(namespace="/", auth=None, **options):
    with socketio.SimpleClient(reconnection=False) as client:
        client.connect(url, namespace=namespace, auth=auth, **options)
        yield client
    # The server may hear of it a moment later.
    time.sleep(0.3)


def expect(admin, *names):
    """The arguments of these events, in this order among themselves or not."""
    missing, got = list(names), {name: [] for name in names}
    while missing:
        name, *args = admin.receive(timeout=40)
        if name in missing:
            missing.remove(name)
            got[name].append(args)
    return got


def expect_about(admin, name, *start):
    """The next event of this name whose arguments begin with these."""
    while True:
        event, *args = admin.receive(timeout=40)
        if event == name and tuple(args[: len(start)]) == start:
            return args


def quiet(client):
    try:
        return client.receive(timeout=0.3)
    except socketio.exceptions.TimeoutError:
        return None


def gone(client):
    end = time.monotonic() + 40
    while client.connected:
        assert time.monotonic() < end, "still connected"
        time.sleep(0.02)


def refused():
    wrong = [None, {}, {"username": "admin", "password": "wrong"}, {"username": "x", "password": "pw"}, {"sessionId": "x"}]
    for auth in wrong:
        try:
            with connect("/admin", auth):
                raise AssertionError(f"{auth} was let in")
        except ConnectionError as error:
            assert "/admin" in str(error), error
    errors = []
    client = socketio.Client(reconnection=False)
    client.on("connect_error", errors.append, namespace="/admin")
    with contextlib.suppress(ConnectionError):
        client.connect(url, namespaces=["/admin"], auth=wrong[2])
    assert errors == [{"message": "invalid credentials"}], errors


def alone(transports):
    with connect("/admin", LOGIN, transports=transports) as admin:
        got = expect(admin, "session", "config", "all_sockets", "server_stats", "server_stats")
        assert re.fullmatch("[0-9a-f]{16}", got["session"][0][0])
        assert set(got["config"][0][0]["supportedFeatures"]) == FEATURES
        [[[socket]]] = got["all_sockets"]
        assert socket["id"] == admin.sid
        assert socket["nsp"] == "/admin"
        assert socket["rooms"] == [admin.sid]
        for [stats] in got["server_stats"]:
            assert set(stats) == {
                "serverId", "hostname", "pid", "uptime", "clientsCount", "pollingClientsCount", "aggregatedEvents",
                "namespaces",
            }
            names = {namespace["name"] for namespace in stats["namespaces"]}
            assert {"/", "/admin"} <= names, names
        [stats] = got["server_stats"][-1]
        assert stats["clientsCount"] == 1
        assert stats["pollingClientsCount"] == (1 if transports == ["polling"] else 0)
        assert {"name": "/", "socketsCount": 0} in stats["namespaces"]
        assert {"name": "/admin", "socketsCount": 1} in stats["namespaces"]
    return got["session"][0][0]


def with_session(session):
    with connect("/admin", {"sessionId": session}) as admin:
        expect(admin, "config", "all_sockets", "server_stats")


def with_others():
    with connect() as one, connect(transports=["polling"]) as two, connect("/admin", LOGIN) as admin:
        one.call("join", "room1", timeout=40)
        [[sockets]] = expect(admin, "all_sockets")["all_sockets"]
        assert {socket["id"] for socket in sockets} == {one.sid, two.sid, admin.sid}
        assert expect_about(admin, "event_received", "/", one.sid)[2] == ["join", "room1"]
        expect_about(admin, "room_joined", "/", "room1", one.sid)
        two.emit("echo", ("x", {"y": [1, None]}, b"z"))
        assert two.receive(timeout=40) == ["echoed", "x", {"y": [1, None]}, b"z"]
        assert expect_about(admin, "event_received", "/", two.sid)[2] == ["echo", "x", {"y": [1, None]}, b"z"]
        assert expect_about(admin, "event_sent", "/", two.sid)[2] == ["echoed", "x", {"y": [1, None]}, b"z"]
        while True:
            [[stats]] = expect(admin, "server_stats")["server_stats"]
            if {"name": "/", "socketsCount": 2} in stats["namespaces"]:
                break
        assert (stats["clientsCount"], stats["pollingClientsCount"]) == (3, 1), stats
        with connect() as three:
            sid = three.sid
            while expect(admin, "socket_connected")["socket_connected"][0][0]["id"] != sid:
                pass
        reason = expect_about(admin, "socket_disconnected", "/", sid)[2]
        # It asks to leave and closes at once: which of the two the server sees is open.
        assert reason in ("transport close", "client namespace disconnect"), reason
        expect_about(admin, "room_left", "/", sid, sid)


def requests():
    with connect() as one, connect() as two, connect("/admin", LOGIN) as admin:
        expect(admin, "config")
        args = ["hello", {"bar": "baz"}, "extra", b"bytes"]

        admin.emit("emit", ("/", one.sid, *args))
        assert one.receive(timeout=40) == args
        admin.emit("emit", ("/", None, *args))
        assert one.receive(timeout=40) == args
        assert two.receive(timeout=40) == args

        admin.emit("join", ("/", "room", one.sid))
        admin.emit("emit", ("/", "room", *args))
        assert one.receive(timeout=40) == args
        assert quiet(two) is None
        expect_about(admin, "room_joined", "/", "room", one.sid)

        admin.emit("join", ("/", "room"))
        admin.emit("leave", ("/", "room", one.sid))
        admin.emit("emit", ("/", "room", *args))
        assert two.receive(timeout=40) == args
        assert quiet(one) is None
        expect_about(admin, "room_left", "/", "room", one.sid)

        admin.emit("leave", ("/", "room"))
        admin.emit("emit", ("/", "room", *args))
        assert (quiet(one), quiet(two)) == (None, None)

        sid = one.sid
        admin.emit("_disconnect", ("/", False, sid))
        gone(one)
        assert two.connected
        assert expect_about(admin, "socket_disconnected", "/", sid)[2] == "server namespace disconnect"
        admin.emit("_disconnect", ("/", True))
        gone(two)
        assert admin.connected


refused()
print("ok wrong credentials")
for transports in (["polling"], ["websocket"], ["polling", "websocket"]):
    session = alone(transports)
    print("ok alone over", ",".join(transports))
with_session(session)
print("ok a session id")
with_others()
print("ok with others")
requests()
print("ok requests")
