// A page of examples/chat in Chromium on each of several servers: chat_cluster.js CHROMIUM URL...
// It prints "ready", and then waits for a message from outside.

const { chromium } = require("playwright-core");

const [executablePath, ...urls] = process.argv.slice(2);

const ARGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];

const enter = async (browser, url, name) => {
  const page = await (await browser.newContext()).newPage();
  page.on("pageerror", (error) => { throw error; });
  await page.goto(url);
  await page.getByLabel("Your name").fill(name);
  await page.getByLabel("Room", { exact: true }).fill("lobby");
  await page.getByRole("button", { name: "Enter" }).click();
  await sees(page, "You are in lobby.");
  return page;
};

const sees = (page, text) => page.getByText(text).first().waitFor({ timeout: 15_000 });

const say = async (page, text) => {
  await page.getByLabel("Say something").fill(text);
  await page.getByRole("button", { name: "Send", exact: true }).click();
};

(async () => {
  const browser = await chromium.launch({ executablePath, args: ARGS });
  const names = ["Ada", "Bob", "Eve"];
  const pages = [];
  for (const [index, url] of urls.entries()) pages.push(await enter(browser, url, names[index]));
  const [ada, bob, eve] = pages;
  await sees(ada, "Eve has come in.");
  // Who came last knows those who were there, on other servers.
  await eve.getByRole("button", { name: "Ada" }).waitFor();
  await say(eve, "Hello, all of you");
  await sees(ada, "Hello, all of you");
  await sees(bob, "Hello, all of you");
  await bob.getByRole("button", { name: "Eve" }).click();
  await say(bob, "Just between us");
  await sees(eve, "Bob, privately");
  await sees(bob, "✓");
  console.log("ready");
  for (const page of pages) await sees(page, "Tea is ready");
  await eve.close();
  await sees(ada, "Eve has left.");
  await browser.close();
})().catch((error) => {
  console.log(error.stack);
  process.exit(1);
});
