// The official client with the msgpack parser against examples/socketio_echo: msgpack_client.js URL

const assert = require("node:assert/strict");
const { io } = require("socket.io-client");
const parser = require("socket.io-msgpack-parser");
const { check, next, run } = require("./check.js");

const url = process.argv[2];

const TRANSPORTS = {
  polling: ["polling"],
  websocket: ["websocket"],
  upgrade: ["polling", "websocket"],
};

const INTEGERS = [
  0, 1, 127, 128, 255, 256, 65_535, 65_536, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 53,
  -1, -32, -33, -128, -129, -32_768, -32_769, -(2 ** 31), -(2 ** 31) - 1, -(2 ** 53),
];

const long = (length) => "é".repeat(Math.floor(length / 2)) + "x".repeat(length % 2);
const keys = (count) => Object.fromEntries([...Array(count).keys()].map((number) => [`key ${number}`, number]));

for (const [name, transports] of Object.entries(TRANSPORTS)) {
  const open = (namespace = "/", options = {}) =>
    io(url + namespace, { forceNew: true, reconnection: false, parser, transports, ...options });

  const ack = (socket, ...args) =>
    new Promise((resolve) => socket.emit("message-with-ack", ...args, (...answer) => resolve(answer)));

  check(`${name}: connects with its auth`, async () => {
    for (const [namespace, auth] of [["/", { token: "123", bytes: Buffer.from([1]) }], ["/custom", { a: [1, null] }]]) {
      const socket = open(namespace, { auth });
      const [[got]] = await Promise.all([next(socket, "auth"), next(socket, "connect")]);
      assert.deepEqual(got, auth);
      assert.equal(typeof socket.id, "string");
      socket.close();
    }
    const without = open("/custom");
    assert.deepEqual(await next(without, "auth"), [{}]);
    without.close();
  });

  check(`${name}: values of every kind come back`, async () => {
    const socket = open();
    for (const args of [
      INTEGERS,
      // This encoder breaks whole numbers from 2^64 on.
      [0.1, 1.5, -2.25, 5e-324, 2 ** 51 + 0.5],
      [true, false, null, "", [], {}],
      ["é€😀\u2028\u0000", { "ключ 😀": "значение" }],
      [0, 1, 31, 32, 255, 256, 65_535, 65_536].map(long),
      [0, 1, 255, 256, 65_535, 65_536].map((length) => Buffer.alloc(length, 200)),
      [0, 15, 16, 1000].map((length) => Array(length).fill(7)),
      [0, 15, 16, 1000].map(keys),
      [[[[[[[[{ deep: [{ er: [Buffer.from("bytes")] }] }]]]]]]]],
      // More bytes than could be attached to a packet of the usual parser.
      Array(20).fill(Buffer.from([1, 2])),
      [{ _placeholder: true, num: 0 }, Buffer.from([1])],
    ]) {
      const back = next(socket, "message-back");
      socket.emit("message", ...args);
      assert.deepEqual(await back, args);
      assert.deepEqual(await ack(socket, ...args), args);
    }
    const array = await ack(socket, Array(65_536).fill(null));
    assert.equal(array[0].length, 65_536);
    socket.close();
  });

  check(`${name}: what has no value is null`, async () => {
    const socket = open();
    const [none, { absent = null, ...others }, list] = await ack(socket, undefined, { absent: undefined, there: 1 }, [undefined]);
    assert.equal(none ?? null, null);
    assert.equal(absent, null);
    assert.deepEqual(others, { there: 1 });
    assert.equal(list.length, 1);
    assert.equal(list[0] ?? null, null);
    socket.close();
  });

  check(`${name}: an array of bytes that is no Buffer`, async () => {
    const socket = open();
    const bytes = await ack(socket, new Uint8Array([1, 2, 3]), new Uint8Array([5, 6]).buffer);
    assert.deepEqual(bytes.map((it) => Buffer.from(it)), [Buffer.from([1, 2, 3]), Buffer.from([5, 6])]);
    socket.close();
  });

  check(`${name}: acknowledgements both ways`, async () => {
    const socket = open();
    assert.deepEqual(await ack(socket), []);
    assert.deepEqual(await socket.timeout(40_000).emitWithAck("sleep", 20), undefined);
    for (const [question, answer] of [
      ["why?", ["because", 1, { a: null }]],
      [Buffer.from([1, 2]), [Buffer.from([3]), { deep: [Buffer.from("x")] }]],
      [null, []],
    ]) {
      socket.once("question", (got, done) => {
        assert.deepEqual(got, question);
        done(...answer);
      });
      const answered = next(socket, "answered");
      socket.emit("ask", question);
      assert.deepEqual(await answered, answer);
    }
    socket.close();
  });

  check(`${name}: 500 events stay in order`, async () => {
    const socket = open();
    await next(socket, "connect");
    const got = [];
    const done = new Promise((resolve) => {
      socket.on("message-back", (number) => got.push(number) === 500 && resolve());
    });
    for (let number = 0; number < 500; number++) {
      socket.emit("message", number, Buffer.from([number & 255]));
      if (number % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    }
    await done;
    assert.deepEqual(got, [...Array(500).keys()]);
    socket.close();
  });

  check(`${name}: what is said in a room`, async () => {
    const [one, two] = [open(), open()];
    const join = (socket) => socket.timeout(40_000).emitWithAck("join", `msgpack ${name}`);
    await Promise.all([join(one), join(two)]);
    const said = [next(one, "said"), next(two, "said")];
    one.emit("room", `msgpack ${name}`, "é😀");
    assert.deepEqual(await Promise.all(said), [["é😀"], ["é😀"]]);
    one.close();
    two.close();
  });

  check(`${name}: namespaces that refuse`, async () => {
    const root = open();
    const refused = root.io.socket("/refused");
    const nope = root.io.socket("/nope");
    const [[error], [unknown]] = await Promise.all([next(refused, "connect_error"), next(nope, "connect_error")]);
    assert.equal(error.message, "not here");
    assert.deepEqual(error.data, { code: 7 });
    assert.equal(unknown.message, "Invalid namespace");
    assert.equal(unknown.data ?? null, null);
    assert.deepEqual(await ack(root, "still here"), ["still here"]);
    [root, refused, nope].forEach((socket) => socket.close());
  });

  check(`${name}: the server disconnects a socket from its namespace`, async () => {
    const root = open();
    const custom = root.io.socket("/custom");
    await Promise.all([next(root, "connect"), next(custom, "connect")]);
    const gone = next(custom, "disconnect");
    custom.emit("kick");
    assert.equal((await gone)[0], "io server disconnect");
    assert.deepEqual(await ack(root, 1), [1]);
    custom.connect();
    await next(custom, "connect");
    assert.deepEqual(await ack(custom, 2), [2]);
    // And the client one.
    custom.disconnect();
    assert.deepEqual(await ack(root, 3), [3]);
    root.close();
  });
}

run();
