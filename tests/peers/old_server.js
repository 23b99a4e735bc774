// An echo server of an older generation, for our clients, with the events of examples/socketio_echo.
//
//   node old_server.js PACKAGE PORT [--ping-interval MS] [--ping-timeout MS] [--parser msgpack|json|FILE]
//
// PACKAGE is socket.io-v1, socket.io-v2 or socket.io; the last lets in old and new clients. Only socket.io takes a parser.

const http = require("node:http").createServer();

const [name, port, ...rest] = process.argv.slice(2);
const options = Object.fromEntries(rest.map((word, at) => [word, rest[at + 1]]));
const current = name === "socket.io";
const module_ = require(name);

const settings = { allowEIO3: true, cors: { origin: "*" } };
if (options["--ping-interval"]) settings.pingInterval = Number(options["--ping-interval"]);
if (options["--ping-timeout"]) settings.pingTimeout = Number(options["--ping-timeout"]);
const parser = options["--parser"];
if (parser) settings.parser = require(parser.startsWith(".") ? parser : `socket.io-${parser}-parser`);
const io = current ? new module_.Server(http, settings) : module_(http, settings);

// What socket.io-v1 and socket.io-v2 keep in one object with the query of the CONNECT packet.
const OF_THE_REQUEST = ["EIO", "transport", "t", "b64", "sid", "j"];

const auth = (socket) => {
  if (current) return socket.handshake.auth;
  if (socket.nsp.name === "/") return {};
  const query = Object.entries(socket.handshake.query);
  return Object.fromEntries(query.filter(([key]) => !OF_THE_REQUEST.includes(key)));
};

for (const namespace of [io.of("/"), io.of("/custom")]) {
  namespace.on("connection", (socket) => {
    socket.emit("auth", auth(socket));
    socket.on("message", (...args) => socket.emit("message-back", ...args));
    socket.on("message-with-ack", (...args) => args.pop()(...args));
    socket.on("sleep", (milliseconds, done) => setTimeout(done, milliseconds));
    socket.on("ask", (value) => {
      socket.emit("question", value, (...answer) => socket.emit("answered", ...answer));
    });
    socket.on("join", (room, done) => {
      if (!current) return socket.join(room, () => done());
      socket.join(room);
      done();
    });
    socket.on("room", (room, text) => namespace.to(room).emit("said", text));
    socket.on("kick", () => socket.disconnect());
  });
}

io.of("/refused").use((_, next) => next(Object.assign(new Error("not here"), { data: { code: 7 } })));

http.listen(Number(port), "127.0.0.1", () => {
  console.log(`listening on 127.0.0.1:${http.address().port}`);
});
