// Requests and frames of Engine.IO 3 by hand, to examples/socketio_echo: raw_eio3.js URL [--reference]
//
// The server is to ping every second or so and to wait half a second. --reference leaves out what a server in
// JavaScript gets wrong.

const assert = require("node:assert/strict");
const http = require("node:http");
const zlib = require("node:zlib");
const WebSocket = require("ws");
const { check, run } = require("./check.js");

const [url, reference] = process.argv.slice(2);
const base = new URL(url);

const TEXT = "text/plain;charset=UTF-8";
const BYTES = "application/octet-stream";
const FORM = "application/x-www-form-urlencoded";

const AUTH = '42["auth",{}]';
const message = (...args) => `42${JSON.stringify(["message", ...args])}`;
const back = (...args) => `42${JSON.stringify(["message-back", ...args])}`;
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

const request = (method, query, { body, type, headers = {} } = {}) =>
  new Promise((resolve, reject) => {
    if (type) headers["Content-Type"] = type;
    const path = `/socket.io/?${query}`;
    const { hostname, port } = base;
    const sent = http.request({ hostname, port, method, path, headers, agent: false }, (response) => {
      const parts = [];
      response.on("data", (part) => parts.push(part));
      response.on("end", () =>
        resolve({
          status: response.statusCode,
          headers: response.headers,
          type: response.headers["content-type"],
          body: Buffer.concat(parts),
        }),
      );
    });
    sent.on("error", reject);
    sent.end(body);
  });

const isError = (response, code, status = 400) => {
  assert.equal(response.status, status);
  assert.match(response.type, /^application\/json/);
  assert.equal(JSON.parse(response.body).code, code);
};

// Packets are texts such as `2`, or the bytes of a binary message.

const encodeText = (packets) => {
  const texts = packets.map((packet) => (typeof packet === "string" ? packet : `b4${packet.toString("base64")}`));
  return texts.map((text) => `${text.length}:${text}`).join("");
};

const encodeBytes = (packets) =>
  Buffer.concat(
    packets.flatMap((packet) => {
      const text = typeof packet === "string";
      const data = text ? Buffer.from(packet) : Buffer.concat([Buffer.from([4]), packet]);
      return [Buffer.from([text ? 0 : 1, ...Array.from(String(data.length), Number), 255]), data];
    }),
  );

const decodeText = (payload) => {
  const packets = [];
  while (payload) {
    const [head, length] = /^(\d+):/.exec(payload);
    const packet = payload.slice(head.length, head.length + Number(length));
    packets.push(packet.startsWith("b4") ? Buffer.from(packet.slice(2), "base64") : packet);
    payload = payload.slice(head.length + Number(length));
  }
  return packets;
};

const decodeBytes = (payload) => {
  const packets = [];
  while (payload.length) {
    const end = payload.indexOf(255);
    const length = Number(payload.subarray(1, end).join(""));
    const data = payload.subarray(end + 1, end + 1 + length);
    packets.push(payload[0] === 0 ? data.toString() : data.subarray(1));
    payload = payload.subarray(end + 1 + length);
  }
  return packets;
};

class Polling {
  // Opens one; `query` is what the handshake has in addition, `later` what all other requests have.
  static async open(query = "", later = "", headers = {}) {
    const session = new Polling();
    session.base64 = /&b64=1/.test(query);
    session.jsonp = /&j=(\w+)/.exec(query)?.[1].replace(/\D/g, "");
    session.later = later;
    session.opened = Date.now();
    session.first = await request("GET", `EIO=3&transport=polling${query}`, { headers });
    session.queue = session.decode(session.first);
    const open = session.queue.shift();
    assert.equal(open[0], "0");
    session.open = JSON.parse(open.slice(1));
    session.sid = session.open.sid;
    return session;
  }

  // Opens one, and reads what the server says by itself.
  static async connect(...args) {
    const session = await Polling.open(...args);
    await session.expect("40", AUTH);
    return session;
  }

  // The packets of an answer to a poll, which is to be in exactly the form that the packets ask for.
  decode({ status, type, body }) {
    assert.equal(status, 200);
    if (this.jsonp !== undefined) {
      assert.equal(type, `text/${reference ? "plain" : "javascript"}; charset=UTF-8`);
      const script = body.toString();
      assert.ok(!/[\u2028\u2029]/.test(script), "JavaScript of old ends a line there");
      const [, index, literal] = /^___eio\[(\d*)\]\((".*")\);$/s.exec(script);
      assert.equal(index, this.jsonp);
      return this.decodeText(JSON.parse(literal));
    }
    if (type === BYTES) {
      assert.ok(!this.base64, "base64 was asked for");
      const packets = decodeBytes(body);
      assert.ok(packets.some((packet) => Buffer.isBuffer(packet)), "bytes only for bytes");
      assert.deepEqual(encodeBytes(packets), body);
      return packets;
    }
    assert.equal(type, "text/plain; charset=UTF-8");
    const packets = this.decodeText(body.toString());
    assert.ok(this.base64 || packets.every((packet) => typeof packet === "string"), "base64 was not asked for");
    return packets;
  }

  decodeText(payload) {
    if (!reference) assert.match(payload, /^[\0-\x7f]*$/);
    const packets = decodeText(payload);
    assert.equal(encodeText(packets), payload);
    return packets;
  }

  query() {
    return `EIO=3&transport=polling&sid=${this.sid}${this.later}`;
  }

  get() {
    return request("GET", this.query());
  }

  // Posts a body, or packets in the form of a text.
  async post(body, type = TEXT) {
    if (Array.isArray(body)) body = encodeText(body);
    const { status, type: answered, body: answer } = await request("POST", this.query(), { body, type });
    assert.deepEqual([status, answered, answer.toString()], [200, "text/html", "ok"]);
  }

  // The next packet that is not a noop.
  async next() {
    for (;;) {
      while (this.queue.length) {
        const packet = this.queue.shift();
        if (packet !== "6") return packet;
      }
      this.queue = this.decode(await this.get());
    }
  }

  async expect(...packets) {
    for (const packet of packets) assert.deepEqual(await this.next(), packet);
  }

  async isAlive() {
    await this.post(["2"]);
    await this.expect("3");
  }

  async isGone() {
    isError(await this.get(), 1);
    isError(await request("POST", this.query(), { body: "1:2", type: TEXT }), 1);
  }
}

class Socket {
  static async open(query = "", { perMessageDeflate = false } = {}) {
    const socket = new Socket();
    socket.queue = [];
    socket.ws = new WebSocket(`ws://${base.host}/socket.io/?EIO=3&transport=websocket${query}`, { perMessageDeflate });
    socket.ws.on("message", (data, binary) => {
      socket.queue.push(binary ? data : data.toString());
      socket.wake?.();
    });
    socket.closed = new Promise((resolve) => socket.ws.on("close", (code) => resolve(code)));
    await new Promise((resolve, reject) => socket.ws.on("open", resolve).on("error", reject));
    socket.opened = Date.now();
    return socket;
  }

  // Opens one, and reads what the server says by itself.
  static async connect(...args) {
    const socket = await Socket.open(...args);
    const open = await socket.next();
    assert.equal(open[0], "0");
    socket.open = JSON.parse(open.slice(1));
    await socket.expect("40", AUTH);
    return socket;
  }

  send(...messages) {
    messages.forEach((it) => this.ws.send(it));
  }

  async next() {
    while (!this.queue.length) {
      await Promise.race([
        new Promise((resolve) => (this.wake = resolve)),
        this.closed.then((code) => assert.fail(`closed with ${code}`)),
      ]);
    }
    return this.queue.shift();
  }

  async expect(...messages) {
    for (const it of messages) assert.deepEqual(await this.next(), it);
  }

  async isAlive() {
    this.send("2");
    await this.expect("3");
  }

  close() {
    this.ws.terminate();
  }
}

// The answer to a WebSocket that is not let in.
const notUpgraded = (query) =>
  new Promise((resolve, reject) => {
    const ws = new WebSocket(`ws://${base.host}/socket.io/?${query}`);
    ws.on("open", () => reject(new Error("it was let in")));
    ws.on("error", reject);
    ws.on("unexpected-response", (_, response) => {
      let body = "";
      response.on("data", (part) => (body += part));
      response.on("end", () => resolve({ status: response.statusCode, type: response.headers["content-type"], body }));
    });
  });

// A session on its way to a WebSocket: after the answer to the probe.
const probed = async (session) => {
  const socket = await Socket.open(`&sid=${session.sid}`);
  socket.send("2probe");
  await socket.expect("3probe");
  return socket;
};

const upgraded = async (session) => {
  const socket = await probed(session);
  socket.send("5");
  return socket;
};

const THREE = Buffer.from([1, 2, 3]);
const HEADER = '451-["message",{"_placeholder":true,"num":0}]';
const HEADER_BACK = '451-["message-back",{"_placeholder":true,"num":0}]';
const FRAME = Buffer.from([4, 1, 2, 3]);

// The handshake

check("handshake: the open packet, then the connection of / unasked", async () => {
  const session = await Polling.open();
  const { sid, upgrades, pingInterval, pingTimeout } = session.open;
  assert.equal(typeof sid, "string");
  assert.deepEqual(upgrades, ["websocket"]);
  assert.ok(Number.isInteger(pingInterval) && Number.isInteger(pingTimeout));
  await session.expect("40", AUTH);
});

check("handshake: over WebSocket there is nothing to upgrade to", async () => {
  const socket = await Socket.connect();
  assert.deepEqual(socket.open.upgrades, []);
  socket.close();
});

check("handshake: without a revision a session of the third goes on", async () => {
  const session = await Polling.connect();
  await session.post(["2"]);
  const answer = await request("GET", `transport=polling&sid=${session.sid}`);
  assert.equal(answer.body.toString(), "1:3");
});

check("handshake: another revision than that of the session", async () => {
  const session = await Polling.connect();
  isError(await request("GET", `EIO=4&transport=polling&sid=${session.sid}`), 3);
  isError(await request("POST", `EIO=4&transport=polling&sid=${session.sid}`, { body: "2", type: TEXT }), 3);
  assert.equal((await notUpgraded(`EIO=4&transport=websocket&sid=${session.sid}`)).status, 400);
  await session.isAlive();
});

// Payloads of text

for (const [query, name] of [["", "bytes wanted"], ["&b64=1", "base64 wanted"]]) {
  check(`text: lengths are in units of UTF-16, ${name}`, async () => {
    const session = await Polling.connect(query);
    await session.post([message("é€😀"), message("😀😀", 2), message("\u2028\n\\n")]);
    for (const args of [["é€😀"], ["😀😀", 2], ["\u2028\n\\n"]]) {
      assert.deepEqual(JSON.parse((await session.next()).slice(2)), ["message-back", ...args]);
    }
    await session.isAlive();
  });
}

check("text: lengths in code points or bytes are wrong", async () => {
  const text = message("é€😀");
  for (const length of [[...text].length, Buffer.byteLength(text)]) {
    const session = await Polling.connect();
    await session.post(`${length}:${text}`);
    // What was cut off may be a packet for Socket.IO to complain about.
    await isClosed(session);
  }
});

check("text: a binary packet among others", async () => {
  const session = await Polling.connect("&b64=1");
  await session.post(`15:42["message",2]${HEADER.length}:${HEADER}6:b4AQID15:42["message",3]`);
  await session.expect(back(2), HEADER_BACK, THREE, back(3));
});

check("text: a header and its attachments in different requests", async () => {
  const session = await Polling.connect("&b64=1");
  await session.post(['452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]']);
  await session.post("6:b4AQID");
  await session.post("6:b4AQID");
  await session.expect('452-["message-back",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]', THREE, THREE);
});

check("text: an empty packet is ignored", async () => {
  const session = await Polling.connect();
  await session.post("0:");
  await session.post("0:1:2");
  await session.expect("3");
});

check("text: what cannot be decoded closes the session", async () => {
  for (const payload of ["abc", "", "4:abc", "x:2", "1:9", "1:3"]) {
    const session = await Polling.connect();
    await session.post(payload);
    await session.isGone();
  }
});

check("text: packets that only a server sends are ignored", async () => {
  const session = await Polling.connect();
  for (const payload of ["1:0", "1:5", "1:6"]) await session.post(payload);
  await session.isAlive();
});

check("text: what is not ASCII is escaped", async () => {
  if (reference) return;
  const session = await Polling.connect();
  await session.post(['42["message",{"é":"€😀\\u2028"}]']);
  const answer = (await session.get()).body.toString();
  assert.match(answer, /^[\0-\x7f]+$/);
  const [event] = decodeText(answer);
  assert.deepEqual(JSON.parse(event.slice(2)), ["message-back", { é: "€😀\u2028" }]);
});

// Payloads of bytes

check("bytes: a request of every kind of packet", async () => {
  const session = await Polling.connect();
  const body = Buffer.concat([
    Buffer.from([0, 2, 5, 255]), Buffer.from('42["message","é€😀"]'),
    Buffer.from([0, 4, 5, 255]), Buffer.from(HEADER),
    Buffer.from([1, 4, 255, 4, 1, 2, 3]),
    Buffer.from([0, 2, 1, 255]), Buffer.from('42["message","after"]'),
  ]);
  // The lengths that are written out above.
  assert.deepEqual(encodeBytes([message("é€😀"), HEADER, THREE, message("after")]), body);
  await session.post(body, BYTES);
  assert.deepEqual(JSON.parse((await session.next()).slice(2)), ["message-back", "é€😀"]);
  await session.expect(HEADER_BACK, THREE, back("after"));
});

check("bytes: the answer to a poll", async () => {
  const session = await Polling.connect();
  await session.post([message("before"), HEADER, THREE, message("after")]);
  // All that there is to be said in one answer.
  await pause(200);
  const { type, body } = await session.get();
  assert.equal(type, BYTES);
  const packets = [back("before"), HEADER_BACK, THREE, back("after")];
  const lengths = [[0, 2, 7, 255], [0, 5, 0, 255], [1, 4, 255, 4], [0, 2, 6, 255]];
  assert.deepEqual(body, Buffer.concat(packets.flatMap((packet, at) => [Buffer.from(lengths[at]), Buffer.from(packet)])));
  await session.post([message("text again")]);
  assert.equal((await session.get()).body.toString(), encodeText([back("text again")]));
});

check("bytes: pings of a client that posts nothing else", async () => {
  const session = await Polling.connect();
  await session.post(Buffer.from([0, 1, 255, 0x32]), BYTES);
  assert.equal((await session.get()).body.toString(), "1:3");
  await session.post(encodeBytes(["2", message("x".repeat(1234)), "2"]), BYTES);
  const packets = [await session.next(), await session.next(), await session.next()];
  assert.deepEqual(packets.sort(), ["3", "3", back("x".repeat(1234))]);
});

check("bytes: an unknown type is ignored", async () => {
  const session = await Polling.connect();
  await session.post(Buffer.from([1, 1, 255, 9]), BYTES);
  await session.post(Buffer.from([5, 1, 255, 52]), BYTES);
  await session.isAlive();
});

check("bytes: a length without an end closes the session", async () => {
  const session = await Polling.connect();
  await session.post(Buffer.from([0, 1, 1, 52]), BYTES);
  await session.isGone();
});

check("bytes: both forms of requests are accepted whatever the handshake said", async () => {
  for (const query of ["", "&b64=1"]) {
    const session = await Polling.connect(query);
    await session.post([HEADER, THREE]);
    await session.expect(HEADER_BACK, THREE);
    await session.post(encodeBytes([HEADER, THREE]), BYTES);
    await session.expect(HEADER_BACK, THREE);
  }
});

check("bytes: only the handshake says whether they are wanted", async () => {
  for (const [query, later] of [["", "&b64=1"], ["&b64=1", ""], ["&b64=1", "&b64=1"]]) {
    const session = await Polling.connect(query, later);
    await session.post([HEADER, THREE]);
    await session.expect(HEADER_BACK, THREE);
  }
});

// JSONP

const form = (packets) =>
  // As socket.io-client 2 writes it: of a newline and of a written one, the latter gets one more backslash.
  `d=${encodeURIComponent(encodeText(packets).replace(/\\n/g, "\\\\n").replace(/\n/g, "\\n")).replace(/%20/g, "+")}`;

check("JSONP: the answers are calls with the index of the handshake", async () => {
  let number = 0;
  const session = await Polling.connect("&j=0&b64=1");
  Object.defineProperty(session, "later", { get: () => `&b64=1&j=${++number}` });
  await session.post(form([message("x\ny \u2028\u2029 \\n\\\\n + & = % é€😀 \" </script>")]), FORM);
  const [, text] = JSON.parse((await session.next()).slice(2));
  assert.equal(text, "x\ny \u2028\u2029 \\n\\\\n + & = % é€😀 \" </script>");
  await session.post(form([HEADER, THREE, "2"]), FORM);
  const packets = [await session.next(), await session.next(), await session.next()];
  assert.deepEqual(packets.filter((packet) => packet !== "3"), [HEADER_BACK, THREE]);
});

check("JSONP: a newline in a packet", async () => {
  const session = await Polling.connect("&j=3&b64=1");
  // JSON may have newlines between its values.
  await session.post(form(['42["message",\n"a\\nb"\n]']), FORM);
  await session.expect(back("a\nb"));
});

check("JSONP: the answers are escaped", async () => {
  const first = (await request("GET", "EIO=3&transport=polling&j=12&b64=1")).body.toString();
  assert.match(first, /^___eio\[12\]\("\d+:0\{\\"sid\\":\\"[^"]+\\",.*\}(2:40)?"\);$/);
  const session = await Polling.open("&j=foo7&b64=1");
  assert.equal(session.jsonp, "7");
  await session.expect("40", AUTH);
});

check("JSONP: errors are plain", async () => {
  isError(await request("GET", "EIO=3&transport=polling&j=3&sid=nope"), 1);
});

// The heartbeat

check("heartbeat: pings are answered", async () => {
  const session = await Polling.connect();
  await session.post("1:2");
  assert.equal((await session.get()).body.toString(), "1:3");
  await session.post("6:2probe");
  assert.equal((await session.get()).body.toString(), "1:3");
  await session.post("1:21:21:2");
  await session.expect("3", "3", "3");
  const socket = await Socket.connect();
  socket.send("2", "2abc", "2probe", Buffer.from([2]));
  await socket.expect("3", "3", "3", "3");
  socket.close();
});

// Milliseconds for which a client may be silent.
const patience = ({ pingInterval, pingTimeout }) => pingInterval + pingTimeout;
const endsInTime = (since, latest, open) => {
  const now = Date.now();
  assert.ok(now - since > patience(open) / 2, `too early: ${now - since}`);
  assert.ok(now - latest < patience(open) + 15_000, `too late: ${now - latest}`);
};

check("heartbeat: silence ends a WebSocket, a poll and what was upgraded", async () => {
  const websocket = async () => {
    const socket = await Socket.connect();
    await socket.closed;
    endsInTime(socket.opened, socket.opened, socket.open);
  };
  const polling = async () => {
    const session = await Polling.connect();
    assert.equal((await session.get()).body.toString(), "1:1");
    endsInTime(session.opened, Date.now(), session.open);
    await session.isGone();
  };
  const upgrade = async () => {
    const session = await Polling.connect();
    const socket = await upgraded(session);
    const last = Date.now();
    await socket.closed;
    endsInTime(session.opened, last, session.open);
  };
  const upgradeThenPing = async () => {
    const session = await Polling.connect();
    const socket = await upgraded(session);
    await pause(100);
    await socket.isAlive();
    const last = Date.now();
    await socket.closed;
    endsInTime(last, last, session.open);
  };
  await Promise.all([websocket(), polling(), ...(reference ? [] : [upgrade(), upgradeThenPing()])]);
});

check("heartbeat: pings keep it open", async () => {
  const websocket = async () => {
    const socket = await Socket.connect();
    for (let pings = 0; pings < 4; pings++) {
      await pause(socket.open.pingInterval);
      await socket.isAlive();
    }
    const last = Date.now();
    await socket.closed;
    endsInTime(last, last, socket.open);
  };
  const polling = async () => {
    const session = await Polling.connect();
    for (let pings = 0; pings < 4; pings++) {
      await pause(session.open.pingInterval);
      await session.isAlive();
    }
  };
  await Promise.all([websocket(), polling()]);
});

// The upgrade

check("upgrade: nothing is lost on the way", async () => {
  const session = await Polling.connect();
  const poll = session.get();
  await pause(50);
  const socket = await probed(session);
  assert.equal((await poll).body.toString(), "1:6");
  await session.post([message("while it is under way"), HEADER, THREE]);
  socket.send("5");
  await socket.expect(back("while it is under way"), HEADER_BACK, FRAME);
  socket.send("42[\"message\",\"after\"]");
  await socket.expect(back("after"));
  isError(await session.get(), 3);
  isError(await request("POST", session.query(), { body: "1:2", type: TEXT }), 3);
  await socket.isAlive();
  socket.close();
});

check("upgrade: before the first poll, without waiting for the answer to the probe", async () => {
  const session = await Polling.open();
  const socket = await Socket.open(`&sid=${session.sid}`);
  socket.send("2probe", "5");
  // The connection of / may have been said with the open packet.
  const said = session.queue;
  await socket.expect("3probe");
  for (const packet of ["40", AUTH].slice(said.length)) await socket.expect(packet);
  await socket.isAlive();
  socket.close();
});

check("upgrade: a probe that is given up leaves the polling as it is", async () => {
  const session = await Polling.connect();
  const socket = await probed(session);
  socket.close();
  await session.isAlive();
  await session.post([message(1)]);
  await session.expect(back(1));
});

// The end, and errors

check("close: a client that says so", async () => {
  const session = await Polling.connect();
  const poll = session.get();
  await pause(50);
  await session.post("1:1");
  assert.equal((await poll).body.toString(), "1:6");
  await session.isGone();
});

// Closed by Socket.IO: the next poll says so, if it was not pending.
const isClosed = async (session) => {
  const answer = await session.get();
  if (answer.status === 200) {
    assert.match(answer.body.toString(), /^(1:6)?1:1$/);
    isError(await session.get(), 1);
  } else {
    isError(answer, 1);
  }
};

check("close: a packet that Socket.IO cannot read", async () => {
  const session = await Polling.connect();
  await session.post("4:4abc");
  await isClosed(session);
  const waiting = await Polling.connect();
  const poll = waiting.get();
  await pause(50);
  await waiting.post("4:4abc");
  assert.match((await poll).body.toString(), /^1:1$/);
  await waiting.isGone();
});

check("close: two polls at once", async () => {
  const session = await Polling.connect();
  const poll = session.get();
  await pause(50);
  const second = await session.get();
  assert.deepEqual([second.status, second.body.length], [400, 0]);
  assert.equal((await poll).body.toString(), "1:1");
  await session.isGone();
});

check("errors: transports, methods, sessions", async () => {
  isError(await request("GET", "EIO=3"), 0);
  isError(await request("GET", "EIO=3&transport=foo"), 0);
  isError(await request("GET", "EIO=3&transport=websocket"), 3);
  isError(await request("GET", "EIO=3&transport=polling&sid=nope"), 1);
  isError(await request("POST", "EIO=3&transport=polling&sid=nope", { body: "1:2", type: TEXT }), 1);
  isError(await request("POST", "EIO=3&transport=polling", { body: "2:40", type: TEXT }), 2);
  isError(await request("PUT", "EIO=3&transport=polling", { body: "2:40", type: TEXT }), 2);
  const headers = { Origin: "http://a.example", "Access-Control-Request-Method": "POST" };
  assert.equal((await request("OPTIONS", "EIO=3&transport=polling", { headers })).status, 204);
  const { status, body } = await notUpgraded("EIO=3&transport=websocket&sid=nope");
  assert.deepEqual([status, body], [400, "Session ID unknown"]);
  const session = await Polling.connect();
  assert.equal((await request("PUT", session.query(), { body: "1:2", type: TEXT })).status, reference ? 500 : 405);
  isError(await request("GET", `EIO=3&transport=websocket&sid=${session.sid}`), 3);
  await session.isAlive();
});

check("errors: what is too large", async () => {
  const session = await Polling.connect();
  const limit = session.open.maxPayload ?? 1_000_000;
  const body = encodeText([message("x".repeat(limit))]);
  const answer = await request("POST", session.query(), { body, type: TEXT });
  assert.deepEqual([answer.status, answer.body.length], [413, 0]);
  await session.isAlive();
  const socket = await Socket.connect();
  socket.send(message("x".repeat(limit)));
  assert.equal(await socket.closed, 1009);
});

check("headers", async () => {
  const Origin = "http://a.example";
  const allowed = ({ headers }) => ["*", Origin].includes(headers["access-control-allow-origin"]);
  const old = { "User-Agent": "Mozilla/5.0 (Windows NT 6.1; Trident/7.0; rv:11.0) like Gecko" };
  const session = await Polling.connect("", "", { Origin, ...old });
  assert.ok(allowed(session.first));
  assert.equal(session.first.headers["cache-control"], "no-store");
  assert.equal(session.first.headers["x-xss-protection"], "0");
  assert.ok(allowed(await request("GET", "EIO=3&transport=polling&sid=nope", { headers: { Origin } })));
  await session.post([message("x".repeat(2000))]);
  const headers = { "Accept-Encoding": "gzip" };
  const answer = await request("GET", session.query(), { headers });
  if (answer.headers["content-encoding"] === "gzip") answer.body = zlib.gunzipSync(answer.body);
  assert.equal(answer.body.toString(), encodeText([back("x".repeat(2000))]));
});

// WebSocket

check("websocket: text and bytes", async () => {
  const socket = await Socket.connect("", { perMessageDeflate: true });
  assert.equal(socket.ws.extensions, "");
  socket.send(message("é€😀\u2028"));
  assert.deepEqual(JSON.parse((await socket.next()).slice(2)), ["message-back", "é€😀\u2028"]);
  socket.send(HEADER, FRAME);
  await socket.expect(HEADER_BACK, FRAME);
  socket.send(HEADER, "b4AQID");
  await socket.expect(HEADER_BACK, FRAME);
  socket.close();
});

check("websocket: base64 if the client asks for it", async () => {
  const socket = await Socket.connect("&b64=1");
  socket.send(HEADER, FRAME);
  await socket.expect(HEADER_BACK, "b4AQID");
  socket.send(HEADER, "b4AQID");
  await socket.expect(HEADER_BACK, "b4AQID");
  socket.close();
});

check("websocket: frames of bytes that are no message", async () => {
  const socket = await Socket.connect();
  socket.send(Buffer.alloc(0), Buffer.from([9, 1]), Buffer.from("42[]"), Buffer.from([2]));
  await socket.expect("3");
  socket.close();
});

check("websocket: what cannot be decoded closes it", async () => {
  for (const text of ["9", "", "x"]) {
    const socket = await Socket.connect();
    socket.send(text);
    await socket.closed;
    assert.ok(Date.now() - socket.opened < patience(socket.open), "by the heartbeat only");
  }
});

check("websocket: a pong or bytes that nobody waits for close it", async () => {
  for (const frame of ["3", Buffer.from([4, 1])]) {
    const socket = await Socket.connect();
    socket.send(frame);
    await socket.closed;
    assert.ok(Date.now() - socket.opened < patience(socket.open), "by the heartbeat only");
  }
});

// Namespaces

check("namespaces: the id in / is that of the session", async () => {
  const session = await Polling.connect();
  await session.post(["40/custom", `42["room","${session.sid}","mine"]`]);
  const said = [await session.next(), await session.next(), await session.next()];
  assert.deepEqual(said.sort(), ["40/custom,", '42["said","mine"]', '42/custom,["auth",{}]'].sort());
  await session.post([`42/custom,["room","/custom#${session.sid}","mine too"]`]);
  await session.expect('42/custom,["said","mine too"]');
});

check("namespaces: the query of CONNECT is the auth", async () => {
  for (const [packet, auth] of [
    ["40/custom", {}],
    ["40/custom,", {}],
    ["40/custom?", {}],
    ["40/custom?b=2", { b: "2" }],
    ["40/custom?only=1&a=b%20c+d&a=2,", { only: "1", a: "2" }],
    ["40/custom?a=b%20c+d&empty=&none,", { a: "b c d", empty: "", none: "" }],
    ["40/custom?%C3%A9=%F0%9F%98%80", { é: "😀" }],
  ]) {
    const socket = await Socket.connect("&token=of-the-request");
    socket.send(packet);
    await socket.expect("40/custom,");
    const event = await socket.next();
    assert.match(event, /^42\/custom,/);
    assert.deepEqual(JSON.parse(event.slice("42/custom,".length)), ["auth", auth]);
    socket.close();
  }
});

check("namespaces: joined at once, left, and joined again", async () => {
  const socket = await Socket.open();
  socket.send("40/custom?a=1,");
  assert.equal((await socket.next())[0], "0");
  await socket.expect("40", AUTH, "40/custom,", '42/custom,["auth",{"a":"1"}]');
  socket.send('42/custom,7["message-with-ack",1]');
  await socket.expect("43/custom,7[1]");
  socket.send("41/custom,");
  // There a namespace is left only after the other packets that came with this one.
  if (reference) await socket.isAlive();
  socket.send("40/custom,");
  await socket.expect("40/custom,", '42/custom,["auth",{}]');
  socket.send('42/custom,["kick"]');
  await socket.expect("41/custom,");
  socket.send('420["message-with-ack"]');
  await socket.expect("430[]");
  socket.send('42["kick"]');
  await socket.expect("41");
  // The connection stays.
  await socket.isAlive();
  socket.send("40/custom");
  await socket.expect("40/custom,", '42/custom,["auth",{}]');
  socket.close();
});

check("namespaces: a client may leave / alone", async () => {
  const socket = await Socket.connect();
  socket.send("40/custom");
  await socket.expect("40/custom,", '42/custom,["auth",{}]');
  socket.send("41", '42/custom,1["message-with-ack"]');
  await socket.expect("43/custom,1[]");
  socket.close();
});

check("namespaces: refusals", async () => {
  const socket = await Socket.connect();
  socket.send("40/refused");
  await socket.expect('44/refused,{"code":7}');
  for (const name of ["/nope", "/custom/", "/nope?a=b", "/refuse"]) {
    socket.send(`40${name},`);
    const packet = await socket.next();
    const [head] = /^44\/[^,]*,/.exec(packet);
    assert.equal(head, `44${name.replace(/\?.*/, "")},`);
    const error = JSON.parse(packet.slice(head.length));
    // The former is what old servers say, the latter what socket.io 4 says.
    assert.equal(error.message ?? error, "Invalid namespace");
  }
  await socket.isAlive();
  socket.close();
});

check("namespaces: a name is no path of a URL", async () => {
  if (reference) return;
  const socket = await Socket.connect();
  for (const name of ["/custom#x", "/x/../custom", "//evil/custom", "/né"]) {
    socket.send(`40${name}?a=b,`);
    const packet = await socket.next();
    assert.ok(packet.startsWith(`44${name},`), packet);
    assert.ok(packet.includes("Invalid namespace"), packet);
  }
  socket.close();
});

check("namespaces: what closes the connection", async () => {
  for (const packet of ["40", "40/", '42/custom,["message"]', '44"x"', '42["connect"]', '42["disconnect"]', "42{}", "49"]) {
    const socket = await Socket.connect();
    socket.send(packet);
    await socket.closed;
    assert.ok(Date.now() - socket.opened < patience(socket.open), `${packet} did not`);
  }
});

check("acknowledgements: both ways, with bytes", async () => {
  const socket = await Socket.connect();
  socket.send('421["message-with-ack","x",null]', '451-2["message-with-ack",{"_placeholder":true,"num":0}]', FRAME);
  await socket.expect('431["x",null]', '461-2[{"_placeholder":true,"num":0}]', FRAME);
  socket.send('42["ask","why"]');
  const [, id] = /^42(\d+)\["question","why"\]$/.exec(await socket.next());
  socket.send(`461-${id}["because",{"_placeholder":true,"num":0}]`, FRAME);
  await socket.expect('451-["answered","because",{"_placeholder":true,"num":0}]', FRAME);
  socket.send('433999["nobody asked"]');
  await socket.isAlive();
  socket.close();
});

check("rooms: over each transport", async () => {
  const session = await Polling.connect("&b64=1");
  const socket = await Socket.connect();
  await session.post(['421["join","raw"]']);
  await session.expect("431[]");
  socket.send('421["join","raw"]');
  await socket.expect("431[]");
  socket.send('42["room","raw","hello"]');
  await socket.expect('42["said","hello"]');
  await session.expect('42["said","hello"]');
  socket.close();
});

run();
