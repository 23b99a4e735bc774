// What examples/bench_client measures, with socket.io-client: client.js URL COUNT
const { io } = require("socket.io-client");

const [url, count] = [process.argv[2], Number(process.argv[3])];
const TEXT = "0123456789abcdef0123456789abcdef";

const measure = async (what, times, run) => {
  const before = process.cpuUsage();
  await run();
  const { user, system } = process.cpuUsage(before);
  console.log(`${what}: ${((user + system) / times).toFixed(2)} us of CPU`);
};

const socket = io(url, { transports: ["websocket"] });
socket.on("connect", async () => {
  const call = (event, ...args) => new Promise((resolve) => socket.emit(event, ...args, resolve));
  await call("echo", TEXT);
  await measure("received", count, () => new Promise((resolve) => {
    let received = 0;
    socket.on("b", () => { if (++received === count) resolve(); });
    socket.emit("burst", count);
  }));
  await measure("emitted", count, async () => {
    for (let number = 0; number < count; number++) socket.emit("in", TEXT);
    await call("count");
  });
  await measure("called", count / 10, async () => {
    for (let number = 0; number < count / 10; number++) await call("echo", TEXT);
  });
  process.exit();
});
