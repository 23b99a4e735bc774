// Two pages of examples/chat in Chromium: chat_pages.js URL CHROMIUM SCREENSHOT

const assert = require("node:assert/strict");
const { chromium } = require("playwright-core");

const [url, executablePath, screenshot] = process.argv.slice(2);

const ARGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];

const enter = async (browser, name, room) => {
  const page = await (await browser.newContext({ viewport: { width: 900, height: 640 } })).newPage();
  page.on("pageerror", (error) => { throw error; });
  await page.goto(url);
  await page.getByLabel("Your name").fill(name);
  await page.getByLabel("Room", { exact: true }).fill(room);
  await page.getByRole("button", { name: "Enter" }).click();
  return page;
};

const sees = (page, text) => page.getByText(text).first().waitFor({ timeout: 15_000 });

const say = async (page, text) => {
  await page.getByLabel("Say something").fill(text);
  await page.getByRole("button", { name: "Send", exact: true }).click();
};

(async () => {
  const browser = await chromium.launch({ executablePath, args: ARGS });
  const ada = await enter(browser, "Ada", "lobby");
  await sees(ada, "You are in lobby.");
  await sees(ada, "connected over websocket");
  const bob = await enter(browser, "Bob", "lobby");
  await sees(bob, "You are in lobby.");
  await sees(ada, "Bob has come in.");

  const taken = await enter(browser, "Bob", "lobby");
  await sees(taken, "Bob is taken in lobby");

  await ada.getByLabel("Say something").pressSequentially("Hel");
  await sees(bob, "Ada is typing …");
  await say(ada, "Hello Bob, can you hear me?");
  await sees(bob, "Hello Bob, can you hear me?");
  await sees(ada, "✓");
  await say(bob, "Loud and clear 👋");
  await sees(ada, "Loud and clear 👋");

  const picture = Buffer.from(
    "iVBORw0KGgoAAAANSUhEUgAAAAoAAAAKCAYAAACNMs+9AAAAFUlEQVR42mNk+M9Qz0AEYBxVSF+FABJADveWkH6oAAAAAElFTkSuQmCC", "base64");
  await bob.getByLabel("Send a file").setInputFiles({ name: "dot.png", mimeType: "image/png", buffer: picture });
  await sees(bob, `✓ ${picture.length} bytes`);
  const image = ada.getByAltText("dot.png");
  await image.waitFor();
  assert.equal(await image.evaluate((it) => it.decode().then(() => it.naturalWidth)), 10);

  await ada.getByRole("button", { name: "Bob" }).click();
  await say(ada, "Just between us");
  await sees(bob, "Ada, privately");
  await sees(bob, "Just between us");

  await bob.screenshot({ path: screenshot });

  await bob.getByLabel("Another room").fill("library");
  await bob.getByRole("button", { name: "Go" }).click();
  await sees(bob, "You are in library.");
  await sees(ada, "Bob has left.");
  await say(ada, "Anybody here?");
  await ada.close();
  await bob.waitForTimeout(200);
  assert.equal(await bob.getByText("Anybody here?").count(), 0);
  await browser.close();
  console.log("two pages have talked");
})().catch((error) => {
  console.log(error.stack);
  process.exit(1);
});
