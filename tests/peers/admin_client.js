// socket.io-client as an administrator: admin_client.js URL [--reference] [--mode development|production] [--readonly]
//
// The server is ref_server.js's or one like it, and has no other clients. --reference leaves out what the JavaScript
// server is known not to do.

const assert = require("node:assert/strict");
const { parseArgs } = require("node:util");
const { io } = require("socket.io-client");
const { check, next, run } = require("./check.js");

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    reference: { type: "boolean", default: false },
    mode: { type: "string", default: "development" },
    readonly: { type: "boolean", default: false },
    "server-id": { type: "string", default: "srv-1" },
  },
});
const url = positionals[0];
const development = values.mode === "development";
const ours = values.reference ? () => {} : check;
const inDevelopment = development ? check : () => {};
const writable = values.readonly ? () => {} : check;

const LOGIN = { username: "admin", password: "pw" };
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const open = (namespace, options) => io(url + namespace, { forceNew: true, reconnection: false, ...options });

// An administrator who keeps all that the server says.
const watch = (auth = LOGIN, options = { transports: ["websocket"] }) => {
  const admin = open("/admin", { auth, ...options });
  admin.log = [];
  admin.onAny((...event) => admin.log.push(event));
  // The first event, of those that came and those that come, that suits.
  admin.first = async (name, suits = () => true, from = 0) => {
    for (let at = from; ; at++) {
      while (at >= admin.log.length) await new Promise((resolve) => setTimeout(resolve, 5));
      const [event, ...args] = admin.log[at];
      if (event === name && suits(...args)) return args;
    }
  };
  admin.last = (name) => admin.log.findLast(([event]) => event === name)?.slice(1);
  return admin;
};

// One who hears all that happens from now on.
const onDuty = async () => {
  const admin = watch();
  await admin.first("config");
  return admin;
};

const client = async (options = { transports: ["websocket"] }) => {
  const socket = open("/", options);
  socket.got = [];
  socket.onAny((...event) => socket.got.push(event));
  await next(socket, "connect");
  return socket;
};

const join = (socket, room) => socket.timeout(40_000).emitWithAck("join", room);

// What the administrator saw of a socket, in order, without the times: [event, ...what].
const ABOUT = {
  socket_connected: ([socket]) => [socket.id, socket.transport],
  socket_updated: ([{ id, ...rest }]) => [id, rest],
  socket_disconnected: ([nsp, id, reason]) => [id, nsp, reason],
  room_joined: ([nsp, room, id]) => [id, nsp, room],
  room_left: ([nsp, room, id]) => [id, nsp, room],
  event_received: ([nsp, id, args]) => [id, nsp, args],
  event_sent: ([nsp, id, args]) => [id, nsp, args],
};
const life = (admin, id) =>
  admin.log
    .filter(([event]) => event in ABOUT)
    .map(([event, ...args]) => [event, ABOUT[event](args)])
    .filter(([, [whose]]) => whose === id)
    .map(([event, [, ...rest]]) => [event, ...rest]);

const until = async (happens, what) => {
  const end = Date.now() + 40_000;
  while (!(await happens())) {
    assert.ok(Date.now() < end, `not within 40 s: ${typeof what === "function" ? JSON.stringify(what()) : what}`);
    await wait(20);
  }
};

const isNow = (time) => {
  assert.equal(typeof time, "string");
  assert.match(time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)$/);
  assert.ok(Math.abs(Date.parse(time) - Date.now()) < 60_000, time);
};

const keys = (object) => Object.keys(object).sort();

check("wrong credentials are refused in the words that the UI knows", async () => {
  const wrong = [
    undefined, {}, { username: "admin", password: "" }, { username: "admin", password: "PW" },
    { username: "Admin", password: "pw" }, { username: "admin", password: "pw\0" },
    { username: "admin", password: "pw" + "x".repeat(100) }, { username: "", password: "pw" }, { sessionId: "" },
    { sessionId: "0123456789abcdef" }, { sessionId: null },
  ];
  if (!values.reference) {
    // Each an unhandled rejection in the JavaScript server, which ends it.
    wrong.push({ username: "admin" }, { username: "admin", password: 1 }, { username: "admin", password: ["pw"] });
    wrong.push({ username: ["admin"], password: "pw" }, { sessionId: true }, { sessionId: ["x"] });
  }
  for (const auth of wrong) {
    const admin = open("/admin", { auth: auth === undefined ? undefined : (send) => send(auth) });
    const [error] = await next(admin, "connect_error");
    assert.equal(error.message, "invalid credentials", JSON.stringify(auth));
    assert.equal(error.data, undefined);
    admin.close();
  }
});

check("nobody hears anything before the right password", async () => {
  const admin = watch({ username: "admin", password: "wrong" });
  await next(admin, "connect_error");
  await wait(2500);
  assert.deepEqual(admin.log, []);
  admin.close();
});

for (const transports of [["websocket"], ["polling"], ["polling", "websocket"]]) {
  check(`${transports}: the first events after a login`, async () => {
    const admin = watch(LOGIN, { transports });
    const [session] = await admin.first("session");
    assert.match(session, /^[0-9a-f]{16}$/);
    const [config] = await admin.first("config");
    assert.deepEqual(keys(config), ["supportedFeatures"]);
    const features = ["AGGREGATED_EVENTS"];
    if (!values.readonly) features.push("EMIT", "JOIN", "LEAVE", "DISCONNECT", "MJOIN", "MLEAVE", "MDISCONNECT");
    if (development) features.push("ALL_EVENTS");
    assert.deepEqual(config.supportedFeatures.toSorted(), features.sort());
    if (development) {
      const [sockets] = await admin.first("all_sockets");
      const own = sockets.find(({ id }) => id === admin.id);
      assert.equal(own.nsp, "/admin");
      assert.deepEqual(own.rooms, [admin.id]);
      // The upgrade may be over before the list is made.
      assert.ok(transports.includes(own.transport), own.transport);
      assert.equal(own.clientId, admin.io.engine.id.slice(0, 12));
    }
    await admin.first("server_stats");
    for (const name of ["session", "config"]) assert.equal(admin.log.filter(([event]) => event === name).length, 1);
    admin.close();
  });
}

check("a session id is as good as the password", async () => {
  const admin = await onDuty();
  const [sessionId] = await admin.first("session");
  admin.close();
  for (let time = 0; time < 2; time++) {
    const again = watch({ sessionId });
    await again.first("config");
    again.close();
  }
  const both = watch({ sessionId: "wrong", ...LOGIN });
  const [other] = await both.first("session");
  assert.notEqual(other, sessionId);
  both.close();
});

check("server_stats, about every two seconds", async () => {
  const admin = await onDuty();
  const [earlier] = await next(admin, "server_stats");
  const [stats] = await next(admin, "server_stats");
  assert.ok(stats.uptime - earlier.uptime > 1, `${stats.uptime - earlier.uptime} s`);
  assert.deepEqual(keys(stats), [
    "aggregatedEvents", "clientsCount", "hostname", "namespaces", "pid", "pollingClientsCount", "serverId", "uptime",
  ]);
  assert.equal(stats.serverId, values["server-id"]);
  assert.equal(stats.hostname, require("node:os").hostname());
  assert.ok(Number.isInteger(stats.pid) && stats.pid > 1);
  const [later] = await next(admin, "server_stats");
  assert.ok(later.uptime - stats.uptime > 1 && later.uptime - stats.uptime < 60, "uptime is in seconds");
  admin.close();
});

check("server_stats count clients, transports, namespaces", async () => {
  const admin = await onDuty();
  const sockets = [await client(), await client({ transports: ["polling"] }), await client({ transports: ["polling"] })];
  const counts = () => {
    const [stats] = admin.last("server_stats") ?? [{ namespaces: [] }];
    const { socketsCount } = stats.namespaces.find(({ name }) => name === "/") ?? {};
    return [stats.clientsCount, stats.pollingClientsCount, socketsCount];
  };
  await until(() => counts().join() === "4,2,3", counts);
  const [{ namespaces }] = admin.last("server_stats");
  for (const namespace of namespaces) assert.deepEqual(keys(namespace), ["name", "socketsCount"]);
  assert.equal(namespaces.find(({ name }) => name === "/admin").socketsCount, 1);
  sockets[1].close();
  await until(() => counts().join() === "3,1,2", counts);
  const upgraded = await client({ transports: ["polling", "websocket"] });
  await until(() => counts().join() === "4,1,3", counts);
  for (const socket of [...sockets, upgraded]) socket.close();
  await until(() => counts().join() === "1,0,0", counts);
  admin.close();
});

check("server_stats sum up what happened", async () => {
  const admin = await onDuty();
  await next(admin, "server_stats");
  const from = admin.log.length;
  const events = () =>
    admin.log
      .slice(from)
      .filter(([event]) => event === "server_stats")
      .flatMap(([, stats]) => stats.aggregatedEvents);
  const sum = (type, subType) =>
    events()
      .filter((event) => event.type === type && event.subType === subType)
      .reduce((total, { count }) => total + count, 0);
  const sockets = [await client({ transports: ["polling"] }), await client()];
  for (const socket of sockets) {
    socket.emit("echo", "x".repeat(50_000));
    await next(socket, "echoed");
  }
  sockets[0].io.engine.close();
  sockets[1].close();
  await until(() => sum("rawConnection") === 2, events);
  const closed = () =>
    events()
      .filter(({ type }) => type === "rawDisconnection")
      .reduce((total, { count }) => total + count, 0);
  await until(() => closed() === 2, events);
  await until(() => sum("packetsIn") >= 4, events);
  await until(() => sum("packetsOut") >= 4, events);
  await until(() => sum("bytesIn") > 100_000, events);
  await until(() => sum("bytesOut") > 100_000, events);
  for (const { timestamp, type, subType, count, ...more } of events()) {
    assert.equal(timestamp % 1000, 0);
    assert.ok(Math.abs(timestamp - Date.now()) < 60_000);
    assert.match(type, /^(rawConnection|rawDisconnection|packetsIn|packetsOut|bytesIn|bytesOut)$/);
    assert.ok(Number.isInteger(count) && count > 0);
    assert.deepEqual(more, {});
    if (type === "rawDisconnection") assert.match(subType, /^transport (close|error)$/);
    else assert.equal(subType, undefined);
  }
  // Bytes are not counted twice.
  assert.ok(sum("bytesIn") < 110_000, `${sum("bytesIn")} bytes in`);
  // Every second has each kind at most once in one report.
  for (const [, { aggregatedEvents }] of admin.log.filter(([event]) => event === "server_stats")) {
    const kinds = aggregatedEvents.map(({ timestamp, type, subType }) => `${timestamp} ${type} ${subType}`);
    assert.equal(new Set(kinds).size, kinds.length);
  }
  admin.close();
});

if (!development) {
  check("production: nothing but session, config, server_stats", async () => {
    const admin = await onDuty();
    const socket = await client();
    await join(socket, "room1");
    socket.close();
    await next(admin, "server_stats");
    await next(admin, "server_stats");
    assert.deepEqual([...new Set(admin.log.map(([event]) => event))].sort(), ["config", "server_stats", "session"]);
    admin.close();
  });
}

inDevelopment("a socket as it is shown, in socket_connected and all_sockets", async () => {
  const admin = await onDuty();
  await admin.first("all_sockets");
  const socket = await client({
    transports: ["websocket"], query: { from: "here", é: "ü &" }, auth: { token: "hidden-auth" },
    extraHeaders: {
      "X-Test": "shown", cookie: "sid=hidden-cookie", authorization: "Bearer hidden-bearer",
      "proxy-authorization": "Basic hidden-proxy", origin: "http://elsewhere.example",
    },
  });
  const [connected, time] = await admin.first("socket_connected", ({ id }) => id === socket.id);
  isNow(time);
  await join(socket, "room1");
  const later = await onDuty();
  const [all] = await later.first("all_sockets");
  const listed = all.find(({ id }) => id === socket.id);
  assert.deepEqual(all.filter(({ nsp }) => nsp === "/").map(({ id }) => id), [socket.id]);
  for (const { id } of [admin, later]) assert.ok(all.some((it) => it.id === id && it.nsp === "/admin"));
  assert.deepEqual(connected.rooms, [socket.id]);
  assert.deepEqual(listed.rooms.toSorted(), [socket.id, "room1"].sort());
  for (const shown of [connected, listed]) {
    assert.deepEqual(keys(shown), ["clientId", "data", "handshake", "id", "nsp", "rooms", "transport"]);
    assert.equal(shown.id, socket.id);
    assert.equal(shown.clientId, socket.io.engine.id.slice(0, 12));
    assert.equal(shown.transport, "websocket");
    assert.equal(shown.nsp, "/");
    assert.deepEqual(shown.data, {});
    const { handshake } = shown;
    assert.deepEqual(keys(handshake), ["address", "headers", "issued", "query", "secure", "time", "url", "xdomain"]);
    assert.match(handshake.address, /^(127\.0\.0\.1|::1|::ffff:127\.0\.0\.1)$/);
    assert.equal(handshake.headers["x-test"], "shown");
    for (const name of Object.keys(handshake.headers)) assert.equal(name, name.toLowerCase());
    assert.equal(handshake.headers.host, new URL(url).host);
    const { EIO, transport, from, é } = handshake.query;
    assert.deepEqual([EIO, transport, from, é], ["4", "websocket", "here", "ü &"]);
    assert.ok(Math.abs(handshake.issued - Date.now()) < 60_000);
    assert.equal(handshake.secure, false);
    assert.ok(Math.abs(Date.parse(handshake.time) - Date.now()) < 60_000, handshake.time);
    assert.match(handshake.url, /^\/socket\.io\/\?.*EIO=4/);
    assert.equal(handshake.xdomain, true);
    assert.ok(!JSON.stringify(shown).includes("hidden-auth"));
    if (!values.reference) assert.doesNotMatch(JSON.stringify(shown), /hidden/);
  }
  const near = await client();
  const [{ handshake }] = await admin.first("socket_connected", ({ id }) => id === near.id);
  assert.equal(handshake.xdomain, false);
  for (const one of [admin, later, socket, near]) one.close();
});

inDevelopment("the address may come from a proxy", async () => {
  const admin = await onDuty();
  for (const [name, value] of [["x-forwarded-for", "192.0.2.7"]]) {
    const socket = await client({ transports: ["websocket"], extraHeaders: { [name]: value } });
    const [{ handshake }] = await admin.first("socket_connected", ({ id }) => id === socket.id);
    assert.equal(handshake.address, value);
    socket.close();
  }
  admin.close();
});

inDevelopment("a client's life, in order", async () => {
  const admin = await onDuty();
  await admin.first("all_sockets");
  const socket = open("/", { transports: ["polling", "websocket"] });
  const upgraded = next(socket.io.engine, "upgrade");
  await next(socket, "connect");
  const { id } = socket;
  await upgraded;
  await admin.first("socket_updated", (it) => it.id === id);
  await join(socket, "room1");
  const echoed = next(socket, "echoed");
  socket.emit("echo", "x", { y: [1, null] }, Buffer.from([1, 2]));
  await echoed;
  const said = next(socket, "said");
  socket.emit("say", "room1", "hello");
  await said;
  socket.emit("unknown");
  socket.emit("say", "an empty room", "hello");
  await wait(100);
  socket.close();
  await until(() => life(admin, id).filter(([event]) => event === "room_left").length === 2, () => life(admin, id));

  const got = life(admin, id);
  assert.deepEqual(got.splice(-2).sort(), [["room_left", "/", id], ["room_left", "/", "room1"]].sort());
  // The records are made by a thread of their own: it may come after the upgrade.
  const transport = got[1][1] === "websocket" ? "websocket" : "polling";
  assert.deepEqual(got, [
    ["room_joined", "/", id],
    ["socket_connected", transport],
    ["socket_updated", { nsp: "/", transport: "websocket" }],
    ["event_received", "/", ["join", "room1"]],
    ["room_joined", "/", "room1"],
    ["event_received", "/", ["echo", "x", { y: [1, null] }, Buffer.from([1, 2])]],
    ["event_sent", "/", ["echoed", "x", { y: [1, null] }, Buffer.from([1, 2])]],
    ["event_received", "/", ["say", "room1", "hello"]],
    ["event_sent", "/", ["said", "hello"]],
    ["event_received", "/", ["unknown"]],
    ["event_received", "/", ["say", "an empty room", "hello"]],
    ["socket_disconnected", "/", "client namespace disconnect"],
  ]);
  for (const [event, ...args] of admin.log) {
    if (!(event in ABOUT)) continue;
    if (event !== "socket_updated") isNow(args.at(-1));
    if (/^event/.test(event)) assert.notEqual(args[0], "/admin");
    assert.equal(args.length, { socket_connected: 2, socket_updated: 1 }[event] ?? 4);
  }
  admin.close();
});

inDevelopment("every receiver of a broadcast is told of", async () => {
  const admin = await onDuty();
  const sockets = [await client(), await client(), await client()];
  await join(sockets[0], "room1");
  await join(sockets[1], "room1");
  sockets[2].emit("say", "room1", "to two");
  await until(() => life(admin, sockets[1].id).at(-1)?.[0] === "event_sent", () => admin.log);
  await wait(100);
  const sent = admin.log.filter(([event]) => event === "event_sent").map(([, , id, args]) => [id, ...args]);
  assert.deepEqual(sent.sort(), [[sockets[0].id, "said", "to two"], [sockets[1].id, "said", "to two"]].sort());
  for (const one of [admin, ...sockets]) one.close();
});

inDevelopment("a connection that breaks has its reason", async () => {
  const admin = await onDuty();
  for (const transports of [["websocket"], ["polling"]]) {
    const socket = await client({ transports });
    const { id } = socket;
    socket.io.engine.close();
    const [, , reason] = await admin.first("socket_disconnected", (_, whose) => whose === id);
    assert.match(reason, /^(transport close|client namespace disconnect)$/);
  }
  admin.close();
});

inDevelopment("administrators see each other come and go", async () => {
  const admin = await onDuty();
  await admin.first("all_sockets");
  const other = await onDuty();
  await other.first("all_sockets");
  const { id } = other;
  assert.equal((await admin.first("socket_connected", (it) => it.id === id))[0].nsp, "/admin");
  await admin.first("room_joined", (nsp, room, whose) => nsp === "/admin" && room === id && whose === id);
  other.close();
  await admin.first("socket_disconnected", (nsp, whose, reason) => nsp === "/admin" && whose === id && reason);
  admin.close();
});

// Two clients, one of them in "room1".
const pair = async (options) => {
  const sockets = [await client(options), await client(options)];
  await join(sockets[0], "room1");
  return sockets;
};
const FILTERS = { null: [null, [0, 1]], room: ["room1", [0]], sid: ["sid", [1]], nobody: ["no such room", []] };
const filters = (run) => async () => {
  for (const [given, who] of [...Object.values(FILTERS), [undefined, [0, 1]]]) {
    const admin = await onDuty();
    const sockets = await pair();
    await run(admin, sockets, given === "sid" ? sockets[1].id : given, who);
    for (const one of [admin, ...sockets]) one.close();
  }
};
const reach = async (sockets, who, happened, what) => {
  await until(() => who.every((number) => happened(sockets[number])), what);
  await wait(100);
  sockets.forEach((socket, number) => assert.equal(Boolean(happened(socket)), who.includes(number), `${what}, client ${number}`));
};
// Whether a socket is in a room: it hears what is said there.
const inRoom = async (sockets, room) => {
  const word = `${Math.random()}`;
  sockets[0].emit("say", room, word);
  sockets[0].emit("echo", word);
  await until(() => sockets[0].got.some(([event, it]) => event === "echoed" && it === word), "an echo");
  await wait(50);
  return sockets.map((socket) => socket.got.some(([event, it]) => event === "said" && it === word));
};
const expectIn = async (sockets, room, expected) => {
  let found;
  await until(async () => (found = await inRoom(sockets, room)).join() === expected.join(), () => `${found} in ${room}`);
};

writable("emit: to everyone, a room, a socket", filters(async (admin, sockets, filter, who) => {
  const args = ["x", { a: [1] }, Buffer.from([3])];
  admin.emit("emit", "/", filter, "from admin", ...args);
  admin.emit("emit", "/", filter, "bare");
  await reach(sockets, who, ({ got }) => got.some(([event]) => event === "bare"), `emit to ${filter}`);
  for (const number of who) assert.deepEqual(sockets[number].got.slice(-2), [["from admin", ...args], ["bare"]]);
  if (development && who.length) {
    await until(() => life(admin, sockets[who[0]].id).at(-1)?.[2]?.[0] === "bare", () => life(admin, sockets[who[0]].id));
  }
}));

writable("join and leave: everyone, a room, a socket", filters(async (admin, sockets, filter, who) => {
  const are = sockets.map((_, number) => who.includes(number));
  admin.emit("join", "/", "room2", filter);
  await expectIn(sockets, "room2", are);
  for (const number of development ? who : []) {
    await admin.first("room_joined", (nsp, room, id) => nsp === "/" && room === "room2" && id === sockets[number].id);
  }
  admin.emit("join", "/", "room3", null);
  await expectIn(sockets, "room3", [true, true]);
  admin.emit("leave", "/", "room3", filter);
  await expectIn(sockets, "room3", are.map((is) => !is));
  for (const number of development ? who : []) {
    await admin.first("room_left", (nsp, room, id) => nsp === "/" && room === "room3" && id === sockets[number].id);
  }
}));

writable("leave without a third argument is for everyone, as the UI sends it", async () => {
  const admin = await onDuty();
  const sockets = await pair();
  await join(sockets[1], "room1");
  admin.emit("leave", "/", "room1");
  await expectIn(sockets, "room1", [false, false]);
  for (const one of [admin, ...sockets]) one.close();
});

writable("_disconnect: everyone, a room, a socket", filters(async (admin, sockets, filter, who) => {
  const reasons = new Map();
  for (const socket of sockets) socket.on("disconnect", (reason) => reasons.set(socket, reason));
  const ids = sockets.map(({ id }) => id);
  admin.emit("_disconnect", "/", false, filter);
  await reach(sockets, who, (socket) => reasons.get(socket), `_disconnect of ${filter}`);
  for (const number of who) {
    assert.equal(reasons.get(sockets[number]), "io server disconnect");
    if (!development) continue;
    const [, , reason] = await admin.first("socket_disconnected", (nsp, id) => nsp === "/" && id === ids[number]);
    assert.equal(reason, "server namespace disconnect");
  }
  assert.ok(admin.connected);
}));

writable("_disconnect closes the connection, or does not", async () => {
  const admin = await onDuty();
  for (const close of [false, true]) {
    const socket = await client();
    const namespace = socket.io.socket("/admin", { auth: LOGIN });
    await next(namespace, "connect");
    const gone = next(socket, "disconnect");
    const ended = next(namespace, "disconnect");
    admin.emit("_disconnect", "/", close, socket.id);
    assert.deepEqual((await gone)[0], "io server disconnect");
    if (close) await ended;
    else await wait(200);
    assert.equal(namespace.connected, !close);
    namespace.io.engine.close();
  }
  admin.close();
});

ours("requests that make no sense do nothing", async () => {
  const admin = await onDuty();
  const [socket, other] = await pair();
  const requests = [
    ["emit"], ["emit", "/"], ["emit", "/", null], ["emit", "/", null, 7], ["emit", "/", null, { a: 1 }], ["emit", 1, 2, 3],
    ["emit", "/no such namespace", null, "x"], ["emit", null, null, "x"], ["emit", "/", { a: 1 }, "x"],
    ["emit", "/", null, "connect"], ["emit", "/", null, "disconnect"],
    ["join"], ["join", "/"], ["join", "/", 7], ["join", "/", "room5", 7], ["join", "/no such namespace", "room5"],
    ["leave"], ["leave", "/", null], ["leave", "/", {}, {}],
    ["_disconnect"], ["_disconnect", 1], ["_disconnect", "/", false, {}], ["_disconnect", "/no such namespace", true],
    ["unknown", "/"], ["config"], ["session"],
  ];
  for (const request of requests) admin.emit(...request);
  await next(admin, "server_stats");
  await next(admin, "server_stats");
  assert.ok(admin.connected && socket.connected && other.connected);
  assert.deepEqual(socket.got, []);
  assert.deepEqual(await inRoom([socket, other], "room5"), [false, false]);
  assert.deepEqual(await inRoom([socket, other], "room1"), [true, false]);
  const [{ namespaces }] = admin.last("server_stats");
  assert.ok(!JSON.stringify(namespaces).includes("no such"));
  for (const one of [admin, socket, other]) one.close();
});

if (values.readonly) {
  check("readonly: requests do nothing", async () => {
    const admin = await onDuty();
    const sockets = await pair();
    admin.emit("emit", "/", null, "from admin");
    admin.emit("join", "/", "room2", null);
    admin.emit("leave", "/", "room1", null);
    admin.emit("_disconnect", "/", true, null);
    await wait(300);
    assert.deepEqual(sockets.map(({ connected, got }) => [connected, got]), [[true, []], [true, []]]);
    assert.deepEqual(await inRoom(sockets, "room2"), [false, false]);
    assert.deepEqual(await inRoom(sockets, "room1"), [true, false]);
    for (const one of [admin, ...sockets]) one.close();
  });
}

run();
