// A page in Chromium whose client is let in with a cookie: handshake_page.js URL CHROMIUM

const assert = require("node:assert/strict");
const { chromium } = require("playwright-core");

const [url, executablePath] = process.argv.slice(2);

const ARGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];

(async () => {
  const browser = await chromium.launch({ executablePath, args: ARGS });
  try {
    const page = await browser.newPage();
    await page.goto(url);
    const cookies = await page.evaluate(async () => {
      const before = document.cookie;
      const socket = io({ query: { key: "secret" }, transports: ["polling"] });
      await new Promise((resolve, reject) => {
        socket.on("connect", resolve);
        socket.on("connect_error", reject);
      });
      const sent = await (await fetch("/cookie")).text();
      return [before, document.cookie, sent];
    });
    assert.deepEqual(cookies, ["", "seen=1", "seen=1"]);
    console.log("the page sees the cookie, and sends it");
  } finally {
    await browser.close();
  }
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
