// A server of the JavaScript implementation, for our clients.
//
//   node socketio_server.js PORT PING_INTERVAL PING_TIMEOUT [CERT KEY [CLIENT_CA]]

const fs = require("node:fs");
const { Server } = require("socket.io");

const [port, pingInterval, pingTimeout, cert, key, ca] = process.argv.slice(2);
const http = cert
  ? require("node:https").createServer({
      cert: fs.readFileSync(cert),
      key: fs.readFileSync(key),
      ...(ca && { ca: fs.readFileSync(ca), requestCert: true, rejectUnauthorized: true }),
    })
  : require("node:http").createServer();
const io = new Server(http, {
  pingInterval: Number(pingInterval),
  pingTimeout: Number(pingTimeout),
  maxHttpBufferSize: 2e6,
  cookie: true,
});

let reason;
let said = 0;

const serve = (namespace) => {
  namespace.on("connection", (socket) => {
    let counted = 0;
    socket.on("echo", (...args) => args.pop()(...args));
    socket.on("back", (...args) => socket.emit("back", ...args));
    socket.on("ask", async (done) => done(await socket.timeout(40_000).emitWithAck("sum", 2, 3)));
    socket.on("burst", (count) => {
      for (let number = 0; number < count; number++) socket.emit("number", number);
    });
    socket.on("number", (number) => (counted = number === counted ? counted + 1 : NaN));
    socket.on("counted", (done) => done(counted));
    socket.on("say", () => said++);
    socket.on("said", (done) => done(said));
    socket.on("reason", (done) => done(reason));
    socket.on("leave", () => socket.disconnect());
    socket.on("auth", (done) => done(socket.handshake.auth));
    socket.on("disconnect", (why) => (reason = why));
  });
};

serve(io);
serve(io.of("/chat"));
io.of("/refused").use((_, next) => {
  next(Object.assign(new Error("bad token"), { data: { code: 42 } }));
});

http.listen(Number(port), "127.0.0.1", () => {
  console.log(`listening on 127.0.0.1:${http.address().port}`);
});
